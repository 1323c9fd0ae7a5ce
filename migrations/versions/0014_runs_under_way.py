"""a job's run is kept while it is under way, and ended by the next leader where its own scheduler cannot"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A migration that cannot get its lock quickly gives up, instead of queueing every reader behind it.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.alter_column(
        "job_runs",
        "ended_at",
        nullable=True,
        existing_type=sa.DateTime(timezone=True),
        comment="null: under way",
    )
    op.alter_column(
        "job_runs",
        "duration_s",
        existing_type=sa.Double(),
        existing_nullable=False,
        comment="of all its turns together; under way: until it was last told of",
    )
    op.add_column(
        "job_runs",
        sa.Column(
            "ended_by",
            sa.Text(),
            nullable=True,
            comment="the leader that found it left by another; null: who ran it ended it",
        ),
    )
    op.create_check_constraint(
        op.f("job_runs_under_way_check"),
        "job_runs",
        "ended_at IS NOT NULL OR (error IS NULL AND ended_by IS NULL)",
    )
    op.create_index(
        "job_runs_under_way_idx", "job_runs", ["job"], postgresql_where=sa.text("ended_at IS NULL")
    )
    op.create_table_comment(
        "job_runs",
        "Turns of jobs that did something, failed, were asked for or took seconds; others leave no row",
    )


def downgrade() -> None:
    raise NotImplementedError("Tollhouse migrates forward only: restore a backup, or write a new migration.")
