"""One user, seen and synced by an operator."""

import asyncio

import pytest

from domain.errors import Unknown
from domain.flows.record_action import Operator
from domain.flows.show_user import show_user
from domain.flows.sync_user import sync_user
from tests.flows.event_path import EventPath

ANNA = Operator(actor="cli:anna")


async def test_a_sync_reads_everything_now_and_says_what_changed(path: EventPath) -> None:
    customer = await path.make_customer("u_1")
    await path.buy(customer)
    assert not await path.is_granted(), "no event was delivered"
    done = await sync_user(path.context, path.syncer, "acme", "u_1", ANNA)
    synced = done.user
    assert done.owed == ()
    assert (synced.settled, synced.customers) == (True, (customer,))
    changed = {(one.app, one.feature): one for one in synced.changes}
    after = changed["editor", "export"].after
    assert after is not None
    assert after.granted
    assert await path.is_granted()
    cached = await path.cached()
    assert cached is not None
    assert cached.first_version == synced.versions["editor"]
    again = (await sync_user(path.context, path.syncer, "acme", "u_1", ANNA)).user
    assert (again.changes, again.versions) == ((), synced.versions)
    audited = await path.rows(
        "SELECT actor, action, project, details::text AS details FROM audit_log WHERE user_key IS NOT NULL"
    )
    assert [(row["actor"], row["action"], row["project"]) for row in audited] == [
        ("cli:anna", "user.sync", "acme")
    ] * 2
    assert "u_1" not in audited[0]["details"]

    shown = await show_user(path.context, "acme", "u_1")
    assert {"customer", "event", "subscription", "invoice", "version", "action"} <= {
        one.kind for one in shown.timeline
    }
    assert [one.at for one in shown.timeline] == sorted(one.at for one in shown.timeline)
    assert {one.app: one.version for one in shown.answers} == synced.versions
    few = await show_user(path.context, "acme", "u_1", limit=2)
    assert (few.timeline, few.has_older) == (shown.timeline[-2:], True)
    for project, user in (("acme", "u_2"), ("globex", "u_1"), ("acme", "u\0")):
        with pytest.raises(Unknown):
            await show_user(path.context, project, user)


async def test_what_stripe_has_no_time_for_is_left_to_a_worker(path: EventPath) -> None:
    customer = await path.make_customer("u_1")
    await path.buy(customer)
    synced = await sync_user(path.context, path.syncer, "acme", "u_1", ANNA, within_s=0)
    assert (synced.user.settled, synced.user.changes) == (False, ())
    assert [{"id": target} for target in synced.owed] == await path.rows("SELECT id FROM sync_targets")

    # A run that has begun is not waited for beyond the time, however slow Stripe is, and goes on.
    await path.stripe.fail("/v1/*", method="GET", latency_s=1.0, times=1)
    slow = (await sync_user(path.context, path.syncer, "acme", "u_1", ANNA, within_s=0.5)).user
    assert (slow.settled, slow.changes) == (False, ())
    assert not await path.is_granted()
    async with asyncio.timeout(10):
        while await path.count_owed():  # noqa: ASYNC110 - a row of Postgres has no event
            await asyncio.sleep(0.02)
    assert await path.is_granted()
