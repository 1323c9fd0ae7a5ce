"""The read budget: never more than its rate in any second, at once what nobody else wants."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta

import pytest

from domain.context import Context, open_context
from domain.errors import Throttled
from domain.flows.read_budget import (
    BEGUN_S,
    CLAIM_WAIT_S,
    KEPT_SHARE,
    LOOK_EVERY_S,
    SYNC_WAIT_S,
    background_budget,
    budget_of,
)
from domain.settings import Settings
from domain.store.deployment import reserve_slot, slow_down
from domain.stripe_gateway import Reserve
from tests.conftest import with_settings
from tests.flows.event_path import EventPath

RATE = 20.0


async def reserve(context: Context, max_wait_s: float = 5.0, rate: float = RATE) -> float | None:
    async with context.database.connection() as connection:
        return await reserve_slot(connection, rate=rate, max_wait_s=max_wait_s)


def busiest_second(slots: list[float]) -> int:
    ordered = sorted(slots)
    return max(sum(begin <= slot < begin + 1 for slot in ordered) for begin in ordered)


async def take(context: Context, number: int, *, at_once: int = 8) -> list[float]:
    """Seconds from now at which each of `number` reservations may call, taken by several at once."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    slots: list[float] = []

    async def worker() -> None:
        while len(slots) < number:
            wait_s = await reserve(context, max_wait_s=60)
            assert wait_s is not None
            slots.append(loop.time() - began + wait_s)

    await asyncio.gather(*(worker() for _ in range(at_once)))
    return slots


async def test_no_second_holds_more_calls_than_the_rate_and_one(context: Context) -> None:
    slots = await take(context, 80)
    assert busiest_second(slots) <= RATE + 1
    assert max(slots) > 80 / RATE - 1


async def test_after_a_pause_one_purchase_need_not_wait(context: Context) -> None:
    waits = [await reserve(context) for _ in range(5)]
    assert all(wait_s == 0 for wait_s in waits), waits


async def test_who_may_not_wait_gets_no_slot_when_the_burst_is_used_up(context: Context) -> None:
    for _ in range(30):
        await reserve(context, max_wait_s=60)
    assert await reserve(context, max_wait_s=0) is None
    assert await reserve(context, max_wait_s=60) is not None


async def test_after_a_429_it_is_half(context: Context) -> None:
    async with context.database.connection() as connection:
        await slow_down(connection, for_s=60)
    slots = await take(context, 40)
    assert busiest_second(slots) <= RATE / 2 + 1
    gaps = [later - earlier for earlier, later in itertools.pairwise(sorted(slots)[10:])]
    assert sum(gaps) / len(gaps) == pytest.approx(1 / (RATE / 2 * 0.75), rel=0.1)


# ── many processes, and who comes first ──


@pytest.fixture
async def processes(settings: Settings) -> AsyncIterator[list[Context]]:
    """Four workers at RATE, each with a pool of its own."""
    async with AsyncExitStack() as stack:
        own = with_settings(settings, stripe_rate=RATE)
        yield [await stack.enter_async_context(open_context("worker", own)) for _ in range(4)]


async def book(context: Context, max_wait_s: float) -> tuple[datetime, datetime] | None:
    """Take a slot; answers two moments of the database's clock around it. None: there was none."""
    async with context.database.transaction() as connection:
        # Locked first, so that nobody books between our looks at the clock.
        await connection.execute("SELECT 1 FROM stripe_budget FOR UPDATE")
        before = await connection.fetchval("SELECT clock_timestamp()")
        wait_s = await reserve_slot(connection, rate=RATE, max_wait_s=max_wait_s)
        after = await connection.fetchval("SELECT clock_timestamp()")
    if wait_s is None:
        return None
    return before + timedelta(seconds=wait_s), after + timedelta(seconds=wait_s)


async def test_four_processes_of_every_priority_together_keep_the_rate_in_every_second(
    processes: list[Context],
) -> None:
    chance = random.Random(7)  # noqa: S311 - a fixed mixture
    booked: list[tuple[datetime, datetime]] = []

    async def work(context: Context) -> None:
        for _ in range(45):
            slot = await book(context, chance.choice((0.0, SYNC_WAIT_S, SYNC_WAIT_S, CLAIM_WAIT_S)))
            if slot is not None:
                booked.append(slot)

    await asyncio.gather(*(work(context) for context in processes for _ in range(2)))
    booked.sort()
    most = int(RATE) + 1
    assert len(booked) > 3 * most
    for (earliest, _), (_, latest) in zip(booked, booked[most:], strict=False):
        assert latest - earliest >= timedelta(seconds=1), f"{most + 1} calls within a second"


async def keep_busy(context: Context, seconds: float) -> None:
    """As if others had booked every slot until so far from now."""
    async with context.database.connection() as connection:
        await connection.execute(
            "UPDATE stripe_budget SET next_at = clock_timestamp() + make_interval(secs => $1)", seconds
        )


async def test_who_may_wait_longer_comes_before_who_may_not(processes: list[Context]) -> None:
    one, other, *_ = processes
    await keep_busy(one, CLAIM_WAIT_S - 0.5)
    with pytest.raises(Throttled):
        await budget_of(other, SYNC_WAIT_S)()
    assert await book(other, CLAIM_WAIT_S) is not None


async def test_who_has_begun_comes_before_who_has_not(processes: list[Context]) -> None:
    one, other, *_ = processes
    begun = budget_of(one, SYNC_WAIT_S)
    await begun()
    await keep_busy(one, SYNC_WAIT_S + BEGUN_S / 2)
    with pytest.raises(Throttled):
        await budget_of(other, SYNC_WAIT_S)()
    await books(one, begun)


async def test_who_has_begun_waits_for_a_slot_and_books_none_too_early(processes: list[Context]) -> None:
    context = processes[0]
    begun = budget_of(context, SYNC_WAIT_S)
    await begun()
    await keep_busy(context, 3600)
    full = await next_slot(context)
    waiting = asyncio.ensure_future(begun())
    # By then it has asked at least twice.
    await asyncio.wait([waiting], timeout=2.5 * LOOK_EVERY_S)
    assert not waiting.done()
    assert await next_slot(context) == full
    await keep_busy(context, 0)
    async with asyncio.timeout(10):
        await waiting


async def test_however_busy_the_rest_is_a_tenth_is_kept_for_the_background(processes: list[Context]) -> None:
    context = processes[0]
    pace_s = 1 / (KEPT_SHARE * RATE)
    clock = iter([0.0, 0.9 * pace_s, 1.1 * pace_s])
    reserve = background_budget(context, lambda: next(clock))
    await keep_busy(context, CLAIM_WAIT_S + BEGUN_S)
    await books(context, reserve)
    with pytest.raises(Throttled):
        await reserve()
    await books(context, reserve)
    assert next(clock, None) is None


async def books(context: Context, reserve: Reserve) -> None:
    """The call takes a slot; nobody waits here until its moment has come."""
    before = await next_slot(context)
    waiting = asyncio.ensure_future(reserve())
    async with asyncio.timeout(10):
        while await next_slot(context) == before and not waiting.done():
            pass
    assert not waiting.done(), waiting.exception()
    waiting.cancel()
    await asyncio.wait([waiting])


async def next_slot(context: Context) -> datetime:
    async with context.database.connection() as connection:
        at: datetime = await connection.fetchval("SELECT next_at FROM stripe_budget")
        return at


async def test_the_background_takes_what_nobody_wants_without_using_up_its_share(
    processes: list[Context],
) -> None:
    def no_clock() -> float:
        raise AssertionError("the share is asked for")

    reserve = background_budget(processes[0], no_clock)
    for _ in range(5):
        await reserve()


async def test_a_429_to_any_reader_halves_the_rate_of_all_for_a_minute(
    settings: Settings, path: EventPath
) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    await path.deliver((await path.events(types=["checkout.session.completed"]))[0])
    await path.stripe.fail("/v1/checkout/sessions/*", status=429, times=5)
    (target,) = await path.owed_targets()
    assert (await path.syncer.sync_target(target)).outcomes == ("failed",)
    (row,) = await path.rows(
        "SELECT extract(epoch FROM slow_until - clock_timestamp())::float8 AS slow_s FROM stripe_budget"
    )
    assert 0 < row["slow_s"] <= 60
    (target_row,) = await path.targets()
    assert (target_row["failures"], target_row["state"]) == (0, "active")


async def test_no_limit_asks_nobody(settings: Settings) -> None:
    nowhere = with_settings(
        settings, stripe_rate=0.0, database_url=type(settings.database_url)("postgresql://x@127.0.0.1:1/x")
    )
    async with open_context("worker", nowhere) as context:
        await budget_of(context, 0)()
        await background_budget(context)()
