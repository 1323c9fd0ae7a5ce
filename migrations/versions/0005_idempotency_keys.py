"""idempotency keys of the doors, turns and claims of checkouts"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A migration that cannot get its lock quickly gives up, instead of queueing every reader behind it.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "idempotency_keys",
        sa.Column("id", sa.UUID(), nullable=False, comment="what the call makes is named after it"),
        sa.Column("project", sa.Text(), nullable=True, comment="null: a call that concerns no one project"),
        sa.Column("caller", sa.Text(), nullable=False, comment="whose keys these are: kind and project/app"),
        sa.Column("route", sa.Text(), nullable=False, comment="method and path"),
        sa.Column("key_sha256", sa.LargeBinary(), nullable=False, comment="of the caller's Idempotency-Key"),
        sa.Column(
            "request_sha256", sa.LargeBinary(), nullable=False, comment="of what was asked for: else 422"
        ),
        sa.Column("lease_token", sa.Text(), nullable=True, comment="which attempt is under way"),
        sa.Column(
            "lease_until", sa.DateTime(timezone=True), nullable=True, comment="then another resumes it"
        ),
        sa.Column("status", sa.Integer(), nullable=True, comment="of the kept answer; null: not done yet"),
        sa.Column("body", sa.LargeBinary(), nullable=True, comment="of the kept answer, byte for byte"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, comment="then it is forgotten"),
        sa.CheckConstraint(
            "(status IS NULL) = (body IS NULL)", name=op.f("idempotency_keys_answer_whole_check")
        ),
        sa.CheckConstraint(
            "(lease_token IS NULL) = (lease_until IS NULL)", name=op.f("idempotency_keys_lease_whole_check")
        ),
        sa.CheckConstraint(
            "status IS NULL OR lease_token IS NULL", name=op.f("idempotency_keys_done_or_leased_check")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("idempotency_keys_pkey")),
        sa.UniqueConstraint(
            "caller", "route", "key_sha256", name=op.f("idempotency_keys_caller_route_key_sha256_key")
        ),
        comment="Calls under an Idempotency-Key: under way, or their answers for a day",
    )
    op.create_index("idempotency_keys_expires_idx", "idempotency_keys", ["expires_at"])
    op.create_table(
        "checkout_turns",
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False, comment="catalog group of the plans"),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("token", sa.UUID(), nullable=False, comment="ref of the checkout whose turn it is"),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_key", "project"],
            ["users.user_key", "users.project"],
            name=op.f("checkout_turns_user_key_project_fkey"),
        ),
        sa.PrimaryKeyConstraint("user_key", "group_key", name=op.f("checkout_turns_pkey")),
        comment="Whose turn it is to open a checkout of a user and group: one at a time",
    )
    op.add_column(
        "checkout_sessions",
        sa.Column(
            "groups",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="catalog groups of its recurring plans",
        ),
    )
    op.add_column(
        "checkout_sessions",
        sa.Column(
            "claimed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when a success page last had it read",
        ),
    )


def downgrade() -> None:
    raise NotImplementedError("Tollhouse migrates forward only: restore a backup, or write a new migration.")
