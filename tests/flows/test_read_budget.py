"""The read budget: never more than its rate in any second, at once what nobody else wants."""

import asyncio
import itertools

import pytest

from domain.context import Context
from domain.store.deployment import reserve_slot, slow_down

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
