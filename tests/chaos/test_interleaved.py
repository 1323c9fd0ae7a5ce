"""F-23: a dispute, a subscription, a grant and a catalog for one user, each held at its awaits by the others.

`make test` holds at every fifth await, `make chaos` at each one (`CHAOS_STRIDE=1`).
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import aiohttp
import msgspec
import pytest

from domain.context import Context
from domain.flows.lookup import Lookup
from domain.flows.sync import Syncer
from tests.chaos.checks import differences
from tests.chaos.oracle import make_oracle, read_grants
from tests.chaos.stripe import Stripe
from tests.flows.agreement import APPS, USER, Stale, check
from tests.flows.event_path import EventPath
from tests.flows.interleaving import Flow, interleave
from tests.flows.test_interleavings import MOST_AWAITS, World, settle, sync_and_catalog, sync_and_grant

STRIDE = int(os.environ.get("CHAOS_STRIDE", "5"))

Make = Callable[[World, int], Awaitable[Flow]]


async def dispute(world: World, number: int) -> Flow:
    """The first subscription's payment is disputed; the next time the bank decides, for or against."""
    _customer, subscription, _item = world.bought[0]
    found = (await world.path.retrieve("/v1/disputes"))["data"]
    if not found:
        await world.path.stripe.dispute(subscription)
    else:
        status = "lost" if found[0]["status"] in {"needs_response", "won"} else "won"
        await world.path.stripe.move_dispute(found[0]["id"], status)
    newest = (await world.path.events(types=("charge.dispute.created", "charge.dispute.closed")))[-1]
    received = await world.path.deliver({**newest, "id": f"evt_{number}"})

    async def sync_and_follow(context: Context) -> None:
        """A dispute names no customer: the event is forwarded, and the bell is rung there."""
        rung = list(received.owed)
        while rung:
            synced = await Syncer(context).sync_target(rung.pop())
            if set(synced.outcomes) - {"processed", "settled", "forwarded"}:
                raise Stale(f"a sync ended {synced.outcomes}")
            rung += synced.owed

    return sync_and_follow


async def subscription(world: World, number: int) -> Flow:
    return world.sync(await world.owe(1, number + 2))


async def operators_grant(world: World, number: int) -> Flow:
    return (await sync_and_grant(world, number))[1]


async def catalog(world: World, number: int) -> Flow:
    return (await sync_and_catalog(world, number))[1]


ALL: Sequence[Make] = (dispute, subscription, operators_grant, catalog)


@pytest.fixture
async def world(path: EventPath) -> World:
    made = World(path)
    await made.open()
    await check(path)
    return made


@pytest.mark.timeout(600)
@pytest.mark.parametrize("held", ALL, ids=lambda make: make.__name__)
async def test_four_at_one_user_held_at_every_await_end_in_the_oracles_answer(
    world: World, held: Make
) -> None:
    others = [make for make in ALL if make is not held]
    places = 0
    for hold_at in range(1 + ALL.index(held), MOST_AWAITS, STRIDE):
        first = await held(world, hold_at)
        seconds = [await make(world, hold_at) for make in others]

        async def all_others(context: Context, flows: Sequence[Flow] = tuple(seconds)) -> None:
            for flow in flows:
                await flow(context)

        interleaved = await interleave(world.context, first, all_others, hold_at)
        try:
            await settle(world)
            await check(world.path)
            await check_oracle(world)
        except Stale as error:
            raise Stale(f"{error}, held at await {hold_at}: {interleaved.held_at}") from error
        if interleaved.held_at is None:
            break
        places += 1
    assert places >= 3


async def check_oracle(world: World) -> None:
    handle = world.path.stripe
    async with aiohttp.ClientSession() as client:
        oracle = await make_oracle(Stripe(handle.url, handle.secret_key, client), world.context)
    grants = (await read_grants(world.context))[USER]
    customers = [customer for customer, _, _ in world.bought]
    for app in APPS:
        lookup = Lookup(msgspec.structs.replace(world.context, cache=None))
        served = msgspec.json.decode((await lookup.find("acme", app, USER)).body)["entitlements"]
        await lookup.close()
        said = differences(served, oracle.answers(customers, grants, app, datetime.now(UTC)))
        if said:
            raise Stale(f"{app}: {said}")
