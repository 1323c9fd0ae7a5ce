"""discounts and what MRR is counted from, and the entries that revenue is summed from"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    # A migration that cannot get its lock quickly gives up, instead of queueing every reader behind it.
    op.execute("SET LOCAL lock_timeout = '5s'")
    _add_columns()
    _create_dispute_funds()
    _create_revenue_entries()
    _create_recurring_sums()


def _add_columns() -> None:
    op.add_column(
        "projects",
        sa.Column(
            "figures_since",
            INSTANT,
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
            comment="from then on money figures are whole",
        ),
    )
    op.add_column(
        "subscriptions", sa.Column("currency", sa.Text(), comment="ISO, lower case; null: not read")
    )
    op.add_column(
        "subscriptions", sa.Column("discounts", JSON(), comment="[domain.money.Discount]; null: none")
    )
    op.add_column(
        "subscription_items",
        sa.Column(
            "charged_unit",
            sa.Text(),
            comment="minor units in the subscription's currency, a decimal; null: tiers, metered, not read",
        ),
    )
    op.add_column(
        "subscription_items", sa.Column("discounts", JSON(), comment="[domain.money.Discount]; null: none")
    )
    op.add_column(
        "purchases", sa.Column("amount_minor", sa.BigInteger(), comment="amount_total; null: not read")
    )
    op.add_column("purchases", sa.Column("tax_minor", sa.BigInteger(), comment="amount_tax; null: not read"))
    op.add_column(
        "refunds", sa.Column("ended_at", INSTANT, comment="when it was first read as failed or canceled")
    )


def _create_dispute_funds() -> None:
    op.create_table(
        "dispute_funds",
        sa.Column("balance_transaction_id", sa.Text(), nullable=False, comment="txn_…, Stripe's"),
        sa.Column("stripe_dispute_id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column(
            "amount_minor",
            sa.BigInteger(),
            nullable=False,
            comment="in the dispute's currency; negative: withdrawn, positive: reinstated",
        ),
        sa.Column("moved_at", INSTANT, nullable=False, comment="Stripe's"),
        sa.ForeignKeyConstraint(
            ["stripe_dispute_id"],
            ["disputes.stripe_dispute_id"],
            name=op.f("dispute_funds_stripe_dispute_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("balance_transaction_id", name=op.f("dispute_funds_pkey")),
        comment="Money that a dispute took or gave back, as last read",
    )
    op.create_index("dispute_funds_dispute_idx", "dispute_funds", ["stripe_dispute_id"])


def _create_revenue_entries() -> None:
    op.create_table(
        "revenue_entries",
        sa.Column("object_id", sa.Text(), nullable=False, comment="ch_…, re_… or txn_…"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False, comment="empty: of no one app"),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("charge_id", sa.Text(), nullable=False),
        sa.Column("happened_at", INSTANT, nullable=False, comment="Stripe's; the day it belongs to"),
        sa.Column("currency", sa.Text(), nullable=False, comment="ISO, lower case"),
        sa.Column(
            "amount_minor",
            sa.BigInteger(),
            nullable=False,
            comment="tax included; negative: given back again",
        ),
        sa.Column("tax_minor", sa.BigInteger(), nullable=False, comment="of that amount"),
        sa.CheckConstraint(
            "kind IN ('payment', 'refund', 'refund_failed', 'dispute', 'dispute_reversal')",
            name=op.f("revenue_entries_kind_known_check"),
        ),
        sa.ForeignKeyConstraint(
            ["user_key", "project"],
            ["users.user_key", "users.project"],
            name=op.f("revenue_entries_user_key_project_fkey"),
        ),
        sa.PrimaryKeyConstraint("object_id", "kind", "app", name=op.f("revenue_entries_pkey")),
        comment="Money that came, was given back or withheld, by app; follows from the mirror and the catalog",
    )
    op.create_index(
        "revenue_entries_happened_idx",
        "revenue_entries",
        ["project", "happened_at", "object_id", "kind", "app"],
    )
    op.create_index("revenue_entries_charge_idx", "revenue_entries", ["charge_id"])
    op.create_index("revenue_entries_user_idx", "revenue_entries", ["user_key"])


def _create_recurring_sums() -> None:
    op.create_table(
        "recurring_sums",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False, comment="ISO, lower case"),
        sa.Column("plan", sa.Text(), nullable=False, comment="catalog key; empty: not in the catalog"),
        sa.Column("app", sa.Text(), nullable=False, comment="empty: of no one app"),
        sa.Column("standing", sa.Text(), nullable=False),
        sa.Column(
            "monthly",
            sa.Numeric(),
            nullable=False,
            comment="minor units a month, times divisor; a whole number",
        ),
        sa.Column(
            "divisor",
            sa.Numeric(),
            nullable=False,
            comment="the same for all of a user's, currency and begin",
        ),
        sa.Column("subscriptions", sa.Integer(), nullable=False, comment="of this plan and standing"),
        sa.Column(
            "is_counted", sa.Boolean(), nullable=False, comment="the first app: counts subscriptions once"
        ),
        sa.Column("is_import", sa.Boolean(), nullable=False, comment="subscribed before the user was ours"),
        sa.Column("begins_at", INSTANT, nullable=False, comment="when it was read; business time"),
        sa.Column("ends_at", INSTANT, nullable=True, comment="null: still so"),
        sa.CheckConstraint(
            "standing IN ('paying', 'grace', 'trial')", name=op.f("recurring_sums_standing_known_check")
        ),
        sa.CheckConstraint("divisor > 0", name=op.f("recurring_sums_divisor_positive_check")),
        sa.CheckConstraint("ends_at > begins_at", name=op.f("recurring_sums_ends_after_begin_check")),
        sa.ForeignKeyConstraint(
            ["user_key", "project"],
            ["users.user_key", "users.project"],
            name=op.f("recurring_sums_user_key_project_fkey"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("recurring_sums_pkey")),
        comment="What each user's subscriptions come to a month, since when and until when; rows only end",
    )
    op.create_index("recurring_sums_user_idx", "recurring_sums", ["user_key", "currency"])
    op.create_index("recurring_sums_begins_idx", "recurring_sums", ["project", "begins_at"])
    op.create_index("recurring_sums_ends_idx", "recurring_sums", ["project", "ends_at"])


def downgrade() -> None:
    raise NotImplementedError("Tollhouse migrates forward only: restore a backup, or write a new migration.")
