"""Users with what they have bought, as rows of the mirror: many of them, without a Stripe that sells it."""

from datetime import UTC, datetime, timedelta

from domain.context import Context
from domain.flows.publish_catalog import Published, publish_locally, read_catalog
from domain.flows.recompute_due import Backlog

NOW = datetime.now(UTC).replace(microsecond=0)

CATALOG_TOML = """
[projects.acme]
[projects.acme.apps.editor]
[projects.acme.apps.viewer]
[projects.acme.features.export]
type = "boolean"
[projects.acme.features.seats]
type = "integer"
apps = ["editor"]
default = 1
[projects.acme.plans.pro]
grants = { export = true, seats = { value = 5, per_unit = true } }
[projects.acme.plans.pro.prices.month]
interval = "month"
amounts = { usd = 1900 }
[projects.acme.plans.team]
grants = { export = true, seats = 40 }
[projects.acme.plans.team.prices.month]
interval = "month"
amounts = { usd = 4900 }
"""


async def apply(context: Context, *changes: tuple[str, str], text: str = CATALOG_TOML) -> Published:
    """Publish the catalog with texts replaced; nobody is recomputed yet."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return await publish_locally(context, read_catalog(text, file="catalog.toml"))


async def seed_subscribers(
    context: Context, count: int, plan: str = "pro", *, created_at: datetime | None = None, prefix: str = "u"
) -> list[int]:
    """Keys of `count` new users, each with one active subscription that renews."""
    async with context.database.transaction() as connection:
        keys = await connection.fetch(
            "INSERT INTO users (project, user_id) SELECT 'acme', $2 || '_' || n"
            " FROM generate_series(1, $1) n RETURNING user_key",
            count,
            prefix,
        )
        await connection.execute(
            """
            INSERT INTO stripe_customers (ref, project, user_key, is_primary, stripe_customer_id)
            SELECT gen_random_uuid(), 'acme', key, true, 'cus_' || key FROM unnest($1::bigint[]) key
            """,
            [row["user_key"] for row in keys],
        )
        await connection.execute(
            """
            INSERT INTO subscriptions
                (stripe_subscription_id, project, user_key, stripe_customer_id, status, created_at,
                 cancel_at_period_end)
            SELECT 'sub_' || key, 'acme', key, 'cus_' || key, 'active', $2, false
            FROM unnest($1::bigint[]) key
            """,
            [row["user_key"] for row in keys],
            created_at or NOW - timedelta(days=40),
        )
        await connection.execute(
            """
            INSERT INTO subscription_items
                (stripe_item_id, stripe_subscription_id, project, price_id, product_id, quantity,
                 period_start, period_end)
            SELECT 'si_' || key, 'sub_' || key, 'acme', 'price_acme.' || $2 || '.month', 'acme_' || $2, 1,
                   $3, $4
            FROM unnest($1::bigint[]) key
            """,
            [row["user_key"] for row in keys],
            plan,
            NOW - timedelta(days=10),
            NOW + timedelta(days=20),
        )
    return [row["user_key"] for row in keys]


async def recompute_all(context: Context) -> int:
    total, backlog = 0, Backlog(context)
    while done := await backlog.work():
        total += done
    return total
