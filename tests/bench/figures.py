"""How long money figures take over many subscriptions, on an embedded server with fsync.

Three months of payments of every subscription; one in ten of the users changes in each month of a year.
Run: python -m tests.bench.figures [subscriptions]
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from functools import partial

from domain.context import Context
from domain.flows.figures import FiguresWish
from domain.flows.measure_revenue import list_revenue_entries, measure_revenue
from domain.flows.measure_subscriptions import measure_subscriptions
from tests.bench.catalog import deployment
from tests.flows.catalog_seeds import apply

SUBSCRIPTIONS = 100_000
ROUNDS = 15
MONTH = FiguresWish(since=date(2026, 10, 1), until=date(2026, 11, 1))
QUARTER = FiguresWish(since=date(2026, 8, 1), until=date(2026, 11, 1))
DAYS = FiguresWish(since=date(2026, 10, 1), until=date(2026, 11, 1), interval="day")


async def measure(count: int) -> None:
    async with deployment() as context:
        await apply(context)
        await seed(context, count)
        for name, wish in (("a month", MONTH), ("a month by day", DAYS), ("a quarter", QUARTER)):
            await timed(f"subscriptions, {name}", partial(measure_subscriptions, context, "acme", wish))
            await timed(f"revenue, {name}", partial(measure_revenue, context, "acme", wish))
        await timed("entries, a page", partial(list_revenue_entries, context, "acme", MONTH))


async def seed(context: Context, count: int) -> None:
    """Users of two apps each: the sums of a subscription, and its payments of August to October."""
    async with context.database.transaction() as connection:
        for statement in SEEDS:
            await connection.execute(statement, count, timeout=600)
    async with context.database.connection() as connection:
        for table in ("recurring_sums", "revenue_entries", "users"):
            await connection.execute(f"VACUUM ANALYZE {table}", timeout=600)
        sums, entries = [
            await connection.fetchval(f"SELECT count(*) FROM {table}")
            for table in ("recurring_sums", "revenue_entries")
        ]
    print(f"{count} subscriptions, {sums} rows of sums, {entries} entries, {datetime.now(UTC):%Y-%m-%d}")  # noqa: T201


SEEDS = (
    """
    INSERT INTO users (project, user_id) SELECT 'acme', 'u_' || n FROM generate_series(1, $1::int) n
    """,
    # One in ten changes every month, a quarter of these by leaving and coming back and a quarter by a trial;
    # one in fifty is new in the ninth month; the others have held since the beginning.
    """
    INSERT INTO recurring_sums
        (project, user_key, currency, plan, app, standing, monthly, divisor, subscriptions, is_counted,
         is_import, begins_at, ends_at)
    SELECT 'acme', u.user_key, 'usd', 'pro', a.app,
           CASE WHEN u.user_key % 40 = 10 AND (u.user_key / 40 + m.number) % 2 = 0 THEN 'trial'
                ELSE 'paying' END,
           a.part * (1 + m.number), 12, 1,
           a.app = 'editor', false,
           '2026-01-15'::timestamptz
               + make_interval(months => CASE WHEN u.user_key % 50 = 1 THEN 9 ELSE m.number END),
           CASE WHEN u.user_key % 10 = 0 AND m.number < 11
                THEN '2026-01-15'::timestamptz + make_interval(months => m.number + 1) END
    FROM (SELECT user_key FROM users ORDER BY user_key LIMIT $1) u
    CROSS JOIN (VALUES ('editor', 15960), ('viewer', 6840)) a(app, part)
    JOIN generate_series(0, 11) m(number)
        ON CASE WHEN u.user_key % 40 = 0 THEN (u.user_key / 40 + m.number) % 2 = 0
                ELSE m.number = 0 OR u.user_key % 10 = 0 END
    """,
    """
    INSERT INTO revenue_entries
        (object_id, kind, app, project, user_key, charge_id, happened_at, currency, amount_minor, tax_minor)
    SELECT 'ch_' || u.user_key || '_' || m.number, 'payment', a.app, 'acme', u.user_key,
           'ch_' || u.user_key || '_' || m.number,
           '2026-01-01'::timestamptz
               + make_interval(months => m.number + 7, mins => (u.user_key % 40000)::int),
           'usd', a.part, a.part * 19 / 119
    FROM (SELECT user_key FROM users ORDER BY user_key LIMIT $1) u
    CROSS JOIN (VALUES ('editor', 1330), ('viewer', 570)) a(app, part)
    CROSS JOIN generate_series(0, 2) m(number)
    """,
)


async def timed(what: str, work: Callable[[], Awaitable[object]]) -> None:
    spent = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        await work()
        spent.append((time.perf_counter() - begun) * 1000)
    print(f"{what}: median {statistics.median(spent):.0f} ms, {min(spent):.0f} to {max(spent):.0f}")  # noqa: T201


def main() -> None:
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else SUBSCRIPTIONS))


if __name__ == "__main__":
    main()
