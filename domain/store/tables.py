"""The schema as SQLAlchemy Core tables: what alembic compares with, and what filtered lists select from.

Every column says its unit and where its value comes from. Constraints make wrong states impossible
instead of unlikely; the protocol they guard is docs/event-path.md.
"""

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, JSON, UUID

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

INSTANT = DateTime(timezone=True)
NOW = text("clock_timestamp()")
LONG_AGO = text("'-infinity'")


def _one_of(column: str, *values: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


deployment = Table(
    "deployment",
    metadata,
    Column("id", Boolean, primary_key=True, server_default=text("true"), comment="always true: one row"),
    Column("account_id", Text, nullable=False, comment="acct_…, answered by Stripe to the first key"),
    Column("mode", Text, nullable=False, comment="live or test, from the key's prefix"),
    Column("env", Text, nullable=False, comment="TOLLHOUSE_ENV of the process that fixed it"),
    Column("fixed_at", INSTANT, nullable=False, server_default=NOW),
    CheckConstraint("id", name="one_row"),
    _one_of("mode", "live", "test"),
    comment="The one Stripe account and mode this database belongs to",
)

projects = Table(
    "projects",
    metadata,
    Column("project", Text, primary_key=True, comment="slug, from the catalog file"),
    Column("name", Text, nullable=False),
    Column("catalog_version", BigInteger, nullable=False, comment="head: the version in force"),
    Column("created_at", INSTANT, nullable=False, server_default=NOW),
    Column(
        "figures_since",
        INSTANT,
        nullable=False,
        server_default=NOW,
        comment="from then on money figures are whole",
    ),
    Column(
        "import_pending_since", INSTANT, comment="customers of another system are to come; null: none are"
    ),
    Column(
        "import_allows_new",
        Boolean,
        nullable=False,
        server_default="false",
        comment="while they are to come, a checkout may make a customer all the same",
    ),
    comment="Product lines; each owns its users, catalog and money",
)

apps = Table(
    "apps",
    metadata,
    Column("project", Text, ForeignKey("projects.project"), primary_key=True),
    Column("app", Text, primary_key=True, comment="slug, from the catalog file"),
    Column("created_at", INSTANT, nullable=False, server_default=NOW),
    Column("removed_at", INSTANT, comment="set when the catalog head no longer lists it"),
    comment="Micro-apps of a project",
)

catalogs = Table(
    "catalogs",
    metadata,
    Column(
        "project",
        Text,
        ForeignKey("projects.project", deferrable=True, initially="DEFERRED"),
        primary_key=True,
    ),
    Column("version", BigInteger, primary_key=True, comment="1, 2, … per project"),
    Column("body", JSON, nullable=False, comment="domain.rules.catalog.Catalog, canonical JSON"),
    Column("sha256", LargeBinary, nullable=False, comment="of body: an equal one makes no new version"),
    Column("applied_at", INSTANT, nullable=False, server_default=NOW),
    CheckConstraint("version > 0", name="version_positive"),
    comment="Immutable versions of the catalog",
)

prices = Table(
    "prices",
    metadata,
    Column("price_id", Text, primary_key=True, comment="price_…, Stripe's"),
    Column("project", Text, ForeignKey("projects.project"), nullable=False),
    Column("plan", Text, nullable=False, comment="catalog key"),
    Column("price", Text, nullable=False, comment="catalog key: month, year, once"),
    Column("revision", Integer, nullable=False, comment="1, 2, …: one per change of amount"),
    Column("is_head", Boolean, nullable=False, comment="the revision that new checkouts sell"),
    Column("currencies", ARRAY(Text), nullable=False, comment="ISO codes, lower case; the first is its own"),
    CheckConstraint("revision > 0", name="revision_positive"),
    UniqueConstraint("project", "plan", "price", "revision"),
    Index("prices_head_key", "project", "plan", "price", unique=True, postgresql_where=text("is_head")),
    comment="Which Stripe price is which revision of which price of the catalog",
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Text, primary_key=True, comment="base62, the public part of the key"),
    Column("kind", Text, nullable=False),
    Column("project", Text, ForeignKey("projects.project"), comment="null: operator of every project"),
    Column("app", Text),
    Column("name", Text, nullable=False, comment="shown as actor"),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("secret_hmac", LargeBinary, nullable=False, comment="HMAC-SHA256(pepper, secret)"),
    Column("pepper_version", Integer, nullable=False, comment="which of TOLLHOUSE_KEY_PEPPERS"),
    Column("created_at", INSTANT, nullable=False, server_default=NOW),
    Column("expires_at", INSTANT),
    Column("revoked_at", INSTANT),
    Column("last_used_at", INSTANT),
    Column("created_by", Text, comment="actor; null: made before this was kept"),
    Column("ended_by", Text, comment="actor who revoked or rotated it"),
    Column("replaced_by", Text, ForeignKey("api_keys.key_id"), comment="the key that a rotation made for it"),
    ForeignKeyConstraint(["project", "app"], ["apps.project", "apps.app"]),
    _one_of("kind", "app", "project", "operator"),
    CheckConstraint("octet_length(secret_hmac) = 32", name="secret_hmac_length"),
    CheckConstraint(
        "(kind = 'app' AND project IS NOT NULL AND app IS NOT NULL)"
        " OR (kind = 'project' AND project IS NOT NULL AND app IS NULL)"
        " OR (kind = 'operator' AND app IS NULL)",
        name="kind_names",
    ),
    comment="API keys; the secret itself is nowhere",
)

users = Table(
    "users",
    metadata,
    Column("user_key", BigInteger, Identity(always=True), primary_key=True),
    Column("project", Text, ForeignKey("projects.project"), nullable=False),
    Column("user_id", Text, nullable=False, comment="the project's own id, opaque"),
    Column("created_at", INSTANT, nullable=False, server_default=NOW),
    Column(
        "catalog_version", BigInteger, nullable=False, server_default="0", comment="of its last recompute"
    ),
    Column("next_boundary_at", INSTANT, comment="when a stored answer next changes by itself"),
    Column("clock_at", INSTANT, comment="frozen time of the customer's Stripe test clock; null: real time"),
    Column(
        "erased_at", INSTANT, comment="then user_id is a keyed hash of what it was, and nothing gives access"
    ),
    Column(
        "went_to",
        BigInteger,
        ForeignKey("users.user_key"),
        comment="user_key that has what this one had: renamed or merged; null: nothing went away",
    ),
    CheckConstraint("char_length(user_id) BETWEEN 1 AND 255", name="user_id_length"),
    UniqueConstraint("project", "user_id"),
    UniqueConstraint("user_key", "project"),
    Index("users_behind_idx", "project", "catalog_version"),
    Index("users_went_to_idx", "went_to", postgresql_where=text("went_to IS NOT NULL")),
    Index("users_boundary_idx", "next_boundary_at", postgresql_where=text("next_boundary_at IS NOT NULL")),
    comment="Persons, teams or accounts, as their project names them",
)

stripe_customers = Table(
    "stripe_customers",
    metadata,
    Column("ref", UUID(as_uuid=True), primary_key=True, comment="ours; customer.metadata.tollhouse_ref"),
    Column("project", Text, nullable=False),
    Column("user_key", BigInteger, nullable=False),
    Column("stripe_customer_id", Text, unique=True, comment="cus_…; null until Stripe has answered"),
    Column("is_primary", Boolean, nullable=False, comment="used for new checkouts"),
    Column("generation", Integer, nullable=False, server_default="1", comment="part of the idempotency key"),
    Column("created_at", INSTANT, nullable=False, server_default=NOW),
    Column("deleted_at", INSTANT, comment="when Stripe said deleted"),
    ForeignKeyConstraint(["user_key", "project"], ["users.user_key", "users.project"]),
    CheckConstraint("NOT (is_primary AND deleted_at IS NOT NULL)", name="deleted_not_primary"),
    Index("stripe_customers_primary_key", "user_key", unique=True, postgresql_where=text("is_primary")),
    Index("stripe_customers_user_idx", "user_key"),
    comment="Which Stripe customer is which user: the only authority on it",
)

checkout_sessions = Table(
    "checkout_sessions",
    metadata,
    Column("ref", UUID(as_uuid=True), primary_key=True, comment="ours; the session's client_reference_id"),
    Column("project", Text, nullable=False),
    Column("app", Text, nullable=False),
    Column("user_key", BigInteger, nullable=False),
    Column("stripe_session_id", Text, unique=True, comment="cs_…; null until Stripe has answered"),
    Column("mode", Text, nullable=False),
    Column("status", Text, nullable=False, comment="creating, then Stripe's: open, complete, expired"),
    Column("payment_status", Text, comment="Stripe's: paid, unpaid, no_payment_required"),
    Column("items", JSON, nullable=False, comment="[{plan, price, quantity}] as asked"),
    Column("created_at", INSTANT, nullable=False, server_default=NOW),
    Column("expires_at", INSTANT, comment="Stripe's"),
    Column(
        "groups",
        ARRAY(Text),
        nullable=False,
        server_default=text("'{}'"),
        comment="catalog groups of its recurring plans",
    ),
    Column("claimed_at", INSTANT, comment="when a success page last had it read"),
    ForeignKeyConstraint(["user_key", "project"], ["users.user_key", "users.project"]),
    ForeignKeyConstraint(["project", "app"], ["apps.project", "apps.app"]),
    _one_of("mode", "subscription", "payment"),
    Index("checkout_sessions_user_idx", "user_key"),
    comment="Checkouts that apps asked for",
)

checkout_turns = Table(
    "checkout_turns",
    metadata,
    Column("user_key", BigInteger, primary_key=True),
    Column("group_key", Text, primary_key=True, comment="catalog group of the plans"),
    Column("project", Text, nullable=False),
    Column("token", UUID(as_uuid=True), nullable=False, comment="ref of the checkout whose turn it is"),
    Column("lease_until", INSTANT, nullable=False),
    ForeignKeyConstraint(["user_key", "project"], ["users.user_key", "users.project"]),
    comment="Whose turn it is to open a checkout of a user and group: one at a time",
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True, comment="what the call makes is named after it"),
    Column("project", Text, comment="null: a call that concerns no one project"),
    Column("caller", Text, nullable=False, comment="whose keys these are: kind and project/app"),
    Column("route", Text, nullable=False, comment="method and path"),
    Column("key_sha256", LargeBinary, nullable=False, comment="of the caller's Idempotency-Key"),
    Column("request_sha256", LargeBinary, nullable=False, comment="of what was asked for: else 422"),
    Column("lease_token", Text, comment="which attempt is under way"),
    Column("lease_until", INSTANT, comment="then another resumes it"),
    Column("status", Integer, comment="of the kept answer; null: not done yet"),
    Column("body", LargeBinary, comment="of the kept answer, byte for byte"),
    Column("created_at", INSTANT, nullable=False, server_default=NOW),
    Column("expires_at", INSTANT, nullable=False, comment="then it is forgotten"),
    CheckConstraint("(status IS NULL) = (body IS NULL)", name="answer_whole"),
    CheckConstraint("(lease_token IS NULL) = (lease_until IS NULL)", name="lease_whole"),
    CheckConstraint("status IS NULL OR lease_token IS NULL", name="done_or_leased"),
    UniqueConstraint("caller", "route", "key_sha256"),
    Index("idempotency_keys_expires_idx", "expires_at"),
    comment="Calls under an Idempotency-Key: under way, or their answers for a day",
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("stripe_subscription_id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("user_key", BigInteger, nullable=False),
    Column("stripe_customer_id", Text, nullable=False),
    Column("status", Text, nullable=False, comment="Stripe's, whatever it is"),
    Column("created_at", INSTANT, nullable=False, comment="Stripe's"),
    Column("trial_end", INSTANT),
    Column("cancel_at", INSTANT),
    Column("cancel_at_period_end", Boolean, nullable=False),
    Column("ended_at", INSTANT),
    Column("pause_behavior", Text, comment="pause_collection.behavior"),
    Column("pause_resumes_at", INSTANT, comment="pause_collection.resumes_at"),
    Column("pause_cause", Text, comment="status_details.paused.subscription.type"),
    Column(
        "last_known_status", Text, comment="the last status we know; equal to status unless that is unknown"
    ),
    Column("unknown_since", INSTANT, comment="first read of an unknown status"),
    Column("test_clock_id", Text, comment="null: real time"),
    Column("read_at", INSTANT, nullable=False, server_default=NOW, comment="when Stripe was last read"),
    Column("schedule_id", Text, comment="null: no schedule manages it"),
    Column("scheduled_at", INSTANT, comment="when the items change; null: no change is waiting"),
    Column("scheduled_items", JSON, comment="[{price_id, product_id, quantity}] from then on"),
    Column("currency", Text, comment="ISO, lower case; null: not read"),
    Column("discounts", JSON, comment="[domain.money.Discount]; null: none"),
    CheckConstraint("(scheduled_at IS NULL) = (scheduled_items IS NULL)", name="scheduled_whole"),
    ForeignKeyConstraint(["user_key", "project"], ["users.user_key", "users.project"]),
    Index("subscriptions_user_idx", "user_key"),
    comment="Mirror of Stripe subscriptions as last read",
)

subscription_items = Table(
    "subscription_items",
    metadata,
    Column("stripe_item_id", Text, primary_key=True),
    Column(
        "stripe_subscription_id",
        Text,
        ForeignKey("subscriptions.stripe_subscription_id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("project", Text, nullable=False),
    Column("price_id", Text, nullable=False),
    Column("product_id", Text, nullable=False),
    Column("quantity", BigInteger, comment="null: metered"),
    Column("period_start", INSTANT, nullable=False),
    Column("period_end", INSTANT, nullable=False),
    Column("currency", Text, comment="of the price; ISO, lower case"),
    Column("unit_amount_minor", BigInteger, comment="of the price; null: tiers, or decimals"),
    Column("billing_interval", Text, comment="of the price: day, week, month, year"),
    Column("interval_count", Integer, comment="of the price"),
    Column(
        "charged_unit",
        Text,
        comment="minor units in the subscription's currency, a decimal; null: tiers, metered, not read",
    ),
    Column("discounts", JSON, comment="[domain.money.Discount]; null: none"),
    Index("subscription_items_subscription_idx", "stripe_subscription_id"),
    comment="Mirror of subscription items as last read",
)

purchases = Table(
    "purchases",
    metadata,
    Column("purchase_id", Text, primary_key=True, comment="{object_id}/{line id}"),
    Column("project", Text, nullable=False),
    Column("user_key", BigInteger, nullable=False),
    Column("stripe_customer_id", Text, nullable=False),
    Column("object_kind", Text, nullable=False),
    Column("object_id", Text, nullable=False, comment="cs_… or in_…"),
    Column("price_id", Text, nullable=False),
    Column("product_id", Text, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("paid_at", INSTANT, nullable=False, comment="creation of the charge, else of the session; kept"),
    Column("captured_minor", BigInteger, nullable=False, comment="captured of its payment, minor units"),
    Column("currency", Text, nullable=False, comment="ISO, lower case"),
    Column("payment_intent_id", Text, comment="that paid it; null: free, or paid through an invoice"),
    Column("stripe_invoice_id", Text, comment="that it stands on, or that its session made"),
    Column("read_at", INSTANT, nullable=False, server_default=NOW),
    Column("amount_minor", BigInteger, comment="amount_total; null: not read"),
    Column("tax_minor", BigInteger, comment="amount_tax; null: not read"),
    ForeignKeyConstraint(["user_key", "project"], ["users.user_key", "users.project"]),
    _one_of("object_kind", "checkout.session", "invoice"),
    CheckConstraint("captured_minor >= 0 AND quantity >= 0", name="amounts"),
    Index("purchases_user_idx", "user_key"),
    Index("purchases_object_idx", "object_kind", "object_id"),
    comment="Mirror of paid one-time lines as last read",
)

invoices = Table(
    "invoices",
    metadata,
    Column("stripe_invoice_id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("user_key", BigInteger, nullable=False),
    Column("stripe_customer_id", Text, nullable=False),
    Column("stripe_subscription_id", Text, comment="null: an invoice by itself (B2B)"),
    Column("number", Text, comment="as printed; null while a draft"),
    Column("status", Text, nullable=False, comment="Stripe's: draft, open, paid, uncollectible, void"),
    Column("billing_reason", Text, comment="Stripe's: subscription_cycle, manual, …"),
    Column("collection_method", Text, nullable=False, comment="charge_automatically or send_invoice"),
    Column("currency", Text, nullable=False, comment="ISO, lower case"),
    Column("total_minor", BigInteger, nullable=False, comment="tax included; negative for a credit"),
    Column("tax_minor", BigInteger, nullable=False, comment="sum of total_taxes"),
    Column("paid_minor", BigInteger, nullable=False, comment="amount_paid"),
    Column("remaining_minor", BigInteger, nullable=False, comment="amount_remaining"),
    Column("created_at", INSTANT, nullable=False, comment="Stripe's"),
    Column("finalized_at", INSTANT, comment="status_transitions"),
    Column("due_at", INSTANT, comment="due_date; only of invoices that are sent"),
    Column("paid_at", INSTANT, comment="status_transitions"),
    Column("voided_at", INSTANT, comment="status_transitions"),
    Column("uncollectible_at", INSTANT, comment="status_transitions"),
    Column("pay_url", Text, comment="hosted_invoice_url"),
    Column("read_at", INSTANT, nullable=False, server_default=NOW),
    ForeignKeyConstraint(["user_key", "project"], ["users.user_key", "users.project"]),
    Index("invoices_user_idx", "user_key"),
    Index("invoices_number_idx", "number"),
    Index("invoices_subscription_idx", "stripe_subscription_id"),
    comment="Mirror of Stripe invoices as last read",
)

invoice_lines = Table(
    "invoice_lines",
    metadata,
    Column("stripe_line_id", Text, primary_key=True),
    Column(
        "stripe_invoice_id",
        Text,
        ForeignKey("invoices.stripe_invoice_id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("project", Text, nullable=False),
    Column("price_id", Text, comment="null: an amount without a price"),
    Column("product_id", Text),
    Column("is_one_time", Boolean, nullable=False, comment="an item by itself, of no subscription item"),
    Column("quantity", BigInteger, comment="null: metered or in decimals"),
    Column("amount_minor", BigInteger, nullable=False, comment="before discounts; negative for a credit"),
    Column("discount_minor", BigInteger, nullable=False, comment="sum of discount_amounts"),
    Column("tax_minor", BigInteger, nullable=False, comment="sum of taxes"),
    Column("period_start", INSTANT, nullable=False),
    Column("period_end", INSTANT, nullable=False),
    Index("invoice_lines_invoice_idx", "stripe_invoice_id"),
    comment="Mirror of invoice lines as last read",
)

invoice_payments = Table(
    "invoice_payments",
    metadata,
    Column("stripe_invoice_payment_id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("user_key", BigInteger, nullable=False),
    Column("stripe_customer_id", Text, nullable=False),
    Column("stripe_invoice_id", Text, nullable=False),
    Column("payment_intent_id", Text, comment="null: paid by a charge alone, or outside Stripe"),
    Column("charge_id", Text, comment="null: paid by a payment intent, or outside Stripe"),
    Column("status", Text, nullable=False, comment="Stripe's: open, paid, canceled"),
    Column("paid_minor", BigInteger, nullable=False, comment="amount_paid"),
    Column("paid_at", INSTANT, comment="status_transitions"),
    Column("read_at", INSTANT, nullable=False, server_default=NOW),
    ForeignKeyConstraint(["user_key", "project"], ["users.user_key", "users.project"]),
    Index("invoice_payments_invoice_idx", "stripe_invoice_id"),
    Index("invoice_payments_user_idx", "user_key"),
    comment="Which payment is on which invoice: the only way from a charge to a subscription",
)

payments = Table(
    "payments",
    metadata,
    Column("stripe_charge_id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("user_key", BigInteger, nullable=False),
    Column("stripe_customer_id", Text, nullable=False),
    Column("payment_intent_id", Text, comment="null: a charge of an old integration"),
    Column("status", Text, nullable=False, comment="Stripe's: succeeded, pending, failed"),
    Column("currency", Text, nullable=False, comment="ISO, lower case"),
    Column("amount_minor", BigInteger, nullable=False),
    Column("captured_minor", BigInteger, nullable=False, comment="amount_captured"),
    Column("refunded_minor", BigInteger, nullable=False, comment="amount_refunded"),
    Column("is_disputed", Boolean, nullable=False),
    Column("created_at", INSTANT, nullable=False, comment="Stripe's"),
    Column("read_at", INSTANT, nullable=False, server_default=NOW),
    ForeignKeyConstraint(["user_key", "project"], ["users.user_key", "users.project"]),
    Index("payments_user_idx", "user_key"),
    Index("payments_intent_idx", "payment_intent_id"),
    comment="Mirror of Stripe charges as last read",
)

refunds = Table(
    "refunds",
    metadata,
    Column("stripe_refund_id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("user_key", BigInteger, nullable=False),
    Column("stripe_customer_id", Text, nullable=False),
    Column("charge_id", Text, nullable=False),
    Column("payment_intent_id", Text),
    Column("status", Text, nullable=False, comment="Stripe's: succeeded, pending, failed, canceled, …"),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False, comment="ISO, lower case"),
    Column("created_at", INSTANT, nullable=False, comment="Stripe's"),
    Column("read_at", INSTANT, nullable=False, server_default=NOW),
    Column("ended_at", INSTANT, comment="when it was first read as failed or canceled"),
    ForeignKeyConstraint(["user_key", "project"], ["users.user_key", "users.project"]),
    Index("refunds_user_idx", "user_key"),
    Index("refunds_charge_idx", "charge_id"),
    comment="Mirror of Stripe refunds as last read",
)

disputes = Table(
    "disputes",
    metadata,
    Column("stripe_dispute_id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("user_key", BigInteger, nullable=False),
    Column("stripe_customer_id", Text, nullable=False),
    Column("charge_id", Text, nullable=False),
    Column("payment_intent_id", Text),
    Column("status", Text, nullable=False, comment="Stripe's: needs_response, won, lost, warning_…, …"),
    Column("reason", Text, nullable=False, comment="Stripe's: fraudulent, duplicate, …"),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False, comment="ISO, lower case"),
    Column("created_at", INSTANT, nullable=False, comment="Stripe's"),
    Column("read_at", INSTANT, nullable=False, server_default=NOW),
    ForeignKeyConstraint(["user_key", "project"], ["users.user_key", "users.project"]),
    Index("disputes_user_idx", "user_key"),
    Index("disputes_charge_idx", "charge_id"),
    comment="Mirror of Stripe disputes as last read",
)

dispute_funds = Table(
    "dispute_funds",
    metadata,
    Column("balance_transaction_id", Text, primary_key=True, comment="txn_…, Stripe's"),
    Column(
        "stripe_dispute_id",
        Text,
        ForeignKey("disputes.stripe_dispute_id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("project", Text, nullable=False),
    Column(
        "amount_minor",
        BigInteger,
        nullable=False,
        comment="in the dispute's currency; negative: withdrawn, positive: reinstated",
    ),
    Column("moved_at", INSTANT, nullable=False, comment="Stripe's"),
    Index("dispute_funds_dispute_idx", "stripe_dispute_id"),
    comment="Money that a dispute took or gave back, as last read",
)

revenue_entries = Table(
    "revenue_entries",
    metadata,
    Column("object_id", Text, primary_key=True, comment="ch_…, re_… or txn_…"),
    Column("kind", Text, primary_key=True),
    Column("app", Text, primary_key=True, comment="empty: of no one app"),
    Column("project", Text, nullable=False),
    Column("user_key", BigInteger, nullable=False),
    Column("charge_id", Text, nullable=False),
    Column("happened_at", INSTANT, nullable=False, comment="Stripe's; the day it belongs to"),
    Column("currency", Text, nullable=False, comment="ISO, lower case"),
    Column("amount_minor", BigInteger, nullable=False, comment="tax included; negative: given back again"),
    Column("tax_minor", BigInteger, nullable=False, comment="of that amount"),
    ForeignKeyConstraint(["user_key", "project"], ["users.user_key", "users.project"]),
    _one_of("kind", "payment", "refund", "refund_failed", "dispute", "dispute_reversal"),
    Index("revenue_entries_happened_idx", "project", "happened_at", "object_id", "kind", "app"),
    Index("revenue_entries_charge_idx", "charge_id"),
    Index("revenue_entries_user_idx", "user_key"),
    comment="Money that came, was given back or withheld, by app; follows from the mirror and the catalog",
)

recurring_sums = Table(
    "recurring_sums",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("project", Text, nullable=False),
    Column("user_key", BigInteger, nullable=False),
    Column("currency", Text, nullable=False, comment="ISO, lower case"),
    Column("plan", Text, nullable=False, comment="catalog key; empty: not in the catalog"),
    Column("app", Text, nullable=False, comment="empty: of no one app"),
    Column("standing", Text, nullable=False),
    Column("monthly", Numeric, nullable=False, comment="minor units a month, times divisor; a whole number"),
    Column("divisor", Numeric, nullable=False, comment="the same for all of a user's, currency and begin"),
    Column("subscriptions", Integer, nullable=False, comment="of this plan and standing"),
    Column("is_counted", Boolean, nullable=False, comment="the first app: counts subscriptions once"),
    Column("is_import", Boolean, nullable=False, comment="subscribed before the user was ours"),
    Column("begins_at", INSTANT, nullable=False, comment="when it was read; business time"),
    Column("ends_at", INSTANT, comment="null: still so"),
    ForeignKeyConstraint(["user_key", "project"], ["users.user_key", "users.project"]),
    _one_of("standing", "paying", "grace", "trial"),
    CheckConstraint("divisor > 0", name="divisor_positive"),
    CheckConstraint("ends_at > begins_at", name="ends_after_begin"),
    Index("recurring_sums_user_idx", "user_key", "currency"),
    Index("recurring_sums_begins_idx", "project", "begins_at"),
    Index("recurring_sums_ends_idx", "project", "ends_at"),
    comment="What each user's subscriptions come to a month, since when and until when; rows only end",
)

stripe_products = Table(
    "stripe_products",
    metadata,
    Column("product_id", Text, primary_key=True, comment="Stripe's"),
    Column("project", Text, ForeignKey("projects.project"), nullable=False),
    Column("name", Text, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("is_deleted", Boolean, nullable=False, comment="Stripe said so; the row stays"),
    Column("read_at", INSTANT, nullable=False, server_default=NOW),
    Index("stripe_products_project_idx", "project"),
    comment="Mirror of Stripe products that the catalog or our metadata names",
)

stripe_prices = Table(
    "stripe_prices",
    metadata,
    Column("price_id", Text, primary_key=True, comment="Stripe's"),
    Column("project", Text, ForeignKey("projects.project"), nullable=False),
    Column("product_id", Text, nullable=False),
    Column("is_active", Boolean, nullable=False, comment="false: archived; it still grants"),
    Column("is_deleted", Boolean, nullable=False, comment="Stripe said so; the row stays"),
    Column("lookup_key", Text, comment="{project}:{plan}:{price} on the newest revision"),
    Column("currency", Text, nullable=False, comment="ISO, lower case"),
    Column("unit_amount_minor", BigInteger, comment="null: tiers, or decimals"),
    Column("billing_interval", Text, comment="day, week, month, year; null: one-time"),
    Column("interval_count", Integer),
    Column("read_at", INSTANT, nullable=False, server_default=NOW),
    Index("stripe_prices_project_idx", "project"),
    Index("stripe_prices_product_idx", "product_id"),
    comment="Mirror of Stripe prices of our products, whether or not the catalog made them",
)

test_clocks = Table(
    "test_clocks",
    metadata,
    Column("clock_id", Text, primary_key=True, comment="clock_…"),
    Column("status", Text, nullable=False, comment="Stripe's: ready, advancing, internal_failure"),
    Column("frozen_at", INSTANT, nullable=False, comment="what its customers take for now"),
    Column("is_deleted", Boolean, nullable=False, comment="Stripe deleted its customers with it"),
    Column("read_at", INSTANT, nullable=False, server_default=NOW),
    comment="Mirror of Stripe test clocks that linked customers are on; of no project",
)

entitlements = Table(
    "entitlements",
    metadata,
    Column("user_key", BigInteger, primary_key=True),
    Column("app", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column(
        "first_version", BigInteger, nullable=False, comment="of segment 0; segment i has first_version + i"
    ),
    Column("last_version", BigInteger, nullable=False, comment="highest number ever given; never falls"),
    Column("catalog_version", BigInteger, nullable=False, comment="it was computed under; never falls"),
    Column("computed_at", INSTANT, nullable=False, comment="business time of the recompute"),
    Column("timeline", JSON, nullable=False, comment="[{begins_at, ends_at, entitlements}], byte for byte"),
    ForeignKeyConstraint(["user_key", "project"], ["users.user_key", "users.project"]),
    ForeignKeyConstraint(["project", "app"], ["apps.project", "apps.app"]),
    CheckConstraint("first_version > 0 AND last_version >= first_version", name="versions"),
    comment="Stored answers: one timeline per user and app",
)

entitlement_history = Table(
    "entitlement_history",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("user_key", BigInteger, nullable=False),
    Column("app", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("begins_at", INSTANT, nullable=False, comment="business time from which it was answered"),
    Column("ends_at", INSTANT, comment="known then as its end; null: none was known"),
    Column("cause", Text, nullable=False, comment="event type, boundary, catalog, …"),
    Column("catalog_version", BigInteger, nullable=False),
    Column("facts", JSON, nullable=False, comment="domain.model.Facts it was computed from"),
    Column("body", JSON, nullable=False, comment="the entitlements, byte for byte"),
    Column("recorded_at", INSTANT, nullable=False, server_default=NOW),
    ForeignKeyConstraint(["user_key", "project"], ["users.user_key", "users.project"]),
    UniqueConstraint("user_key", "app", "version"),
    comment="What was answered, and from what; rows are only added",
)

entitlement_changes = Table(
    "entitlement_changes",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("project", Text, nullable=False),
    Column("app", Text, nullable=False),
    Column("user_key", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("cause", Text, nullable=False, comment="as in entitlement_history"),
    Column("changed", ARRAY(Text), nullable=False, comment="features whose answer is another than before"),
    Column("recorded_at", INSTANT, nullable=False, server_default=NOW),
    Column(
        "position", BigInteger, unique=True, comment="in the feed; given after commit, null: not given yet"
    ),
    ForeignKeyConstraint(["user_key", "project"], ["users.user_key", "users.project"]),
    UniqueConstraint("user_key", "app", "version"),
    Index("entitlement_changes_feed_idx", "project", "app", "position"),
    Index("entitlement_changes_unnumbered_idx", "id", postgresql_where=text("position IS NULL")),
    comment="The change feed: one row per version that began to be answered",
)

grants = Table(
    "grants",
    metadata,
    Column("grant_id", Text, primary_key=True, comment="gr_…"),
    Column("project", Text, nullable=False),
    Column("user_key", BigInteger, nullable=False),
    Column("effect", Text, nullable=False),
    Column("target_kind", Text, nullable=False),
    Column("target", Text, nullable=False, comment="key of the feature, plan, app or project"),
    Column("value", JSON, comment="null: what the target gives by itself"),
    Column("reason", Text, nullable=False, comment="an operator's words; apps never see them"),
    Column("actor", Text, nullable=False, comment="name of the key, or the terminal's user"),
    Column("created_at", INSTANT, nullable=False, server_default=NOW),
    Column("starts_at", INSTANT, nullable=False),
    Column("expires_at", INSTANT, comment="null: never"),
    Column("revoked_at", INSTANT),
    Column("revoked_by", Text),
    Column("revoke_reason", Text),
    Column("idempotency_key", Text, comment="the caller's; one grant per project and key"),
    Column("request_sha256", LargeBinary, comment="of the request under that key: another one is refused"),
    ForeignKeyConstraint(["user_key", "project"], ["users.user_key", "users.project"]),
    UniqueConstraint("project", "idempotency_key"),
    _one_of("effect", "allow", "add", "override", "deny"),
    _one_of("target_kind", "feature", "plan", "app", "project"),
    CheckConstraint("expires_at > starts_at", name="expires_after_start"),
    CheckConstraint(
        "(revoked_at IS NULL) = (revoked_by IS NULL) AND (revoked_at IS NULL) = (revoke_reason IS NULL)",
        name="revocation_whole",
    ),
    CheckConstraint("(idempotency_key IS NULL) = (request_sha256 IS NULL)", name="idempotency_whole"),
    Index("grants_user_idx", "user_key"),
    Index("grants_project_idx", "project", "created_at", "grant_id"),
    Index(
        "grants_expiring_idx",
        "project",
        "expires_at",
        "grant_id",
        postgresql_where=text("revoked_at IS NULL AND expires_at IS NOT NULL"),
    ),
    comment="What operators gave or took; a row ends by its revocation and is never deleted",
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", INSTANT, nullable=False, server_default=NOW),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False, comment="noun.verb, such as grant.create"),
    Column("project", Text, comment="null: of the whole deployment"),
    Column("user_key", BigInteger),
    Column("subject_kind", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("reason", Text, comment="an operator's words"),
    Column(
        "details", JSON, nullable=False, comment="what was asked for and what it changed; no personal data"
    ),
    Column("request_id", Text),
    Index("audit_log_project_idx", "project", "id"),
    Index("audit_log_user_idx", "user_key", "id"),
    Index("audit_log_action_idx", "action", "id"),
    Index("audit_log_actor_idx", "actor", "id"),
    comment="Every action of an operator, in the transaction of the action; rows are only added",
)

webhook_events = Table(
    "webhook_events",
    metadata,
    Column("event_id", Text, primary_key=True, comment="evt_… of Stripe, th_… of our own"),
    Column("source", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("object_kind", Text, comment="what a worker reads"),
    Column("object_id", Text),
    Column("target_kind", Text, comment="customer, or the object while its customer is not known"),
    Column("target_ref", Text),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("retry_at", INSTANT, nullable=False, server_default=LONG_AGO),
    Column("received_at", INSTANT, nullable=False, server_default=NOW),
    Column("done_at", INSTANT),
    Column("created_at", INSTANT, comment="Stripe's, whole seconds: never an order"),
    Column("api_version", Text),
    Column("request_id", Text, comment="of the delivery, follows the event into the worker's log"),
    Column("payload", LargeBinary, comment="zlib of the body; null: expired by retention, or internal"),
    Column("payload_sha256", LargeBinary, comment="of the body; stays after retention"),
    _one_of(
        "source",
        "stripe",
        "poll",
        "sync",
        "claim",
        "timer",
        "reconcile",
        "adopt",
        "link",
        "import",
        "operator",
    ),
    _one_of("state", "pending", "processed", "ignored", "foreign", "failed"),
    CheckConstraint("(target_kind IS NULL) = (target_ref IS NULL)", name="target_whole"),
    CheckConstraint("(object_kind IS NULL) = (object_id IS NULL)", name="object_whole"),
    CheckConstraint(
        "state IN ('ignored', 'foreign') OR (target_ref IS NOT NULL AND object_id IS NOT NULL)",
        name="work_has_target",
    ),
    CheckConstraint("state <> 'ignored' OR target_ref IS NULL", name="ignored_has_no_target"),
    CheckConstraint("(state = 'pending') = (done_at IS NULL)", name="done_or_pending"),
    CheckConstraint("state IN ('pending', 'processed') OR reason IS NOT NULL", name="reason_said"),
    Index(
        "webhook_events_pending_idx", "target_kind", "target_ref", postgresql_where=text("state = 'pending'")
    ),
    Index(
        "webhook_events_foreign_idx",
        "target_kind",
        "target_ref",
        postgresql_where=text("state = 'foreign' AND target_ref IS NOT NULL"),
    ),
    Index(
        "webhook_events_failed_idx", "target_kind", "target_ref", postgresql_where=text("state = 'failed'")
    ),
    Index("webhook_events_received_idx", "received_at", "event_id"),
    Index("webhook_events_object_idx", "object_id", "received_at"),
    Index("webhook_events_ref_idx", "target_ref", "received_at"),
    comment="The inbox: hints that an object may have changed",
)

sync_targets = Table(
    "sync_targets",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("stripe_id", Text, nullable=False),
    Column("owner", Text, nullable=False, server_default="unknown"),
    Column("dirty_seq", BigInteger, nullable=False, server_default="0", comment="rises with every hint"),
    Column("synced_seq", BigInteger, nullable=False, server_default="0", comment="dirty_seq as last settled"),
    Column("state", Text, nullable=False, server_default="active"),
    Column("lease_token", Text, comment="who may commit"),
    Column("lease_until", INSTANT),
    Column("claims", Integer, nullable=False, server_default="0", comment="since the last outcome"),
    Column("attempts", Integer, nullable=False, server_default="0", comment="failures of any kind in a row"),
    Column("failures", Integer, nullable=False, server_default="0", comment="Broken in a row; 8 is dead"),
    Column("due_at", INSTANT, nullable=False, server_default=LONG_AGO),
    Column("rung_at", INSTANT, nullable=False, server_default=LONG_AGO),
    Column(
        "rings", Integer, nullable=False, server_default="0", comment="by the sweeper since the last claim"
    ),
    Column("last_error", Text),
    UniqueConstraint("kind", "stripe_id"),
    _one_of("owner", "unknown", "ours", "foreign"),
    _one_of("state", "active", "dead"),
    CheckConstraint("synced_seq <= dirty_seq", name="settled_at_most_dirty"),
    CheckConstraint("(lease_token IS NULL) = (lease_until IS NULL)", name="lease_whole"),
    Index("sync_targets_dead_idx", "id", postgresql_where=text("state = 'dead'")),
    Index(
        "sync_targets_owed_idx",
        "due_at",
        postgresql_where=text("dirty_seq > synced_seq AND state = 'active'"),
    ),
    comment="What is owed a sync, and who is on it",
)

timers = Table(
    "timers",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("due_at", INSTANT, nullable=False),
    Column("target_kind", Text, nullable=False),
    Column("target_ref", Text, nullable=False),
    Column("object_kind", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("payload", JSON, nullable=False, comment="what is awaited, the ref, and how often it was tried"),
    UniqueConstraint("object_kind", "object_id", "cause"),
    Index("timers_due_idx", "due_at"),
    comment="Moments at which Stripe is to be read again; each becomes an internal event",
)

stripe_budget = Table(
    "stripe_budget",
    metadata,
    Column("id", Boolean, primary_key=True, server_default=text("true")),
    Column("next_at", INSTANT, nullable=False, server_default=LONG_AGO, comment="first free slot"),
    Column("slow_until", INSTANT, nullable=False, server_default=LONG_AGO, comment="half rate after a 429"),
    CheckConstraint("id", name="one_row"),
    comment="The read budget for Stripe, shared by every process",
)


reconciliation_watermark = Table(
    "reconciliation_watermark",
    metadata,
    Column("id", Boolean, primary_key=True, server_default=text("true"), comment="always true: one row"),
    Column("read_until", INSTANT, comment="Stripe's events made before it are all here; null: never asked"),
    Column("looked_at", INSTANT, comment="when somebody last took a turn at Stripe's list of events"),
    CheckConstraint("id", name="one_row"),
    comment="How far Stripe's own list of events was compared with the inbox",
)

reconciliation_runs = Table(
    "reconciliation_runs",
    metadata,
    Column("run_id", Text, primary_key=True, comment="run_…"),
    Column("project", Text, ForeignKey("projects.project"), comment="null: the whole deployment"),
    Column("user_key", BigInteger, comment="null: every user of the project"),
    Column("is_check", Boolean, nullable=False, comment="names drifts and repairs none"),
    Column("is_full", Boolean, nullable=False, comment="reads finished objects of any age, too"),
    Column("state", Text, nullable=False, server_default="running"),
    Column("stage", Text, nullable=False, comment="the part of the pass that is next"),
    Column("cursor", Text, comment="where that part goes on; null: at its beginning"),
    Column("counts", JSON, nullable=False, server_default="{}", comment="domain.rules.drift.Counts"),
    Column("actor", Text, nullable=False, comment="name of the key, cli:…, or scheduler"),
    Column("error", Text, comment="why it failed"),
    Column("started_at", INSTANT, nullable=False, server_default=NOW),
    Column("ended_at", INSTANT),
    Column("lease_token", Text, comment="who may move it; null: nobody is at it"),
    Column("lease_until", INSTANT),
    _one_of("state", "running", "done", "failed", "abandoned"),
    CheckConstraint("(state = 'running') = (ended_at IS NULL)", name="ended_or_running"),
    CheckConstraint("(lease_token IS NULL) = (lease_until IS NULL)", name="lease_whole"),
    CheckConstraint("lease_token IS NULL OR state = 'running'", name="lease_of_running"),
    CheckConstraint("user_key IS NULL OR project IS NOT NULL", name="user_has_project"),
    Index("reconciliation_runs_one", "state", unique=True, postgresql_where=text("state = 'running'")),
    Index("reconciliation_runs_started_idx", "started_at", "run_id"),
    comment="Passes that compare Stripe, mirror, answers and cache; one at a time",
)

reconciliation_seen = Table(
    "reconciliation_seen",
    metadata,
    Column(
        "run_id",
        Text,
        ForeignKey("reconciliation_runs.run_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("object_kind", Text, primary_key=True),
    Column("object_id", Text, primary_key=True),
    comment="Objects of ours that a running pass has found in Stripe's lists; emptied at its end",
)

drifts = Table(
    "drifts",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("run_id", Text, ForeignKey("reconciliation_runs.run_id", ondelete="CASCADE"), nullable=False),
    Column("type", Text, nullable=False, comment="a name in domain.rules.drift.KINDS"),
    Column("severity", Text, nullable=False),
    Column("project", Text, ForeignKey("projects.project"), comment="null: of no project that is known"),
    Column("user_key", BigInteger, comment="null: of nobody known"),
    Column("object_kind", Text, nullable=False),
    Column("object_id", Text, nullable=False, comment="Stripe's, or app of a user"),
    Column("stripe_customer_id", Text),
    Column("found", Text, nullable=False, comment="what differs; no personal data"),
    Column("next", Text, comment="the operator's command; null: it heals by itself"),
    Column("state", Text, nullable=False, server_default="suspected"),
    Column("repair", Text, comment="th_… that has it read again, or recomputed; null: nothing was done"),
    Column("seen_at", INSTANT, nullable=False, server_default=NOW),
    Column("confirmed_at", INSTANT),
    UniqueConstraint("run_id", "type", "object_kind", "object_id"),
    _one_of("severity", "critical", "warning"),
    _one_of("state", "suspected", "confirmed"),
    CheckConstraint("(state = 'confirmed') = (confirmed_at IS NOT NULL)", name="confirmed_when"),
    comment="Differences that a pass has named; one that was gone at a second look is deleted",
)

imports = Table(
    "imports",
    metadata,
    Column("import_id", Text, primary_key=True, comment="imp_…"),
    Column("project", Text, ForeignKey("projects.project"), nullable=False),
    Column("mapping", Text, nullable=False, comment="sha256 of the map, or metadata.KEY: told again"),
    Column("state", Text, nullable=False, server_default="running"),
    Column("stage", Text, nullable=False, comment="the list of Stripe's that is next"),
    Column("cursor", Text, comment="last id taken of it; null: at its beginning"),
    Column("counts", JSON, nullable=False, server_default="{}", comment="domain.store.imports.ImportCounts"),
    Column("actor", Text, nullable=False, comment="cli:…"),
    Column("error", Text, comment="why it failed"),
    Column("started_at", INSTANT, nullable=False, server_default=NOW),
    Column("ended_at", INSTANT),
    Column("lease_token", Text, comment="who may move it; null: nobody is at it"),
    Column("lease_until", INSTANT),
    _one_of("state", "running", "done", "failed", "abandoned"),
    CheckConstraint("(state = 'running') = (ended_at IS NULL)", name="ended_or_running"),
    CheckConstraint("(lease_token IS NULL) = (lease_until IS NULL)", name="lease_whole"),
    CheckConstraint("lease_token IS NULL OR state = 'running'", name="lease_of_running"),
    Index("imports_one", "project", unique=True, postgresql_where=text("state = 'running'")),
    comment="Backfills of an existing Stripe account; one at a time per project",
)

import_customers = Table(
    "import_customers",
    metadata,
    Column("import_id", Text, ForeignKey("imports.import_id", ondelete="CASCADE"), primary_key=True),
    Column("stripe_customer_id", Text, primary_key=True),
    Column("user_id", Text, comment="as the map says; null: nothing maps it"),
    Column("reason", Text, comment="why it is not linked; null: its turn is to come"),
    comment="Customers that wait for their turn, or got none; the linked ones are gone from here",
)


scheduler_leader = Table(
    "scheduler_leader",
    metadata,
    Column("id", Boolean, primary_key=True, server_default=text("true"), comment="always true: one row"),
    Column("name", Text, nullable=False, comment="host and process"),
    Column("backend_pid", Integer, nullable=False, comment="of the session that holds the lock"),
    Column("since", INSTANT, nullable=False, server_default=NOW),
    CheckConstraint("id", name="one_row"),
    comment="The scheduler that last took the lead; it leads while its session holds the advisory lock",
)

scheduler_jobs = Table(
    "scheduler_jobs",
    metadata,
    Column("job", Text, primary_key=True, comment="a name in domain.rules.jobs"),
    Column("ran_at", INSTANT, comment="end of the newest turn that was noted; null: never"),
    Column("ran_by", Text, comment="host and process of that turn"),
    Column("duration_s", DOUBLE_PRECISION),
    Column("done", BigInteger, comment="what the job counts"),
    Column("error", Text, comment="of that turn; null: it went well"),
    Column("failures", Integer, nullable=False, server_default="0", comment="turns in a row"),
    Column("succeeded_at", INSTANT, comment="end of the newest turn that went well"),
    Column("paused_at", INSTANT, comment="null: it runs"),
    Column("paused_by", Text),
    Column("pause_reason", Text),
    Column("asked_at", INSTANT, comment="an operator wants a turn now; null: nobody does"),
    Column("asked_by", Text),
    CheckConstraint(
        "(paused_at IS NULL) = (paused_by IS NULL) AND (paused_at IS NULL) = (pause_reason IS NULL)",
        name="pause_whole",
    ),
    CheckConstraint("(asked_at IS NULL) = (asked_by IS NULL)", name="asking_whole"),
    comment="Each job of the schedulers: its newest turn, and what operators want of it",
)

job_runs = Table(
    "job_runs",
    metadata,
    Column("run_id", UUID(as_uuid=True), primary_key=True),
    Column("job", Text, nullable=False),
    Column("ran_by", Text, nullable=False, comment="host and process"),
    Column("asked_by", Text, comment="the operator who wanted it; null: the clock"),
    Column("started_at", INSTANT, nullable=False),
    Column("ended_at", INSTANT, comment="null: under way"),
    Column("turns", Integer, nullable=False, comment="that ended alike within a minute, in one row"),
    Column(
        "duration_s",
        DOUBLE_PRECISION,
        nullable=False,
        comment="of all its turns together; under way: until it was last told of",
    ),
    Column("done", BigInteger, nullable=False, comment="by all its turns together"),
    Column("error", Text, comment="null: it went well"),
    Column("ended_by", Text, comment="the leader that found it left by another; null: who ran it ended it"),
    CheckConstraint("ended_at IS NOT NULL OR (error IS NULL AND ended_by IS NULL)", name="under_way"),
    Index("job_runs_job_idx", "job", "started_at", "run_id"),
    Index("job_runs_started_idx", "started_at", "run_id"),
    Index("job_runs_under_way_idx", "job", postgresql_where=text("ended_at IS NULL")),
    comment="Turns of jobs that did something, failed, were asked for or took seconds; others leave no row",
)

change_feed_floors = Table(
    "change_feed_floors",
    metadata,
    Column("project", Text, primary_key=True),
    Column("app", Text, primary_key=True),
    Column("position", BigInteger, nullable=False, comment="the highest of this app that was deleted"),
    ForeignKeyConstraint(["project"], ["projects.project"]),
    comment="Where the kept part of each app's change feed begins: after this position",
)


def _keep(name: str, table: Table, actions: str) -> None:
    """The database itself refuses these actions; alembic does not compare triggers, a test does."""
    statement = (
        f"CREATE TRIGGER {name} BEFORE {actions} ON {table.name}"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    event.listen(table, "after_create", DDL(statement))  # type: ignore[no-untyped-call]


event.listen(
    metadata,
    "before_create",
    DDL(  # type: ignore[no-untyped-call]
        """
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'rows of %% are only added', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
        END $$
        """
    ),
)
event.listen(
    metadata,
    "before_create",
    DDL(  # type: ignore[no-untyped-call]
        """
        CREATE FUNCTION refuse_change_but_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.reason = '(erased)' AND to_jsonb(NEW) - 'reason' = to_jsonb(OLD) - 'reason'
               AND EXISTS (SELECT FROM users WHERE user_key = OLD.user_key AND erased_at IS NOT NULL) THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'rows of %% are only added', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
        END $$
        """
    ),
)
_keep("audit_log_is_kept", audit_log, "DELETE OR TRUNCATE")
event.listen(
    audit_log,
    "after_create",
    DDL(  # type: ignore[no-untyped-call]
        "CREATE TRIGGER audit_log_is_as_written BEFORE UPDATE ON audit_log"
        " FOR EACH ROW EXECUTE FUNCTION refuse_change_but_erasure()"
    ),
)
_keep("grants_are_kept", grants, "DELETE OR TRUNCATE")
