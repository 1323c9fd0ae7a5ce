"""F-01 and F-02: everything at once, at random, while everybody lives."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from deploy.local.environment import ROOT
from tests.chaos import injector as inject
from tests.chaos.checks import Verdict, judge, until_quiet
from tests.chaos.customers import Town
from tests.chaos.injector import Fault, Injector
from tests.chaos.sizes import Sizes
from tests.chaos.stripe import Acknowledged
from tests.chaos.world import Setup, World, running_world

#: Something that goes on while the faults are drawn.
Beside = Callable[[World], Coroutine[Any, Any, None]]

KILLS: tuple[Fault, ...] = (
    *(inject.kill_worker_child, inject.kill_worker_child, inject.kill_worker),
    *(inject.kill_webhook, inject.kill_webhook, inject.kill_scheduler),
    *(inject.flush_redis, inject.kill_redis, inject.restart_postgres),
)


async def f01(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Kills of everything, Redis flushed and killed, Postgres restarted, while Stripe fails."""
    setup = Setup(settings=sizes.settings)
    async with running_world(directory, setup) as world:
        verdict = await live_through(world, sizes, seed, deck=KILLS * sizes.decks)
        verdict.check(
            "converged in time",
            verdict.converged_s is not None and verdict.converged_s <= sizes.converge_s,
            f"{verdict.converged_s} s, at most {sizes.converge_s}",
        )
        return verdict


async def f02(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Workers with wrong clocks, stopped and stalled for longer than their lease, and killed."""
    verdict = await with_clocks(directory, sizes, seed, skew_s=90)
    verdict.check("enough were fenced", verdict.fenced >= sizes.fenced, verdict.fenced)
    return verdict


async def with_clocks(
    directory: Path, sizes: Sizes, seed: int, *, skew_s: int, beside: Beside | None = None
) -> Verdict:
    """Two workers whose clocks are wrong by so much, one each way, stalled and stopped past their lease."""
    stall_s = float(sizes.settings.get("lease_s", "15")) * 1.4
    points = {"TOLLHOUSE_FAULT_POINTS": f"sync.fetched=stall:{stall_s}:0.04"}
    clock = {"PYTHONPATH": str(ROOT / "tests" / "chaos" / "skewed"), **points}
    env = {
        "worker0": {**clock, "CHAOS_SKEW_S": str(skew_s)},
        "worker1": {**clock, "CHAOS_SKEW_S": str(-skew_s)},
    }
    async with running_world(directory, Setup(settings=sizes.settings, env=env)) as world:
        deck = (inject.stop_a_while, inject.stop_a_while, inject.kill_worker_child, inject.kill_scheduler)
        return await live_through(
            world, sizes, seed, deck=deck * sizes.decks, stripe_fails=False, beside=beside
        )


async def live_through(
    world: World,
    sizes: Sizes,
    seed: int,
    *,
    deck: tuple[Fault, ...],
    stripe_fails: bool = True,
    beside: Beside | None = None,
) -> Verdict:
    """Everybody lives while the deck is drawn; then until nothing is owed, and every check.

    `beside`: what else goes on meanwhile.
    """
    town = Town(world.stripe, world.context, seed)
    acknowledged = Acknowledged(world.stripe)
    await world.stripe.control("deliver", mode="shuffle", duplicate=3, window_s=1.0, seed=seed)
    await town.settle(sizes.customers, strangers=max(1, sizes.customers // 20))
    if stripe_fails:
        await inject.let_stripe_fail(world)
    injector = Injector(world, seed, deck, every_s=sizes.fault_every_s)
    await asyncio.gather(
        injector.run(),
        town.live(until_events=sizes.events, pause_s=sizes.pause_s, is_over=lambda: injector.is_over),
        acknowledged.watch_until(lambda: injector.is_over),
        *([] if beside is None else [beside(world)]),
    )
    await inject.let_stripe_work(world)
    last = time.monotonic()
    is_quiet = await until_quiet(world, acknowledged, within_s=sizes.patience_s)
    converged_s = time.monotonic() - last
    # Stripe waits longer after every failure: what it had not yet delivered again could not be worked off.
    delivered_s = max(acknowledged.quiet_at - last, 0.0)
    # Not before: a dramatiq main process whose worker was killed while it booted notices after 30 s only.
    await world.fleet.until_ready("read")
    verdict = await judge(world, town, acknowledged, is_quiet=is_quiet)
    verdict.converged_s = round(converged_s, 1) if is_quiet else None
    verdict.notes |= {
        "events": await town.count_events(),
        "customers": len(town.customers),
        "acts": town.acts,
        "refused": town.refused,
        "answers": acknowledged.answers,
        "deaths": world.fleet.deaths(),
        "delivered_s": round(delivered_s, 1),
        "worked_off_s": round(converged_s - delivered_s, 1),
        "slowest_delivery_s": round(max(acknowledged.durations, default=0.0), 2),
    }
    return verdict
