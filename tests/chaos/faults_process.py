"""F-15 and F-16: one target that kills or breaks whoever takes it, and restarts of everything under load."""

import asyncio
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.chaos.checks import Verdict, judge, read_answers, until_quiet
from tests.chaos.customers import Town
from tests.chaos.faults_away import LAG, Asked, lively
from tests.chaos.sizes import Sizes
from tests.chaos.stripe import Acknowledged
from tests.chaos.world import Setup, World

DEAD_WITHIN_S = 600.0
#: The sweeper looks once in so long.
SWEEP_S = 1.0
#: What a stop may take: the longest that an orchestrator waits by default is 30 s.
STOP_S = 25.0


async def f15_raises(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """A target whose run always fails: dead soon, with its reason; the others do not notice."""
    verdict = await poisoned(directory, sizes, seed, "sync.claimed@{}=break:1")
    alone = max(verdict.notes["lag_p99_s before"], verdict.notes["lag_p99_s after"])
    beside = verdict.notes["beside"]
    # One bell that nobody heard is the p99 of the few events of a small run: it is rung again at the first
    # look of the sweeper after this wait, poison or not.
    one_bell_s = float(sizes.settings.get("ring_again_s", "5")) + SWEEP_S
    limit_s = max(2 * alone, one_bell_s)
    verdict.check("others' lag p99 at most twice", beside <= limit_s, f"{beside} s, at most {limit_s} s")
    return verdict


async def f15_dies(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """A target that kills the worker that takes it; runs beside it die too, and wait for their leases."""
    verdict = await poisoned(directory, sizes, seed, "sync.claimed@{}=kill:1")
    verdict.check("others' lag p99 at most 60 s", verdict.notes["beside"] <= 60, verdict.notes["beside"])
    return verdict


async def poisoned(directory: Path, sizes: Sizes, seed: int, point: str) -> Verdict:
    async with lively(directory, sizes, seed, Setup(settings=sizes.settings)) as (world, town, acknowledged):
        # As cold as those that will be measured beside the poison.
        await _arm(world, "")
        before = await _lag_of(world, town, sizes, acknowledged)
        victim = town.customers.pop(0)
        good = (await read_answers(world, [victim.user_id], "editor"))[victim.user_id]
        await _arm(world, point.format(victim.customer_id))
        await world.stripe.post(f"/v1/customers/{victim.customer_id}", description="poison")
        dead_s, beside = await asyncio.gather(
            _until_dead(world, victim.customer_id), _lag_of(world, town, sizes, acknowledged)
        )
        (dead,) = await world.rows("SELECT last_error FROM sync_targets WHERE state = 'dead'") or [{}]
        kept = (await read_answers(world, [victim.user_id], "editor"))[victim.user_id]
        await _arm(world, "")
        await world.stripe.post(f"/v1/customers/{victim.customer_id}", description="healed")
        await until_quiet(world, acknowledged, within_s=sizes.patience_s)
        # Without it once more, because a machine that others use is not equally fast all the time.
        after = await _lag_of(world, town, sizes, acknowledged)
        town.customers.append(victim)
        is_quiet = await until_quiet(world, acknowledged, within_s=sizes.patience_s)
        verdict = await judge(world, town, acknowledged, is_quiet=is_quiet)
        verdict.converged_s = dead_s
        verdict.check("dead within 10 min, with a reason", dead_s <= DEAD_WITHIN_S and bool(dead), dead)
        verdict.check("the last good answer was served", kept["entitlements"] == good["entitlements"], kept)
        verdict.notes |= {"dead_after_s": dead_s, **dead, "beside": beside}
        verdict.notes |= {"lag_p99_s before": before, "lag_p99_s after": after}
        return verdict


async def _arm(world: World, points: str) -> None:
    """Workers with these fault points, from a stop in order on."""
    for name in world.fleet.names("worker"):
        world.fleet.rearm(name, TOLLHOUSE_FAULT_POINTS=points)
        await world.fleet.restart(name)


async def _until_dead(world: World, customer_id: str) -> float:
    """Seconds; what never dies takes longer than it may."""
    began = time.monotonic()
    sql = "SELECT 1 FROM sync_targets WHERE state = 'dead' AND stripe_id = $1"
    while not await world.rows(sql, customer_id):
        if time.monotonic() - began > DEAD_WITHIN_S:
            break
        await asyncio.sleep(0.5)
    return round(time.monotonic() - began, 1)


async def _lag_of(world: World, town: Town, sizes: Sizes, acknowledged: Acknowledged) -> float:
    began = time.time()
    await town.live(until_events=await town.count_events() + sizes.events // 4, pause_s=0.3)
    await until_quiet(world, acknowledged, within_s=60)
    (lag,) = await world.rows(LAG, began)
    return round(float(lag["lag_p99_s"]), 2)


async def f16(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Every process is restarted in order, one after the other, twenty times, while all live and read."""
    async with lively(directory, sizes, seed, Setup(settings=sizes.settings)) as (world, town, acknowledged):
        acknowledged.answers.clear()
        asked = Asked()
        names = [
            name
            for prefix in ("webhook", "read", "worker", "scheduler")
            for name in world.fleet.names(prefix)
        ]
        restarts = min(20, max(6, sizes.repeats // 10))
        stops: list[tuple[float, str]] = []
        is_over = False

        async def roll() -> None:
            nonlocal is_over
            for name in itertools.islice(itertools.cycle(names), restarts):
                stops.append((round(await world.fleet.restart(name), 2), name))
                await asyncio.sleep(0.5)
            is_over = True

        await asyncio.gather(
            roll(),
            town.live(until_events=sizes.events // 2, pause_s=0.3, is_over=lambda: is_over),
            _keep_asking(world, town, asked, lambda: is_over),
        )
        last = time.monotonic()
        is_quiet = await until_quiet(world, acknowledged, within_s=sizes.patience_s)
        verdict = await judge(world, town, acknowledged, is_quiet=is_quiet)
        verdict.converged_s = round(time.monotonic() - last, 1)
        statuses = {name: number for name, number in acknowledged.answers.items() if name.isdigit()}
        verdict.check("the door answered nothing but 200", set(statuses) == {"200"}, statuses)
        verdict.check("readers were answered nothing but 200", set(asked.said) <= READ_WELL, asked.said)
        verdict.check("each stop took at most 25 s", max(stops)[0] <= STOP_S, max(stops))
        verdict.notes |= {"restarts": restarts, "slowest stop": max(stops), "read": asked.said}
        verdict.notes |= {"door": acknowledged.answers}
        return verdict


#: With one process of a kind there is nobody to ask while it starts: that is no answer, and no wrong one.
READ_WELL = {"live", "unreachable"}


async def _keep_asking(world: World, town: Town, asked: Asked, is_over: Callable[[], Any]) -> None:
    while not is_over():
        await asked.ask(world, town.user_ids[:5])
        await asyncio.sleep(0.05)
