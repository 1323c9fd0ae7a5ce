"""the scheduler's leader, its jobs and their runs; where the change feed begins"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A migration that cannot get its lock quickly gives up, instead of queueing every reader behind it.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "scheduler_leader",
        sa.Column(
            "id", sa.Boolean(), server_default=sa.text("true"), nullable=False, comment="always true: one row"
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="host and process"),
        sa.Column("backend_pid", sa.Integer(), nullable=False, comment="of the session that holds the lock"),
        sa.Column(
            "since", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("id", name=op.f("scheduler_leader_one_row_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("scheduler_leader_pkey")),
        comment="The scheduler that last took the lead; it leads while its session holds the advisory lock",
    )
    op.create_table(
        "scheduler_jobs",
        sa.Column("job", sa.Text(), nullable=False, comment="a name in domain.rules.jobs"),
        sa.Column(
            "ran_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="end of the newest turn that was noted; null: never",
        ),
        sa.Column("ran_by", sa.Text(), nullable=True, comment="host and process of that turn"),
        sa.Column("duration_s", postgresql.DOUBLE_PRECISION(), nullable=True),
        sa.Column("done", sa.BigInteger(), nullable=True, comment="what the job counts"),
        sa.Column("error", sa.Text(), nullable=True, comment="of that turn; null: it went well"),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False, comment="turns in a row"),
        sa.Column(
            "succeeded_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="end of the newest turn that went well",
        ),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True, comment="null: it runs"),
        sa.Column("paused_by", sa.Text(), nullable=True),
        sa.Column("pause_reason", sa.Text(), nullable=True),
        sa.Column(
            "asked_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="an operator wants a turn now; null: nobody does",
        ),
        sa.Column("asked_by", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(asked_at IS NULL) = (asked_by IS NULL)", name=op.f("scheduler_jobs_asking_whole_check")
        ),
        sa.CheckConstraint(
            "(paused_at IS NULL) = (paused_by IS NULL) AND (paused_at IS NULL) = (pause_reason IS NULL)",
            name=op.f("scheduler_jobs_pause_whole_check"),
        ),
        sa.PrimaryKeyConstraint("job", name=op.f("scheduler_jobs_pkey")),
        comment="Each job of the schedulers: its newest turn, and what operators want of it",
    )
    op.create_table(
        "job_runs",
        sa.Column("run_id", sa.UUID(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("ran_by", sa.Text(), nullable=False, comment="host and process"),
        sa.Column(
            "asked_by", sa.Text(), nullable=True, comment="the operator who wanted it; null: the clock"
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "turns", sa.Integer(), nullable=False, comment="that ended alike within a minute, in one row"
        ),
        sa.Column(
            "duration_s",
            postgresql.DOUBLE_PRECISION(),
            nullable=False,
            comment="of all its turns together",
        ),
        sa.Column("done", sa.BigInteger(), nullable=False, comment="by all its turns together"),
        sa.Column("error", sa.Text(), nullable=True, comment="null: it went well"),
        sa.PrimaryKeyConstraint("run_id", name=op.f("job_runs_pkey")),
        comment="Turns of jobs that did something, failed or were asked for; the others leave no row",
    )
    op.create_index("job_runs_job_idx", "job_runs", ["job", "started_at", "run_id"], unique=False)
    op.create_index("job_runs_started_idx", "job_runs", ["started_at", "run_id"], unique=False)
    op.create_table(
        "change_feed_floors",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column(
            "position",
            sa.BigInteger(),
            nullable=False,
            comment="the highest of this app that was deleted",
        ),
        sa.ForeignKeyConstraint(
            ["project"], ["projects.project"], name=op.f("change_feed_floors_project_fkey")
        ),
        sa.PrimaryKeyConstraint("project", "app", name=op.f("change_feed_floors_pkey")),
        comment="Where the kept part of each app's change feed begins: after this position",
    )


def downgrade() -> None:
    raise NotImplementedError("Tollhouse migrates forward only: restore a backup, or write a new migration.")
