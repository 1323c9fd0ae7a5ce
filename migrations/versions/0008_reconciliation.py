"""reconciliation runs, drifts, the events watermark"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A migration that cannot get its lock quickly gives up, instead of queueing every reader behind it.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "reconciliation_watermark",
        sa.Column(
            "id", sa.Boolean(), server_default=sa.text("true"), nullable=False, comment="always true: one row"
        ),
        sa.Column(
            "read_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Stripe's events made before it are all here; null: never asked",
        ),
        sa.Column(
            "looked_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when somebody last took a turn at Stripe's list of events",
        ),
        sa.CheckConstraint("id", name=op.f("reconciliation_watermark_one_row_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("reconciliation_watermark_pkey")),
        comment="How far Stripe's own list of events was compared with the inbox",
    )
    op.create_table(
        "reconciliation_runs",
        sa.Column("run_id", sa.Text(), nullable=False, comment="run_…"),
        sa.Column("project", sa.Text(), nullable=True, comment="null: the whole deployment"),
        sa.Column("user_key", sa.BigInteger(), nullable=True, comment="null: every user of the project"),
        sa.Column("is_check", sa.Boolean(), nullable=False, comment="names drifts and repairs none"),
        sa.Column("is_full", sa.Boolean(), nullable=False, comment="reads finished objects of any age, too"),
        sa.Column("state", sa.Text(), server_default="running", nullable=False),
        sa.Column("stage", sa.Text(), nullable=False, comment="the part of the pass that is next"),
        sa.Column(
            "cursor", sa.Text(), nullable=True, comment="where that part goes on; null: at its beginning"
        ),
        sa.Column(
            "counts",
            postgresql.JSON(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
            comment="domain.rules.drift.Counts",
        ),
        sa.Column("actor", sa.Text(), nullable=False, comment="name of the key, cli:…, or scheduler"),
        sa.Column("error", sa.Text(), nullable=True, comment="why it failed"),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.Text(), nullable=True, comment="who may move it; null: nobody is at it"),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'running') = (ended_at IS NULL)",
            name=op.f("reconciliation_runs_ended_or_running_check"),
        ),
        sa.CheckConstraint(
            "lease_token IS NULL OR state = 'running'",
            name=op.f("reconciliation_runs_lease_of_running_check"),
        ),
        sa.CheckConstraint(
            "state IN ('running', 'done', 'failed', 'abandoned')",
            name=op.f("reconciliation_runs_state_known_check"),
        ),
        sa.CheckConstraint(
            "(lease_token IS NULL) = (lease_until IS NULL)",
            name=op.f("reconciliation_runs_lease_whole_check"),
        ),
        sa.CheckConstraint(
            "user_key IS NULL OR project IS NOT NULL", name=op.f("reconciliation_runs_user_has_project_check")
        ),
        sa.ForeignKeyConstraint(
            ["project"], ["projects.project"], name=op.f("reconciliation_runs_project_fkey")
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("reconciliation_runs_pkey")),
        comment="Passes that compare Stripe, mirror, answers and cache; one at a time",
    )
    op.create_index(
        "reconciliation_runs_one",
        "reconciliation_runs",
        ["state"],
        unique=True,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index(
        "reconciliation_runs_started_idx", "reconciliation_runs", ["started_at", "run_id"], unique=False
    )
    op.create_table(
        "reconciliation_seen",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("object_kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["reconciliation_runs.run_id"],
            name=op.f("reconciliation_seen_run_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "object_kind", "object_id", name=op.f("reconciliation_seen_pkey")),
        comment="Objects of ours that a running pass has found in Stripe's lists; emptied at its end",
    )
    op.create_table(
        "drifts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False, comment="a name in domain.rules.drift.KINDS"),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=True, comment="null: of no project that is known"),
        sa.Column("user_key", sa.BigInteger(), nullable=True, comment="null: of nobody known"),
        sa.Column("object_kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False, comment="Stripe's, or app of a user"),
        sa.Column("stripe_customer_id", sa.Text(), nullable=True),
        sa.Column("found", sa.Text(), nullable=False, comment="what differs; no personal data"),
        sa.Column(
            "next", sa.Text(), nullable=True, comment="the operator's command; null: it heals by itself"
        ),
        sa.Column("state", sa.Text(), server_default="suspected", nullable=False),
        sa.Column(
            "repair",
            sa.Text(),
            nullable=True,
            comment="th_… that has it read again, or recomputed; null: nothing was done",
        ),
        sa.Column(
            "seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'confirmed') = (confirmed_at IS NOT NULL)", name=op.f("drifts_confirmed_when_check")
        ),
        sa.CheckConstraint("severity IN ('critical', 'warning')", name=op.f("drifts_severity_known_check")),
        sa.CheckConstraint("state IN ('suspected', 'confirmed')", name=op.f("drifts_state_known_check")),
        sa.ForeignKeyConstraint(["project"], ["projects.project"], name=op.f("drifts_project_fkey")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["reconciliation_runs.run_id"], name=op.f("drifts_run_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("drifts_pkey")),
        sa.UniqueConstraint(
            "run_id",
            "type",
            "object_kind",
            "object_id",
            name=op.f("drifts_run_id_type_object_kind_object_id_key"),
        ),
        comment="Differences that a pass has named; one that was gone at a second look is deleted",
    )

    op.execute("INSERT INTO reconciliation_watermark DEFAULT VALUES")


def downgrade() -> None:
    raise NotImplementedError("Tollhouse migrates forward only: restore a backup, or write a new migration.")
