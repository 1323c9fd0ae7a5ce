"""F-18 and F-21: what was never delivered, and what a restore has lost, is healed by one pass."""

import time
from pathlib import Path
from typing import Any

import msgspec

from domain.flows.reconcile import Wish, begin, see_through, show_run
from domain.flows.record_action import Operator
from domain.rules.events import USED
from tests.chaos.checks import Verdict, judge, until_quiet
from tests.chaos.customers import Town
from tests.chaos.faults_of_tests import run_tests
from tests.chaos.sizes import Sizes
from tests.chaos.stripe import Acknowledged
from tests.chaos.world import Setup, World, running_world

OPERATOR = Operator(actor="cli:chaos")
#: Of all deliveries, for ever: Stripe believes that they arrived. Of so few, a later event of its object
#: makes up for most; where no list has them, more have to be missing until a comparison has to heal.
DROPPED, DROPPED_UNLISTED = 0.05, 0.6
#: Seconds; compressed from a minute.
SETTLE_S = 2.0


async def f18(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """One delivery in twenty never happens; then one pass, and no other event."""
    return await _heal(directory, sizes, seed, is_listed=True)


async def f18_unlisted(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Most deliveries never happen, nor has Stripe's list their events: what finds them is the comparison."""
    return await _heal(directory, sizes, seed, is_listed=False)


async def _heal(directory: Path, sizes: Sizes, seed: int, *, is_listed: bool) -> Verdict:
    async with running_world(directory, Setup(settings=sizes.settings)) as world:
        town, acknowledged = Town(world.stripe, world.context, seed), Acknowledged(world.stripe)
        drop = DROPPED if is_listed else DROPPED_UNLISTED
        await world.stripe.control("deliver", drop=drop, seed=seed)
        await town.settle(sizes.customers, strangers=2)
        await town.live(until_events=sizes.events)
        await until_quiet(world, acknowledged, within_s=sizes.patience_s)
        missing = await _count_missing(world)
        if not is_listed:
            await world.rows(
                """
                UPDATE reconciliation_watermark SET read_until = clock_timestamp() + interval '1 d'
                RETURNING 1
                """
            )
        last = time.monotonic()
        notes = await _reconcile(world)
        is_quiet = await until_quiet(world, acknowledged, within_s=sizes.patience_s)
        verdict = await judge(world, town, acknowledged, is_quiet=is_quiet)
        verdict.converged_s = round(time.monotonic() - last, 1) if is_quiet else None
        verdict.notes |= {"never delivered": missing, **notes}
        verdict.check("something was dropped", missing > 0)
        verdict.check("the pass has healed something", notes["repaired"] > 0, notes)
        return verdict


async def f21(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """An older database and an empty Redis."""
    return await run_tests("tests/flows/test_recover.py")


async def _count_missing(world: World) -> int:
    made = {one["id"] for one in await world.stripe.list_all("/v1/events") if one["type"] in USED}
    stored = {row["event_id"] for row in await world.rows("SELECT event_id FROM webhook_events")}
    return len(made - stored)


async def _reconcile(world: World) -> dict[str, Any]:
    settings = msgspec.structs.replace(world.context.settings, reconcile_settle_s=SETTLE_S)
    context = msgspec.structs.replace(world.context, settings=settings)
    run = await begin(context, Wish(is_full=True), OPERATOR)
    await see_through(context, run.id)
    detail = await show_run(context, None, run.id)
    types = [one.type for one in detail.drifts]
    return {
        "drifts": {name: types.count(name) for name in sorted(set(types))},
        "repaired": detail.run.counts.repaired,
        "state": detail.run.state,
    }
