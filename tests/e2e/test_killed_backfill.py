"""An import that is killed -9 twice goes on where it was, and ends as if it never had been.

`BACKFILL_CUSTOMERS=40000 BACKFILL_RATE=20` is the long version; it prints what it measured.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.local.stripe_simulator.testing import SimulatorHandle, running_simulator
from domain.context import Context
from domain.flows.publish_catalog import publish_locally, read_catalog
from domain.settings import Settings
from tests.flows.event_path import CATALOG
from tests.ingress.forked import Running, forked

CUSTOMERS = int(os.environ.get("BACKFILL_CUSTOMERS", "200"))
RATE = os.environ.get("BACKFILL_RATE", "0")
MONTH, ONCE = "price_acme.pro.month", "price_acme.pass.once"


@pytest.mark.timeout(7200)
async def test_a_backfill_killed_twice_ends_with_every_customer_linked_once_and_answered(
    context: Context, settings: Settings, tmp_path: Path
) -> None:
    async with running_simulator() as stripe:
        users = await populate(context, stripe)
        given = tmp_path / "users.csv"
        lines = [f"{customer},{user}" for customer, user in users.items()]
        given.write_text("\n".join(["stripe_customer_id,user_id", *lines]))
        words = ("backfill", "--project", "acme", "--map", str(given), "--json")
        environ = environ_of(settings, stripe)
        began = time.monotonic()
        await killed_when(context, words, environ, is_linking)
        await killed_when(context, words, environ, is_taking_subscriptions)
        done, took_s = await finished(words, environ), time.monotonic() - began
        stats = await stripe.stats()
    print(measured(done, stats, took_s))  # noqa: T201 - what the long version is run for
    assert (done["state"], done["counts"]["linked"]) == ("done", CUSTOMERS)
    await check_links(context, users)
    await check_answers(context)


def measured(done: dict[str, Any], stats: dict[str, Any], took_s: float) -> str:
    return (
        f"{CUSTOMERS} customers, killed twice, {RATE} reads/s (0: no limit): {took_s:.0f} s; "
        f"busiest second {stats['busiest_second']} reads; {stats['calls']}; {done['counts']}"
    )


async def populate(context: Context, stripe: SimulatorHandle) -> dict[str, str]:
    """The sample catalog, and an account that was there before; answers customer → user."""
    published = await publish_locally(context, read_catalog(CATALOG.read_text(), file="catalog.toml"))
    await stripe.seed(products=published.stripe["products"], prices=published.stripe["prices"])
    users: dict[str, str] = {}
    for first in range(0, CUSTOMERS, 500):
        made = await stripe.post(
            "populate",
            customers=min(500, CUSTOMERS - first),
            first=first,
            total=CUSTOMERS,
            price=MONTH,
            one_time_price=ONCE,
        )
        users |= {one["customer"]: one["user"] for one in made["data"]}
    return users


def environ_of(settings: Settings, stripe: SimulatorHandle) -> dict[str, str]:
    ours = {
        "ENV": "test",
        "DATABASE_URL": settings.database_url.reveal(),
        "REDIS_URL": settings.redis_url.reveal(),
        "CACHE_URL": settings.cache_url.reveal(),
        "STRIPE_SECRET_KEY": stripe.secret_key,
        "STRIPE_API_BASE": stripe.url,
        "STRIPE_RATE": RATE,
        # Whoever goes on after a kill waits for the dead one's lease.
        "LEASE_S": "1.5",
        "FETCH_TIMEOUT_S": "1",
    }
    return {**os.environ, **{f"TOLLHOUSE_{name}": value for name, value in ours.items()}}


async def killed_when(
    context: Context,
    words: tuple[str, ...],
    environ: dict[str, str],
    is_time: Callable[[Context], Awaitable[bool]],
) -> None:
    def run(started: "asyncio.Future[Running]", loop: asyncio.AbstractEventLoop) -> int:
        with forked(words, environ) as (running, wait):
            loop.call_soon_threadsafe(started.set_result, running)
            return wait()

    loop = asyncio.get_running_loop()
    started: asyncio.Future[Running] = loop.create_future()
    ended = asyncio.ensure_future(asyncio.to_thread(run, started, loop))
    running = await started
    while not await is_time(context):
        assert not ended.done(), "it ended before anybody could kill it"
        await asyncio.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    assert await ended == -signal.SIGKILL


async def is_linking(context: Context) -> bool:
    return await ask(context, "SELECT count(*) >= $1 FROM stripe_customers", CUSTOMERS // 3)


async def is_taking_subscriptions(context: Context) -> bool:
    return await ask(context, "SELECT count(*) >= $1 FROM subscriptions", CUSTOMERS // 3)


async def finished(words: tuple[str, ...], environ: dict[str, str]) -> dict[str, Any]:
    def run() -> dict[str, Any]:
        with forked(words, environ) as (running, wait):
            assert wait() == 0, running.err.read_text()
            done: dict[str, Any] = msgspec.json.decode(running.out.read_text())
            return done

    return await asyncio.to_thread(run)


async def check_links(context: Context, users: dict[str, str]) -> None:
    """Each once, for the user the map says, with one row of the audit log."""
    async with context.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT stripe_customer_id, user_id, is_primary FROM stripe_customers JOIN users USING (user_key)"
        )
        audited = await connection.fetchval("SELECT count(*) FROM audit_log WHERE action = 'customer.import'")
    assert {row["stripe_customer_id"]: row["user_id"] for row in rows} == users
    assert (len(rows), audited) == (CUSTOMERS, CUSTOMERS)
    assert all(row["is_primary"] for row in rows)


async def check_answers(context: Context) -> None:
    """By what each number did (`population.py`): its place in both plans, and nothing is owed."""
    assert await ask(context, "SELECT count(*) = 0 FROM sync_targets WHERE dirty_seq > synced_seq")
    async with context.database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT u.user_id, e.timeline -> 0 -> 'entitlements' -> 'export' ->> 'granted' AS granted
            FROM users u LEFT JOIN entitlements e ON e.user_key = u.user_key AND e.app = 'editor'
            """
        )
    said = {int(row["user_id"].removeprefix("u_")): row["granted"] == "true" for row in rows}
    assert len(said) == CUSTOMERS
    expected = {number: is_granted(number) for number in said}
    wrong = {number for number, granted in said.items() if expected[number] not in {None, granted}}
    assert wrong == set()
    assert list(expected.values()).count(None) <= 1 + CUSTOMERS // 1000


def is_granted(number: int) -> bool | None:
    """None: its grace ends at about this time."""
    if number % 20 == 7:
        return False
    days_ago = 25 - 25 * number / (CUSTOMERS + 1)
    if number % 25 != 3 or days_ago < 6.8:
        return True
    return False if days_ago > 7 else None


async def ask(context: Context, question: str, *values: object) -> bool:
    async with context.database.connection() as connection:
        return bool(await connection.fetchval(question, *values))
