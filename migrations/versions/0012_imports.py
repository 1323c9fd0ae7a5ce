"""imports: customers that were another system's, and projects that wait for theirs"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A migration that cannot get its lock quickly gives up, instead of queueing every reader behind it.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "projects",
        sa.Column(
            "import_pending_since",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="customers of another system are to come; null: none are",
        ),
    )
    op.add_column(
        "projects",
        sa.Column(
            "import_allows_new",
            sa.Boolean(),
            server_default="false",
            nullable=False,
            comment="while they are to come, a checkout may make a customer all the same",
        ),
    )
    op.create_table(
        "imports",
        sa.Column("import_id", sa.Text(), nullable=False, comment="imp_…"),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column(
            "mapping", sa.Text(), nullable=False, comment="sha256 of the map, or metadata.KEY: told again"
        ),
        sa.Column("state", sa.Text(), server_default="running", nullable=False),
        sa.Column("stage", sa.Text(), nullable=False, comment="the list of Stripe's that is next"),
        sa.Column("cursor", sa.Text(), nullable=True, comment="last id taken of it; null: at its beginning"),
        sa.Column(
            "counts",
            postgresql.JSON(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
            comment="domain.store.imports.ImportCounts",
        ),
        sa.Column("actor", sa.Text(), nullable=False, comment="cli:…"),
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
            "(state = 'running') = (ended_at IS NULL)", name=op.f("imports_ended_or_running_check")
        ),
        sa.CheckConstraint(
            "lease_token IS NULL OR state = 'running'", name=op.f("imports_lease_of_running_check")
        ),
        sa.CheckConstraint(
            "state IN ('running', 'done', 'failed', 'abandoned')", name=op.f("imports_state_known_check")
        ),
        sa.CheckConstraint(
            "(lease_token IS NULL) = (lease_until IS NULL)", name=op.f("imports_lease_whole_check")
        ),
        sa.ForeignKeyConstraint(["project"], ["projects.project"], name=op.f("imports_project_fkey")),
        sa.PrimaryKeyConstraint("import_id", name=op.f("imports_pkey")),
        comment="Backfills of an existing Stripe account; one at a time per project",
    )
    op.create_index(
        "imports_one", "imports", ["project"], unique=True, postgresql_where=sa.text("state = 'running'")
    )
    op.create_table(
        "import_customers",
        sa.Column("import_id", sa.Text(), nullable=False),
        sa.Column("stripe_customer_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True, comment="as the map says; null: nothing maps it"),
        sa.Column(
            "reason", sa.Text(), nullable=True, comment="why it is not linked; null: its turn is to come"
        ),
        sa.ForeignKeyConstraint(
            ["import_id"],
            ["imports.import_id"],
            name=op.f("import_customers_import_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("import_id", "stripe_customer_id", name=op.f("import_customers_pkey")),
        comment="Customers that wait for their turn, or got none; the linked ones are gone from here",
    )


def downgrade() -> None:
    raise NotImplementedError("Tollhouse migrates forward only: restore a backup, or write a new migration.")
