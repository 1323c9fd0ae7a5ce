"""first schema"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A migration that cannot get its lock quickly gives up, instead of queueing every reader behind it.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "deployment",
        sa.Column(
            "id", sa.Boolean(), server_default=sa.text("true"), nullable=False, comment="always true: one row"
        ),
        sa.Column(
            "account_id", sa.Text(), nullable=False, comment="acct_…, answered by Stripe to the first key"
        ),
        sa.Column("mode", sa.Text(), nullable=False, comment="live or test, from the key's prefix"),
        sa.Column("env", sa.Text(), nullable=False, comment="TOLLHOUSE_ENV of the process that fixed it"),
        sa.Column(
            "fixed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("mode IN ('live', 'test')", name=op.f("deployment_mode_known_check")),
        sa.CheckConstraint("id", name=op.f("deployment_one_row_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("deployment_pkey")),
        comment="The one Stripe account and mode this database belongs to",
    )
    op.create_table(
        "projects",
        sa.Column("project", sa.Text(), nullable=False, comment="slug, from the catalog file"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("catalog_version", sa.BigInteger(), nullable=False, comment="head: the version in force"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("project", name=op.f("projects_pkey")),
        comment="Product lines; each owns its users, catalog and money",
    )
    op.create_table(
        "stripe_budget",
        sa.Column("id", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column(
            "next_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("'-infinity'"),
            nullable=False,
            comment="first free slot",
        ),
        sa.Column(
            "slow_until",
            sa.DateTime(timezone=True),
            server_default=sa.text("'-infinity'"),
            nullable=False,
            comment="half rate after a 429",
        ),
        sa.CheckConstraint("id", name=op.f("stripe_budget_one_row_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("stripe_budget_pkey")),
        comment="The read budget for Stripe, shared by every process",
    )
    op.create_table(
        "sync_targets",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("stripe_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), server_default="unknown", nullable=False),
        sa.Column(
            "dirty_seq", sa.BigInteger(), server_default="0", nullable=False, comment="rises with every hint"
        ),
        sa.Column(
            "synced_seq",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="dirty_seq as last settled",
        ),
        sa.Column("state", sa.Text(), server_default="active", nullable=False),
        sa.Column("lease_token", sa.Text(), nullable=True, comment="who may commit"),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "claims", sa.Integer(), server_default="0", nullable=False, comment="since the last outcome"
        ),
        sa.Column(
            "attempts",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="failures of any kind in a row",
        ),
        sa.Column(
            "failures", sa.Integer(), server_default="0", nullable=False, comment="Broken in a row; 8 is dead"
        ),
        sa.Column(
            "due_at", sa.DateTime(timezone=True), server_default=sa.text("'-infinity'"), nullable=False
        ),
        sa.Column(
            "rung_at", sa.DateTime(timezone=True), server_default=sa.text("'-infinity'"), nullable=False
        ),
        sa.Column(
            "rings",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="by the sweeper since the last claim",
        ),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "owner IN ('unknown', 'ours', 'foreign')", name=op.f("sync_targets_owner_known_check")
        ),
        sa.CheckConstraint("state IN ('active', 'dead')", name=op.f("sync_targets_state_known_check")),
        sa.CheckConstraint(
            "(lease_token IS NULL) = (lease_until IS NULL)", name=op.f("sync_targets_lease_whole_check")
        ),
        sa.CheckConstraint("synced_seq <= dirty_seq", name=op.f("sync_targets_settled_at_most_dirty_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("sync_targets_pkey")),
        sa.UniqueConstraint("kind", "stripe_id", name=op.f("sync_targets_kind_stripe_id_key")),
        comment="What is owed a sync, and who is on it",
    )
    op.create_index(
        "sync_targets_owed_idx",
        "sync_targets",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("dirty_seq > synced_seq AND state = 'active'"),
    )
    op.create_table(
        "timers",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("target_kind", sa.Text(), nullable=False),
        sa.Column("target_ref", sa.Text(), nullable=False),
        sa.Column("object_kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column(
            "payload",
            postgresql.JSON(astext_type=sa.Text()),
            nullable=False,
            comment="what is awaited, the ref, and how often it was tried",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("timers_pkey")),
        sa.UniqueConstraint(
            "object_kind", "object_id", "cause", name=op.f("timers_object_kind_object_id_cause_key")
        ),
        comment="Moments at which Stripe is to be read again; each becomes an internal event",
    )
    op.create_index("timers_due_idx", "timers", ["due_at"], unique=False)
    op.create_table(
        "webhook_events",
        sa.Column("event_id", sa.Text(), nullable=False, comment="evt_… of Stripe, th_… of our own"),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("object_kind", sa.Text(), nullable=True, comment="what a worker reads"),
        sa.Column("object_id", sa.Text(), nullable=True),
        sa.Column(
            "target_kind",
            sa.Text(),
            nullable=True,
            comment="customer, or the object while its customer is not known",
        ),
        sa.Column("target_ref", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "retry_at", sa.DateTime(timezone=True), server_default=sa.text("'-infinity'"), nullable=False
        ),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Stripe's, whole seconds: never an order",
        ),
        sa.Column("api_version", sa.Text(), nullable=True),
        sa.Column(
            "request_id",
            sa.Text(),
            nullable=True,
            comment="of the delivery, follows the event into the worker's log",
        ),
        sa.Column(
            "payload",
            sa.LargeBinary(),
            nullable=True,
            comment="zlib of the body; null: expired by retention, or internal",
        ),
        sa.Column(
            "payload_sha256", sa.LargeBinary(), nullable=True, comment="of the body; stays after retention"
        ),
        sa.CheckConstraint(
            "(state = 'pending') = (done_at IS NULL)", name=op.f("webhook_events_done_or_pending_check")
        ),
        sa.CheckConstraint(
            "source IN ('stripe', 'poll', 'sync', 'claim', 'timer', 'reconcile', 'adopt', 'link', 'import', 'operator')",
            name=op.f("webhook_events_source_known_check"),
        ),
        sa.CheckConstraint(
            "state <> 'ignored' OR target_ref IS NULL",
            name=op.f("webhook_events_ignored_has_no_target_check"),
        ),
        sa.CheckConstraint(
            "state IN ('ignored', 'foreign') OR (target_ref IS NOT NULL AND object_id IS NOT NULL)",
            name=op.f("webhook_events_work_has_target_check"),
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'processed') OR reason IS NOT NULL",
            name=op.f("webhook_events_reason_said_check"),
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'processed', 'ignored', 'foreign', 'failed')",
            name=op.f("webhook_events_state_known_check"),
        ),
        sa.CheckConstraint(
            "(object_kind IS NULL) = (object_id IS NULL)", name=op.f("webhook_events_object_whole_check")
        ),
        sa.CheckConstraint(
            "(target_kind IS NULL) = (target_ref IS NULL)", name=op.f("webhook_events_target_whole_check")
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("webhook_events_pkey")),
        comment="The inbox: hints that an object may have changed",
    )
    op.create_index(
        "webhook_events_foreign_idx",
        "webhook_events",
        ["target_kind", "target_ref"],
        unique=False,
        postgresql_where=sa.text("state = 'foreign' AND target_ref IS NOT NULL"),
    )
    op.create_index(
        "webhook_events_pending_idx",
        "webhook_events",
        ["target_kind", "target_ref"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "webhook_events_received_idx", "webhook_events", ["received_at", "event_id"], unique=False
    )
    op.create_table(
        "apps",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False, comment="slug, from the catalog file"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "removed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="set when the catalog head no longer lists it",
        ),
        sa.ForeignKeyConstraint(["project"], ["projects.project"], name=op.f("apps_project_fkey")),
        sa.PrimaryKeyConstraint("project", "app", name=op.f("apps_pkey")),
        comment="Micro-apps of a project",
    )
    op.create_table(
        "catalogs",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="1, 2, … per project"),
        sa.Column(
            "body",
            postgresql.JSON(astext_type=sa.Text()),
            nullable=False,
            comment="domain.rules.catalog.Catalog, canonical JSON",
        ),
        sa.Column(
            "sha256", sa.LargeBinary(), nullable=False, comment="of body: an equal one makes no new version"
        ),
        sa.Column(
            "applied_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("version > 0", name=op.f("catalogs_version_positive_check")),
        sa.ForeignKeyConstraint(
            ["project"],
            ["projects.project"],
            name=op.f("catalogs_project_fkey"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("project", "version", name=op.f("catalogs_pkey")),
        comment="Immutable versions of the catalog",
    )
    op.create_table(
        "prices",
        sa.Column("price_id", sa.Text(), nullable=False, comment="price_…, Stripe's"),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False, comment="catalog key"),
        sa.Column("price", sa.Text(), nullable=False, comment="catalog key: month, year, once"),
        sa.Column("revision", sa.Integer(), nullable=False, comment="1, 2, …: one per change of amount"),
        sa.Column("is_head", sa.Boolean(), nullable=False, comment="the revision that new checkouts sell"),
        sa.Column(
            "currencies",
            postgresql.ARRAY(sa.Text()),
            nullable=False,
            comment="ISO codes, lower case; the first is its own",
        ),
        sa.CheckConstraint("revision > 0", name=op.f("prices_revision_positive_check")),
        sa.ForeignKeyConstraint(["project"], ["projects.project"], name=op.f("prices_project_fkey")),
        sa.PrimaryKeyConstraint("price_id", name=op.f("prices_pkey")),
        sa.UniqueConstraint(
            "project", "plan", "price", "revision", name=op.f("prices_project_plan_price_revision_key")
        ),
        comment="Which Stripe price is which revision of which price of the catalog",
    )
    op.create_index(
        "prices_head_key",
        "prices",
        ["project", "plan", "price"],
        unique=True,
        postgresql_where=sa.text("is_head"),
    )
    op.create_table(
        "users",
        sa.Column("user_key", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False, comment="the project's own id, opaque"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "catalog_version",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="of its last recompute",
        ),
        sa.Column(
            "next_boundary_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when a stored answer next changes by itself",
        ),
        sa.Column(
            "clock_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="frozen time of the customer's Stripe test clock; null: real time",
        ),
        sa.CheckConstraint("char_length(user_id) BETWEEN 1 AND 255", name=op.f("users_user_id_length_check")),
        sa.ForeignKeyConstraint(["project"], ["projects.project"], name=op.f("users_project_fkey")),
        sa.PrimaryKeyConstraint("user_key", name=op.f("users_pkey")),
        sa.UniqueConstraint("project", "user_id", name=op.f("users_project_user_id_key")),
        sa.UniqueConstraint("user_key", "project", name=op.f("users_user_key_project_key")),
        comment="Persons, teams or accounts, as their project names them",
    )
    op.create_index("users_behind_idx", "users", ["project", "catalog_version"], unique=False)
    op.create_index(
        "users_boundary_idx",
        "users",
        ["next_boundary_at"],
        unique=False,
        postgresql_where=sa.text("next_boundary_at IS NOT NULL"),
    )
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.Text(), nullable=False, comment="base62, the public part of the key"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=True, comment="null: operator of every project"),
        sa.Column("app", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False, comment="shown as actor"),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("secret_hmac", sa.LargeBinary(), nullable=False, comment="HMAC-SHA256(pepper, secret)"),
        sa.Column("pepper_version", sa.Integer(), nullable=False, comment="which of TOLLHOUSE_KEY_PEPPERS"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(kind = 'app' AND project IS NOT NULL AND app IS NOT NULL) OR (kind = 'project' AND project IS NOT NULL AND app IS NULL) OR (kind = 'operator' AND app IS NULL)",
            name=op.f("api_keys_kind_names_check"),
        ),
        sa.CheckConstraint("kind IN ('app', 'project', 'operator')", name=op.f("api_keys_kind_known_check")),
        sa.CheckConstraint("octet_length(secret_hmac) = 32", name=op.f("api_keys_secret_hmac_length_check")),
        sa.ForeignKeyConstraint(
            ["project", "app"], ["apps.project", "apps.app"], name=op.f("api_keys_project_app_fkey")
        ),
        sa.ForeignKeyConstraint(["project"], ["projects.project"], name=op.f("api_keys_project_fkey")),
        sa.PrimaryKeyConstraint("key_id", name=op.f("api_keys_pkey")),
        comment="API keys; the secret itself is nowhere",
    )
    op.create_table(
        "checkout_sessions",
        sa.Column("ref", sa.UUID(), nullable=False, comment="ours; the session's client_reference_id"),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column(
            "stripe_session_id", sa.Text(), nullable=True, comment="cs_…; null until Stripe has answered"
        ),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column(
            "status", sa.Text(), nullable=False, comment="creating, then Stripe's: open, complete, expired"
        ),
        sa.Column(
            "payment_status", sa.Text(), nullable=True, comment="Stripe's: paid, unpaid, no_payment_required"
        ),
        sa.Column(
            "items",
            postgresql.JSON(astext_type=sa.Text()),
            nullable=False,
            comment="[{plan, price, quantity}] as asked",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True, comment="Stripe's"),
        sa.CheckConstraint(
            "mode IN ('subscription', 'payment')", name=op.f("checkout_sessions_mode_known_check")
        ),
        sa.ForeignKeyConstraint(
            ["project", "app"], ["apps.project", "apps.app"], name=op.f("checkout_sessions_project_app_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["user_key", "project"],
            ["users.user_key", "users.project"],
            name=op.f("checkout_sessions_user_key_project_fkey"),
        ),
        sa.PrimaryKeyConstraint("ref", name=op.f("checkout_sessions_pkey")),
        sa.UniqueConstraint("stripe_session_id", name=op.f("checkout_sessions_stripe_session_id_key")),
        comment="Checkouts that apps asked for",
    )
    op.create_index("checkout_sessions_user_idx", "checkout_sessions", ["user_key"], unique=False)
    op.create_table(
        "entitlement_history",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column(
            "begins_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="business time from which it was answered",
        ),
        sa.Column(
            "ends_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="known then as its end; null: none was known",
        ),
        sa.Column("cause", sa.Text(), nullable=False, comment="event type, boundary, catalog, …"),
        sa.Column("catalog_version", sa.BigInteger(), nullable=False),
        sa.Column(
            "facts",
            postgresql.JSON(astext_type=sa.Text()),
            nullable=False,
            comment="domain.model.Facts it was computed from",
        ),
        sa.Column(
            "body",
            postgresql.JSON(astext_type=sa.Text()),
            nullable=False,
            comment="the entitlements, byte for byte",
        ),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["user_key", "project"],
            ["users.user_key", "users.project"],
            name=op.f("entitlement_history_user_key_project_fkey"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("entitlement_history_pkey")),
        sa.UniqueConstraint(
            "user_key", "app", "version", name=op.f("entitlement_history_user_key_app_version_key")
        ),
        comment="What was answered, and from what; rows are only added",
    )
    op.create_table(
        "entitlements",
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column(
            "first_version",
            sa.BigInteger(),
            nullable=False,
            comment="of segment 0; segment i has first_version + i",
        ),
        sa.Column(
            "last_version", sa.BigInteger(), nullable=False, comment="highest number ever given; never falls"
        ),
        sa.Column(
            "catalog_version", sa.BigInteger(), nullable=False, comment="it was computed under; never falls"
        ),
        sa.Column(
            "computed_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="business time of the recompute",
        ),
        sa.Column(
            "timeline",
            postgresql.JSON(astext_type=sa.Text()),
            nullable=False,
            comment="[{begins_at, ends_at, entitlements}], byte for byte",
        ),
        sa.CheckConstraint(
            "first_version > 0 AND last_version >= first_version", name=op.f("entitlements_versions_check")
        ),
        sa.ForeignKeyConstraint(
            ["project", "app"], ["apps.project", "apps.app"], name=op.f("entitlements_project_app_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["user_key", "project"],
            ["users.user_key", "users.project"],
            name=op.f("entitlements_user_key_project_fkey"),
        ),
        sa.PrimaryKeyConstraint("user_key", "app", name=op.f("entitlements_pkey")),
        comment="Stored answers: one timeline per user and app",
    )
    op.create_table(
        "purchases",
        sa.Column("purchase_id", sa.Text(), nullable=False, comment="{object_id}/{line id}"),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("stripe_customer_id", sa.Text(), nullable=False),
        sa.Column("object_kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False, comment="cs_… or in_…"),
        sa.Column("price_id", sa.Text(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column(
            "paid_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="creation of the charge, else of the session; kept",
        ),
        sa.Column(
            "captured_minor", sa.BigInteger(), nullable=False, comment="captured of its payment, minor units"
        ),
        sa.Column("currency", sa.Text(), nullable=False, comment="ISO, lower case"),
        sa.Column(
            "read_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "object_kind IN ('checkout.session', 'invoice')", name=op.f("purchases_object_kind_known_check")
        ),
        sa.CheckConstraint("captured_minor >= 0 AND quantity >= 0", name=op.f("purchases_amounts_check")),
        sa.ForeignKeyConstraint(
            ["user_key", "project"],
            ["users.user_key", "users.project"],
            name=op.f("purchases_user_key_project_fkey"),
        ),
        sa.PrimaryKeyConstraint("purchase_id", name=op.f("purchases_pkey")),
        comment="Mirror of paid one-time lines as last read",
    )
    op.create_index("purchases_object_idx", "purchases", ["object_kind", "object_id"], unique=False)
    op.create_index("purchases_user_idx", "purchases", ["user_key"], unique=False)
    op.create_table(
        "stripe_customers",
        sa.Column("ref", sa.UUID(), nullable=False, comment="ours; customer.metadata.tollhouse_ref"),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column(
            "stripe_customer_id", sa.Text(), nullable=True, comment="cus_…; null until Stripe has answered"
        ),
        sa.Column("is_primary", sa.Boolean(), nullable=False, comment="used for new checkouts"),
        sa.Column(
            "generation",
            sa.Integer(),
            server_default="1",
            nullable=False,
            comment="part of the idempotency key",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "deleted_at", sa.DateTime(timezone=True), nullable=True, comment="when Stripe said deleted"
        ),
        sa.CheckConstraint(
            "NOT (is_primary AND deleted_at IS NOT NULL)",
            name=op.f("stripe_customers_deleted_not_primary_check"),
        ),
        sa.ForeignKeyConstraint(
            ["user_key", "project"],
            ["users.user_key", "users.project"],
            name=op.f("stripe_customers_user_key_project_fkey"),
        ),
        sa.PrimaryKeyConstraint("ref", name=op.f("stripe_customers_pkey")),
        sa.UniqueConstraint("stripe_customer_id", name=op.f("stripe_customers_stripe_customer_id_key")),
        comment="Which Stripe customer is which user: the only authority on it",
    )
    op.create_index(
        "stripe_customers_primary_key",
        "stripe_customers",
        ["user_key"],
        unique=True,
        postgresql_where=sa.text("is_primary"),
    )
    op.create_index("stripe_customers_user_idx", "stripe_customers", ["user_key"], unique=False)
    op.create_table(
        "subscriptions",
        sa.Column("stripe_subscription_id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("stripe_customer_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, comment="Stripe's, whatever it is"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="Stripe's"),
        sa.Column("trial_end", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_at_period_end", sa.Boolean(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pause_behavior", sa.Text(), nullable=True, comment="pause_collection.behavior"),
        sa.Column(
            "pause_resumes_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="pause_collection.resumes_at",
        ),
        sa.Column("pause_cause", sa.Text(), nullable=True, comment="status_details.paused.subscription.type"),
        sa.Column(
            "last_known_status",
            sa.Text(),
            nullable=True,
            comment="the last status we know; equal to status unless that is unknown",
        ),
        sa.Column(
            "unknown_since",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="first read of an unknown status",
        ),
        sa.Column(
            "read_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
            comment="when Stripe was last read",
        ),
        sa.ForeignKeyConstraint(
            ["user_key", "project"],
            ["users.user_key", "users.project"],
            name=op.f("subscriptions_user_key_project_fkey"),
        ),
        sa.PrimaryKeyConstraint("stripe_subscription_id", name=op.f("subscriptions_pkey")),
        comment="Mirror of Stripe subscriptions as last read",
    )
    op.create_index("subscriptions_user_idx", "subscriptions", ["user_key"], unique=False)
    op.create_table(
        "subscription_items",
        sa.Column("stripe_item_id", sa.Text(), nullable=False),
        sa.Column("stripe_subscription_id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("price_id", sa.Text(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=True, comment="null: metered"),
        sa.Column("period_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("period_end", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["stripe_subscription_id"],
            ["subscriptions.stripe_subscription_id"],
            name=op.f("subscription_items_stripe_subscription_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("stripe_item_id", name=op.f("subscription_items_pkey")),
        comment="Mirror of subscription items as last read",
    )
    op.create_index(
        "subscription_items_subscription_idx", "subscription_items", ["stripe_subscription_id"], unique=False
    )
    op.execute("INSERT INTO stripe_budget DEFAULT VALUES")


def downgrade() -> None:
    raise NotImplementedError("Tollhouse migrates forward only: restore a backup, or write a new migration.")
