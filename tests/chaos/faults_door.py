"""F-04: the webhook process dies between the commit of an event and its bell, again and again."""

import asyncio
import sys
from pathlib import Path

import msgspec

from deploy.local.environment import ROOT
from domain.rules.events import USED
from tests.chaos.checks import Verdict, judge, until_quiet
from tests.chaos.customers import Town
from tests.chaos.sizes import Sizes
from tests.chaos.stripe import Acknowledged, Json
from tests.chaos.world import Setup, World, running_world

#: The sweep looks every second, and what it found has to be worked off.
SWEEP_S, WORK_S = 1.0, 5.0


async def f04(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Stripe delivers nothing; each event reaches a door of its own, which is killed right after COMMIT."""
    async with running_world(directory, Setup(settings=sizes.settings, workers=1, schedulers=1)) as world:
        town = Town(world.stripe, world.context, seed)
        acknowledged = Acknowledged(world.stripe)
        await world.stripe.control("deliver", drop=1.0)
        await town.settle(max(5, sizes.repeats // 20))
        while len(await used_events(world)) < sizes.repeats:
            await town.live(until_events=await town.count_events() + 20)
        events = await used_events(world)
        killed = await kill_a_door_each(world, events)
        is_quiet = await until_quiet(world, acknowledged, within_s=sizes.patience_s)
        verdict = await judge(world, town, acknowledged, is_quiet=is_quiet)
        await _check(world, sizes, verdict, len(events), killed)
        return verdict


async def used_events(world: World) -> list[Json]:
    return [event for event in await world.stripe.list_all("/v1/events") if event["type"] in USED]


async def kill_a_door_each(world: World, events: list[Json]) -> int:
    """Answers how many died by the fault point, and by nothing else."""
    file = world.state.directory / "events.json"
    file.write_bytes(msgspec.json.encode(events))
    environ = world.environment.webhook() | {"TOLLHOUSE_FAULT_POINTS": "receive.committed=kill:1"}
    doors = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos.killed_door", str(file)),
        stdout=asyncio.subprocess.PIPE,
        env=environ,
        cwd=ROOT,
    )
    said, _ = await doors.communicate()
    return int(said)


async def _check(world: World, sizes: Sizes, verdict: Verdict, events: int, killed: int) -> None:
    (seen,) = await world.rows(
        """
        SELECT count(*) AS stored, count(*) FILTER (WHERE done_at IS NULL) AS undone,
               coalesce(extract(epoch FROM max(done_at - received_at)), 0)::float AS slowest_s
        FROM webhook_events WHERE source = 'stripe'
        """
    )
    ring_again_s = float(sizes.settings.get("ring_again_s", "5"))
    limit_s = SWEEP_S + ring_again_s + WORK_S
    verdict.notes |= {"doors killed": killed, **seen}
    verdict.check("every door was killed after its commit", killed == events, f"{killed} of {events}")
    verdict.check("what a dead door stored is stored", seen["stored"] == events, seen)
    verdict.check(
        f"all processed within {limit_s:.0f} s", not seen["undone"] and seen["slowest_s"] <= limit_s
    )
    verdict.converged_s = round(seen["slowest_s"], 1)
