"""F-03: crippled builds, each of which must fail its named check, and whole ones that must not."""

import asyncio
from pathlib import Path

from tests.chaos import injector as inject
from tests.chaos.checks import Verdict, judge, until_quiet
from tests.chaos.customers import Town
from tests.chaos.rewriting import Rewrite
from tests.chaos.sizes import Sizes
from tests.chaos.stripe import Acknowledged
from tests.chaos.world import Setup, World, running_world

#: How long a crippled build gets before it counts as one that never will.
PATIENCE_S = 20.0

FENCE = "WHERE id = $1 AND lease_token = $2 FOR UPDATE"
DEDUP = "ON CONFLICT (event_id) DO NOTHING"


async def whole(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """The control for the sweeper and the queue: the same end, with everything in place."""
    return await bells_lost(directory, sizes, seed, Setup(settings=sizes.settings))


async def without_sweeper(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    return await bells_lost(directory, sizes, seed, Setup(settings=sizes.settings, schedulers=0))


async def with_queue_retries(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """The usual design: the queue retries what failed, and nothing else comes back to it."""
    setup = Setup(settings=sizes.settings, schedulers=0, worker_module="tests.chaos.queue_retries")
    return await bells_lost(directory, sizes, seed, setup)


async def bells_lost(directory: Path, sizes: Sizes, seed: int, setup: Setup) -> Verdict:
    """Stripe fails a little; while no worker runs all is delivered, and Redis forgets every bell."""
    async with running_world(directory, setup) as world:
        town, acknowledged = await _begin(world, sizes, seed)
        await inject.let_stripe_fail(world)
        await town.live(until_events=sizes.repeats * 2)
        for name in world.fleet.names("worker"):
            world.fleet.hold(name)
        await town.live(until_events=sizes.repeats * 3)
        await _until_delivered(world)
        await inject.flush_redis(world, town.dice)
        for name in world.fleet.names("worker"):
            world.fleet.release(name)
        await inject.let_stripe_work(world)
        is_quiet = await until_quiet(world, acknowledged, within_s=PATIENCE_S)
        return await judge(world, town, acknowledged, is_quiet=is_quiet)


async def with_fence(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """The control: stalled between FETCH and COMMIT for twice the lease, with the fence in place."""
    verdict = await stalled(directory, sizes, seed, {})
    verdict.check("somebody was fenced", verdict.fenced > 0)
    return verdict


async def without_fence(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    def let_everybody_commit(statement: str) -> str:
        return statement.replace(FENCE, "WHERE id = $1 AND $2::text IS NOT NULL FOR UPDATE")

    return await stalled(directory, sizes, seed, {"worker": let_everybody_commit})


async def stalled(directory: Path, sizes: Sizes, seed: int, rewrites: dict[str, Rewrite]) -> Verdict:
    # Rechecks would hide what a stale writer wrote: they read again a few seconds later.
    settings = {**sizes.settings, "lease_s": "3", "fetch_timeout_s": "2.5", "ring_again_s": "1"}
    settings |= {"recheck_s": "3600"}
    env = {"worker": {"TOLLHOUSE_FAULT_POINTS": "sync.fetched=stall:6:0.25"}}
    async with running_world(directory, Setup(settings=settings, env=env, rewrites=rewrites)) as world:
        town, acknowledged = await _begin(world, sizes, seed)
        # Slowly: what is stale is stale only if something happened since it was read.
        await town.live(until_events=sizes.repeats * 6, pause_s=0.5)
        is_quiet = await until_quiet(world, acknowledged, within_s=sizes.patience_s)
        # The last one that stalls wakes after its successor has committed.
        await asyncio.sleep(7)
        verdict = await judge(world, town, acknowledged, is_quiet=is_quiet)
        return _note_rewrites(world, verdict)


async def without_dedup(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Each delivery is a row of its own, as where nobody has made the event's id unique."""

    def store_every_delivery(statement: str) -> str:
        if DEDUP not in statement:
            return statement
        columns = "CASE WHEN EXISTS (SELECT 1 FROM webhook_events w WHERE w.event_id = g.event_id)"
        columns += " THEN g.event_id || '#' || gen_random_uuid()::text ELSE g.event_id END"
        columns += ", g.source, g.type, g.state, g.reason"
        columns += ", g.object_kind, g.object_id, g.target_kind, g.target_ref, g.created_at, g.api_version"
        columns += ", g.request_id, g.payload, g.payload_sha256"
        return statement.replace("g.*", columns)

    setup = Setup(settings=sizes.settings, rewrites={"webhook": store_every_delivery})
    async with running_world(directory, setup) as world:
        town, acknowledged = await _begin(world, sizes, seed)
        await town.live(until_events=sizes.repeats)
        is_quiet = await until_quiet(world, acknowledged, within_s=PATIENCE_S)
        return _note_rewrites(world, await judge(world, town, acknowledged, is_quiet=is_quiet))


async def _begin(world: World, sizes: Sizes, seed: int) -> tuple[Town, Acknowledged]:
    town = Town(world.stripe, world.context, seed)
    await world.stripe.control("deliver", mode="shuffle", duplicate=3, seed=seed)
    await town.settle(max(10, sizes.repeats // 10))
    return town, Acknowledged(world.stripe)


async def _until_delivered(world: World) -> None:
    while not await world.stripe.is_quiet():  # noqa: ASYNC110 - another process's state
        await asyncio.sleep(0.1)
    # Extra copies are not waited for by the simulator; each of them rings too.
    await asyncio.sleep(1.0)


def _note_rewrites(world: World, verdict: Verdict) -> Verdict:
    for name, proxy in world.rewriters.items():
        verdict.notes[f"statements of {name} changed"] = proxy.changed
        verdict.check("the build was crippled", proxy.changed > 0)
    return verdict
