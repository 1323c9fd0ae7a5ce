"""the mirror of money: invoices, payments, refunds, disputes, products, prices and test clocks"""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A migration that cannot get its lock quickly gives up, instead of queueing every reader behind it.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "invoices",
        sa.Column("stripe_invoice_id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("stripe_customer_id", sa.Text(), nullable=False),
        sa.Column(
            "stripe_subscription_id", sa.Text(), nullable=True, comment="null: an invoice by itself (B2B)"
        ),
        sa.Column("number", sa.Text(), nullable=True, comment="as printed; null while a draft"),
        sa.Column(
            "status", sa.Text(), nullable=False, comment="Stripe's: draft, open, paid, uncollectible, void"
        ),
        sa.Column(
            "billing_reason", sa.Text(), nullable=True, comment="Stripe's: subscription_cycle, manual, …"
        ),
        sa.Column(
            "collection_method", sa.Text(), nullable=False, comment="charge_automatically or send_invoice"
        ),
        sa.Column("currency", sa.Text(), nullable=False, comment="ISO, lower case"),
        sa.Column(
            "total_minor", sa.BigInteger(), nullable=False, comment="tax included; negative for a credit"
        ),
        sa.Column("tax_minor", sa.BigInteger(), nullable=False, comment="sum of total_taxes"),
        sa.Column("paid_minor", sa.BigInteger(), nullable=False, comment="amount_paid"),
        sa.Column("remaining_minor", sa.BigInteger(), nullable=False, comment="amount_remaining"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="Stripe's"),
        sa.Column("finalized_at", sa.DateTime(timezone=True), nullable=True, comment="status_transitions"),
        sa.Column(
            "due_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="due_date; only of invoices that are sent",
        ),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=True, comment="status_transitions"),
        sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True, comment="status_transitions"),
        sa.Column(
            "uncollectible_at", sa.DateTime(timezone=True), nullable=True, comment="status_transitions"
        ),
        sa.Column("pay_url", sa.Text(), nullable=True, comment="hosted_invoice_url"),
        _read_at(),
        sa.ForeignKeyConstraint(
            ["user_key", "project"],
            ["users.user_key", "users.project"],
            name=op.f("invoices_user_key_project_fkey"),
        ),
        sa.PrimaryKeyConstraint("stripe_invoice_id", name=op.f("invoices_pkey")),
        comment="Mirror of Stripe invoices as last read",
    )
    op.create_index("invoices_subscription_idx", "invoices", ["stripe_subscription_id"])
    op.create_index("invoices_user_idx", "invoices", ["user_key"])
    op.create_table(
        "invoice_lines",
        sa.Column("stripe_line_id", sa.Text(), nullable=False),
        sa.Column("stripe_invoice_id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("price_id", sa.Text(), nullable=True, comment="null: an amount without a price"),
        sa.Column("product_id", sa.Text(), nullable=True),
        sa.Column(
            "is_one_time", sa.Boolean(), nullable=False, comment="an item by itself, of no subscription item"
        ),
        sa.Column("quantity", sa.BigInteger(), nullable=True, comment="null: metered or in decimals"),
        sa.Column(
            "amount_minor", sa.BigInteger(), nullable=False, comment="before discounts; negative for a credit"
        ),
        sa.Column("discount_minor", sa.BigInteger(), nullable=False, comment="sum of discount_amounts"),
        sa.Column("tax_minor", sa.BigInteger(), nullable=False, comment="sum of taxes"),
        sa.Column("period_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("period_end", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["stripe_invoice_id"],
            ["invoices.stripe_invoice_id"],
            name=op.f("invoice_lines_stripe_invoice_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("stripe_line_id", name=op.f("invoice_lines_pkey")),
        comment="Mirror of invoice lines as last read",
    )
    op.create_index("invoice_lines_invoice_idx", "invoice_lines", ["stripe_invoice_id"])
    op.create_table(
        "invoice_payments",
        sa.Column("stripe_invoice_payment_id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("stripe_customer_id", sa.Text(), nullable=False),
        sa.Column("stripe_invoice_id", sa.Text(), nullable=False),
        sa.Column(
            "payment_intent_id",
            sa.Text(),
            nullable=True,
            comment="null: paid by a charge alone, or outside Stripe",
        ),
        sa.Column(
            "charge_id", sa.Text(), nullable=True, comment="null: paid by a payment intent, or outside Stripe"
        ),
        sa.Column("status", sa.Text(), nullable=False, comment="Stripe's: open, paid, canceled"),
        sa.Column("paid_minor", sa.BigInteger(), nullable=False, comment="amount_paid"),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=True, comment="status_transitions"),
        _read_at(),
        sa.ForeignKeyConstraint(
            ["user_key", "project"],
            ["users.user_key", "users.project"],
            name=op.f("invoice_payments_user_key_project_fkey"),
        ),
        sa.PrimaryKeyConstraint("stripe_invoice_payment_id", name=op.f("invoice_payments_pkey")),
        comment="Which payment is on which invoice: the only way from a charge to a subscription",
    )
    op.create_index("invoice_payments_invoice_idx", "invoice_payments", ["stripe_invoice_id"])
    op.create_index("invoice_payments_user_idx", "invoice_payments", ["user_key"])
    op.create_table(
        "payments",
        sa.Column("stripe_charge_id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("stripe_customer_id", sa.Text(), nullable=False),
        sa.Column(
            "payment_intent_id", sa.Text(), nullable=True, comment="null: a charge of an old integration"
        ),
        sa.Column("status", sa.Text(), nullable=False, comment="Stripe's: succeeded, pending, failed"),
        sa.Column("currency", sa.Text(), nullable=False, comment="ISO, lower case"),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("captured_minor", sa.BigInteger(), nullable=False, comment="amount_captured"),
        sa.Column("refunded_minor", sa.BigInteger(), nullable=False, comment="amount_refunded"),
        sa.Column("is_disputed", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="Stripe's"),
        _read_at(),
        sa.ForeignKeyConstraint(
            ["user_key", "project"],
            ["users.user_key", "users.project"],
            name=op.f("payments_user_key_project_fkey"),
        ),
        sa.PrimaryKeyConstraint("stripe_charge_id", name=op.f("payments_pkey")),
        comment="Mirror of Stripe charges as last read",
    )
    op.create_index("payments_intent_idx", "payments", ["payment_intent_id"])
    op.create_index("payments_user_idx", "payments", ["user_key"])
    op.create_table(
        "refunds",
        sa.Column("stripe_refund_id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("stripe_customer_id", sa.Text(), nullable=False),
        sa.Column("charge_id", sa.Text(), nullable=False),
        sa.Column("payment_intent_id", sa.Text(), nullable=True),
        sa.Column(
            "status", sa.Text(), nullable=False, comment="Stripe's: succeeded, pending, failed, canceled, …"
        ),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False, comment="ISO, lower case"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="Stripe's"),
        _read_at(),
        sa.ForeignKeyConstraint(
            ["user_key", "project"],
            ["users.user_key", "users.project"],
            name=op.f("refunds_user_key_project_fkey"),
        ),
        sa.PrimaryKeyConstraint("stripe_refund_id", name=op.f("refunds_pkey")),
        comment="Mirror of Stripe refunds as last read",
    )
    op.create_index("refunds_charge_idx", "refunds", ["charge_id"])
    op.create_index("refunds_user_idx", "refunds", ["user_key"])
    op.create_table(
        "disputes",
        sa.Column("stripe_dispute_id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("stripe_customer_id", sa.Text(), nullable=False),
        sa.Column("charge_id", sa.Text(), nullable=False),
        sa.Column("payment_intent_id", sa.Text(), nullable=True),
        sa.Column(
            "status", sa.Text(), nullable=False, comment="Stripe's: needs_response, won, lost, warning_…, …"
        ),
        sa.Column("reason", sa.Text(), nullable=False, comment="Stripe's: fraudulent, duplicate, …"),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False, comment="ISO, lower case"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="Stripe's"),
        _read_at(),
        sa.ForeignKeyConstraint(
            ["user_key", "project"],
            ["users.user_key", "users.project"],
            name=op.f("disputes_user_key_project_fkey"),
        ),
        sa.PrimaryKeyConstraint("stripe_dispute_id", name=op.f("disputes_pkey")),
        comment="Mirror of Stripe disputes as last read",
    )
    op.create_index("disputes_charge_idx", "disputes", ["charge_id"])
    op.create_index("disputes_user_idx", "disputes", ["user_key"])
    op.create_table(
        "stripe_products",
        sa.Column("product_id", sa.Text(), nullable=False, comment="Stripe's"),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("is_deleted", sa.Boolean(), nullable=False, comment="Stripe said so; the row stays"),
        _read_at(),
        sa.ForeignKeyConstraint(["project"], ["projects.project"], name=op.f("stripe_products_project_fkey")),
        sa.PrimaryKeyConstraint("product_id", name=op.f("stripe_products_pkey")),
        comment="Mirror of Stripe products that the catalog or our metadata names",
    )
    op.create_index("stripe_products_project_idx", "stripe_products", ["project"])
    op.create_table(
        "stripe_prices",
        sa.Column("price_id", sa.Text(), nullable=False, comment="Stripe's"),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False, comment="false: archived; it still grants"),
        sa.Column("is_deleted", sa.Boolean(), nullable=False, comment="Stripe said so; the row stays"),
        sa.Column(
            "lookup_key", sa.Text(), nullable=True, comment="{project}:{plan}:{price} on the newest revision"
        ),
        sa.Column("currency", sa.Text(), nullable=False, comment="ISO, lower case"),
        sa.Column("unit_amount_minor", sa.BigInteger(), nullable=True, comment="null: tiers, or decimals"),
        sa.Column(
            "billing_interval", sa.Text(), nullable=True, comment="day, week, month, year; null: one-time"
        ),
        sa.Column("interval_count", sa.Integer(), nullable=True),
        _read_at(),
        sa.ForeignKeyConstraint(["project"], ["projects.project"], name=op.f("stripe_prices_project_fkey")),
        sa.PrimaryKeyConstraint("price_id", name=op.f("stripe_prices_pkey")),
        comment="Mirror of Stripe prices of our products, whether or not the catalog made them",
    )
    op.create_index("stripe_prices_product_idx", "stripe_prices", ["product_id"])
    op.create_index("stripe_prices_project_idx", "stripe_prices", ["project"])
    op.create_table(
        "test_clocks",
        sa.Column("clock_id", sa.Text(), nullable=False, comment="clock_…"),
        sa.Column(
            "status", sa.Text(), nullable=False, comment="Stripe's: ready, advancing, internal_failure"
        ),
        sa.Column(
            "frozen_at", sa.DateTime(timezone=True), nullable=False, comment="what its customers take for now"
        ),
        sa.Column("is_deleted", sa.Boolean(), nullable=False, comment="Stripe deleted its customers with it"),
        _read_at(),
        sa.PrimaryKeyConstraint("clock_id", name=op.f("test_clocks_pkey")),
        comment="Mirror of Stripe test clocks that linked customers are on; of no project",
    )
    op.add_column(
        "purchases",
        sa.Column(
            "payment_intent_id",
            sa.Text(),
            nullable=True,
            comment="that paid it; null: free, or paid through an invoice",
        ),
    )
    op.add_column(
        "purchases",
        sa.Column(
            "stripe_invoice_id",
            sa.Text(),
            nullable=True,
            comment="that it stands on, or that its session made",
        ),
    )
    op.add_column(
        "subscription_items",
        sa.Column("currency", sa.Text(), nullable=True, comment="of the price; ISO, lower case"),
    )
    op.add_column(
        "subscription_items",
        sa.Column(
            "unit_amount_minor",
            sa.BigInteger(),
            nullable=True,
            comment="of the price; null: tiers, or decimals",
        ),
    )
    op.add_column(
        "subscription_items",
        sa.Column(
            "billing_interval", sa.Text(), nullable=True, comment="of the price: day, week, month, year"
        ),
    )
    op.add_column(
        "subscription_items", sa.Column("interval_count", sa.Integer(), nullable=True, comment="of the price")
    )
    op.add_column(
        "subscriptions", sa.Column("test_clock_id", sa.Text(), nullable=True, comment="null: real time")
    )


def downgrade() -> None:
    raise NotImplementedError("Tollhouse migrates forward only: restore a backup, or write a new migration.")


def _read_at() -> sa.Column[datetime]:
    return sa.Column(
        "read_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
    )
