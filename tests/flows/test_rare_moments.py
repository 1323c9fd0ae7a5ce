"""Instants that random chaos hardly ever hits: two flows, one held at each of its awaits by turns."""

import asyncio
import time
import uuid
from typing import Any

import pytest

from domain.cache import cache_key
from domain.context import Context
from domain.flows.link import link_customer
from domain.flows.replay import requeue
from domain.flows.sync import Syncer
from tests.flows.event_path import EventPath
from tests.flows.interleaving import Flow, interleave

#: More awaits than any of these flows has.
MOST_AWAITS = 200


async def buy(path: EventPath, customer: str) -> list[dict[str, Any]]:
    """A pass is bought; answers its events, not delivered."""
    known = {event["id"] for event in await path.events()}
    await path.buy(customer, "pass", "once")
    return [event for event in await path.events() if event["id"] not in known]


def sync(target_id: int, outcomes: list[str] | None = None) -> Flow:
    async def run(context: Context) -> None:
        synced = await Syncer(context).sync_target(target_id)
        if outcomes is not None:
            outcomes.extend(synced.outcomes)

    return run


# ── judging again under the lock ──


async def test_a_customer_linked_while_its_sync_runs_is_never_left_foreign(path: EventPath) -> None:
    """At whatever await of the sync LINK commits: what was read as a stranger's is judged again."""
    outcomes: list[str] = []
    for hold_at in range(1, MOST_AWAITS):
        user_id = f"u_{hold_at}"
        customer = await path.make_customer(user_id, linked=False)
        (row,) = await path.rows(
            """
            SELECT c.ref FROM stripe_customers c JOIN users u USING (user_key) WHERE u.user_id = $1
            """,
            user_id,
        )
        for event in await buy(path, customer):
            # Without the customer's own event nothing in the inbox says whose it is.
            if not event["type"].startswith(("customer.created", "customer.updated")):
                await path.deliver(event)
        (target,) = await path.rows("SELECT id FROM sync_targets WHERE stripe_id = $1", customer)

        async def link(context: Context, customer: str = customer, ref: uuid.UUID = row["ref"]) -> None:
            async with context.database.transaction() as connection:
                await link_customer(connection, customer, ref, read_all=True)

        held = await interleave(path.context, sync(target["id"], outcomes), link, hold_at)
        await path.drain()
        assert await path.is_granted(user_id=user_id), f"held at {held.held_at}"
        assert await path.count_owed() == 0
        if held.held_at is None:
            break
    assert "rejudged" in outcomes, "LINK never came between the verdict and its commit"


# ── the cache's stamp ──


async def test_the_freshness_of_a_cached_answer_begins_before_its_commit(path: EventPath) -> None:
    """A stamp of the store would call fresh what somebody else replaced between COMMIT and the store."""
    customer = await path.make_customer()
    for event in await buy(path, customer):
        await path.deliver(event)
    await path.drain()
    stamped = 0
    for hold_at in range(1, MOST_AWAITS):
        (event,) = [one for one in await path.events() if one["type"] == "checkout.session.completed"]
        received = await path.deliver({**event, "id": f"evt_{hold_at}"})
        moment: list[float] = []

        async def wait(_context: Context, moment: list[float] = moment) -> None:
            moment.append(time.time())
            await asyncio.sleep(0.01)

        held = await interleave(path.context, sync(received.owed[0]), wait, hold_at)
        await path.drain()
        found = await _read_at(path)
        if held.held_at == "cache: store":
            assert found <= moment[0]
            stamped += 1
        if held.held_at is None:
            break
    assert stamped, "the flow was never held before its store"


async def _read_at(path: EventPath) -> float:
    """The stamp of the answer in Redis."""
    assert path.context.cache is not None
    found = await path.context.cache.find("acme", cache_key("acme", "u_1", "editor"))
    assert found is not None
    return found.read_at


# ── replay against forward ──


@pytest.mark.parametrize("is_replay_held", [True, False], ids=["replay is held", "forward is held"])
async def test_replay_and_forward_of_one_event_leave_nothing_owed(
    path: EventPath, *, is_replay_held: bool
) -> None:
    for hold_at in range(1, MOST_AWAITS, 2):
        user_id = f"u_{hold_at}"
        customer = await path.make_customer(user_id)
        events = await buy(path, customer)
        (paid,) = [one for one in events if one["type"] == "checkout.session.completed"]
        bare = {"id": paid["data"]["object"]["id"], "object": "checkout.session"}
        event_id = f"evt_bare_{hold_at}"
        received = await path.deliver({**paid, "id": event_id, "data": {"object": bare}})
        flows: list[Flow] = [_requeue(event_id), sync(received.owed[0])]
        first, second = flows if is_replay_held else reversed(flows)
        held = await interleave(path.context, first, second, hold_at)
        await path.drain()
        (row,) = await path.rows(
            "SELECT state, target_kind FROM webhook_events WHERE event_id = $1", event_id
        )
        assert row == {"state": "processed", "target_kind": "customer"}, held.held_at
        assert await path.count_owed() == 0
        assert await path.is_granted(user_id=user_id)
        if held.held_at is None:
            return
    raise AssertionError("the flow never ended")


def _requeue(event_id: str) -> Flow:
    async def run(context: Context) -> None:
        await requeue(context, [event_id])

    return run
