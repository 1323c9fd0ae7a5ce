"""What gave up: listed with whose it is, retried for one try, or discarded; one audit row each."""

import asyncio
from typing import Any

import msgspec
import pytest

from domain.errors import Conflict, Invalid, Unknown
from domain.flows.dead import discard_dead, retry_dead
from domain.flows.list_dead import list_dead, show_dead
from domain.flows.record_action import Operator
from domain.flows.replay import requeue
from domain.flows.trace import trace_user
from domain.model import TargetRef
from domain.store import dead as dead_store
from domain.store.targets import MOST_FAILURES
from tests.flows.event_path import EventPath

ANNA = Operator(actor="cli:anna")


async def make_due(path: EventPath) -> None:
    """As if every back-off, which doubles with each try, were over."""
    await path.execute("UPDATE webhook_events SET retry_at = '-infinity' WHERE state = 'pending'")
    await path.execute("UPDATE sync_targets SET due_at = '-infinity'")


async def run_out(path: EventPath) -> None:
    """Sync whatever is owed until it is settled, or has given up."""
    for _ in range(2 * MOST_FAILURES):
        await make_due(path)
        for target in await path.owed_targets():
            await path.syncer.sync_target(target)
    assert await path.owed_targets() == []


async def kill_refund(path: EventPath, number: int = 1) -> str:
    """A refund of nobody known, which Stripe refuses to show: its target dies. Answers its id."""
    refund = f"re_{number}"
    await path.stripe.fail(f"/v1/refunds/{refund}", status=400, times=10_000)
    await path.deliver(refund_event(refund, "evt_refund"))
    await run_out(path)
    return refund


def refund_event(refund: str, event_id: str) -> dict[str, Any]:
    return {
        "id": f"{event_id}_{refund}",
        "object": "event",
        "type": "refund.created",
        "livemode": False,
        "data": {"object": {"id": refund, "object": "refund"}},
    }


async def fail_subscription(path: EventPath, user_id: str = "u_1", project: str = "acme") -> tuple[str, str]:
    """A bought subscription that cannot be understood: its event fails. Answers (event, subscription)."""
    customer = await path.make_customer(user_id, project)
    await path.buy(customer)
    created = (await path.events(types=["customer.subscription.created"]))[-1]
    subscription = created["data"]["object"]["id"]
    await path.stripe.change_subscription(subscription, created="yesterday")
    await path.deliver(created)
    await run_out(path)
    return str(created["id"]), subscription


async def kill_customer(path: EventPath, user_id: str = "u_1", project: str = "acme") -> str:
    """A customer whose runs all die with their process: its target gives up. Answers the customer's id."""
    customer = await path.make_customer(user_id, project)
    await path.buy(customer)
    await path.deliver((await path.events(types=["checkout.session.completed"]))[-1])
    await path.execute("UPDATE sync_targets SET claims = 10 WHERE stripe_id = $1", customer)
    await run_out(path)
    return customer


async def audited(path: EventPath) -> list[dict[str, Any]]:
    return await path.rows(
        "SELECT actor, action, project, subject_kind, subject_id, reason, details::text AS details "
        "FROM audit_log WHERE action LIKE 'dead.%' ORDER BY id"
    )


# ── list and show ──


async def test_a_dead_target_and_a_failed_event_are_listed_with_their_error_and_user(path: EventPath) -> None:
    event, subscription = await fail_subscription(path, "u_1")
    customer = await kill_customer(path, "u_2")
    refund = await kill_refund(path)
    page = await list_dead(path.context, None)
    assert page.next_cursor is None
    failed, buried, nobodys = page.data
    assert (failed.id, failed.kind, failed.event_type) == (event, "event", "customer.subscription.created")
    assert (failed.object_id, failed.tries, failed.waiting) == (subscription, 8, 1)
    assert "created" in failed.error
    assert (failed.project, failed.user_id) == ("acme", "u_1")
    assert (buried.id, buried.kind, buried.target) == (customer, "target", {"customer": customer})
    assert (buried.error, buried.tries) == ("claimed 10 times without an outcome", 11)
    assert (buried.project, buried.user_id, buried.waiting) == ("acme", "u_2", 1)
    assert (nobodys.id, nobodys.project, nobodys.user_id) == (refund, None, None)
    assert (nobodys.tries, nobodys.waiting) == (MOST_FAILURES, 1)
    assert "Stripe refused" in nobodys.error
    for one in page.data:
        assert one.since is not None
        assert one.age_s is not None
        assert 0 <= one.age_s < 600
        assert f"tollhouse dead retry {one.id}" in one.next


async def test_a_project_sees_its_own_alone(path: EventPath) -> None:
    await kill_customer(path, "u_1", "acme")
    theirs = await kill_customer(path, "u_1", "globex")
    refund = await kill_refund(path)
    assert [one.id for one in (await list_dead(path.context, "globex")).data] == [theirs]
    for verb in (
        show_dead(path.context, "globex", refund),
        retry_dead(path.context, "acme", theirs, ANNA),
        discard_dead(path.context, "acme", theirs, "not mine", ANNA),
    ):
        with pytest.raises(Unknown, match="dead list"):
            await verb
    with pytest.raises(Unknown):
        await list_dead(path.context, "acne")
    assert await audited(path) == []


async def test_the_list_goes_on_where_its_page_ended(path: EventPath) -> None:
    made = [await kill_refund(path, number) for number in range(3)]
    # One without any event is listed too.
    await path.execute(
        "UPDATE webhook_events SET state = 'processed', done_at = now() WHERE target_ref = 're_2'"
    )
    first = await list_dead(path.context, None, limit=2)
    rest = await list_dead(path.context, None, limit=2, cursor=first.next_cursor)
    assert [one.id for one in first.data + rest.data] == ["re_2", made[0], made[1]]
    assert (first.data[0].since, first.data[0].age_s, rest.next_cursor) == (None, None, None)
    for cursor in ("yesterday", "1.", "9" * 30 + ".x"):
        with pytest.raises(Invalid):
            await list_dead(path.context, None, cursor=cursor)
    with pytest.raises(Invalid):
        await list_dead(path.context, None, limit=0)


async def test_a_detail_names_the_events_that_wait(path: EventPath) -> None:
    refund = await kill_refund(path)
    detail = await show_dead(path.context, None, refund)
    assert [(one.event_id, one.state) for one in detail.events] == [(f"evt_refund_{refund}", "pending")]
    for unknown in ("cus_none", "evt_none", f"evt_refund_{refund}", "a\0b"):
        with pytest.raises(Unknown, match="dead list"):
            await show_dead(path.context, None, unknown)


async def test_failed_events_of_a_dead_target_wait_on_it_and_are_listed_with_it(path: EventPath) -> None:
    event, _ = await fail_subscription(path)
    (customer,) = await path.rows("SELECT stripe_id FROM sync_targets")
    await path.execute("UPDATE sync_targets SET state = 'dead', last_error = 'a bug'")
    (listed,) = (await list_dead(path.context, None)).data
    assert (listed.id, listed.waiting) == (customer["stripe_id"], 1)
    assert (await show_dead(path.context, None, event)).dead.kind == "event", "it still has its own name"


# ── retry ──


async def test_a_retried_target_has_one_try_and_its_user_then_gets_what_was_paid(path: EventPath) -> None:
    customer = await kill_customer(path)
    assert not await path.is_granted()
    await retry_dead(path.context, None, customer, ANNA, reason=" the worker has memory now ")
    (target,) = await path.targets()
    assert (target["state"], target["claims"], target["failures"]) == ("active", 9, 7)
    assert await path.owed_targets() == [target["id"]], "due at once"
    await path.drain()
    assert await path.is_granted()
    assert (await list_dead(path.context, None)).data == []
    (entry,) = await audited(path)
    assert (entry["actor"], entry["action"], entry["project"]) == ("cli:anna", "dead.retry", "acme")
    assert (entry["subject_kind"], entry["subject_id"]) == ("customer", customer)
    assert entry["reason"] == "the worker has memory now"
    assert "u_1" not in entry["details"]


async def test_a_retried_target_that_is_still_broken_gives_up_at_once(path: EventPath) -> None:
    refund = await kill_refund(path)
    await retry_dead(path.context, None, refund, ANNA)
    (target,) = await path.owed_targets()
    assert (await path.syncer.sync_target(target)).outcomes == ("dead",)
    assert [one.id for one in (await list_dead(path.context, None)).data] == [refund]


async def test_a_retried_event_gets_all_its_tries_again(path: EventPath) -> None:
    event, subscription = await fail_subscription(path)
    await path.stripe.change_subscription(subscription, created=1_790_000_000)
    retried = await retry_dead(path.context, None, event, ANNA)
    assert retried.reopened == (event,)
    (row,) = await path.rows("SELECT state, tries, reason FROM webhook_events WHERE event_id = $1", event)
    assert row == {"state": "pending", "tries": 0, "reason": None}
    await make_due(path)
    await path.drain()
    assert await path.is_granted()
    (entry,) = await audited(path)
    assert (entry["subject_kind"], entry["subject_id"]) == ("event", event)


async def test_a_retried_target_takes_its_failed_events_along(path: EventPath) -> None:
    event, subscription = await fail_subscription(path)
    (target,) = await path.targets()
    await path.execute(
        "UPDATE sync_targets SET state = 'dead', dirty_seq = dirty_seq + 1, last_error = 'a bug'"
    )
    await path.stripe.change_subscription(subscription, created=1_790_000_000)
    assert (await retry_dead(path.context, None, target["stripe_id"], ANNA)).reopened == (event,)
    await path.drain()
    assert await path.is_granted()


async def test_what_went_on_by_itself_is_not_there_to_retry(path: EventPath) -> None:
    customer = await kill_customer(path)
    await retry_dead(path.context, None, customer, ANNA)
    with pytest.raises(Unknown, match="goes on"):
        await retry_dead(path.context, None, customer, ANNA)
    assert len(await audited(path)) == 1


async def test_of_two_operators_at_once_one_acts_and_the_other_is_told(path: EventPath) -> None:
    customer = await kill_customer(path)
    verbs = (
        retry_dead(path.context, None, customer, ANNA),
        retry_dead(path.context, None, customer, ANNA),
        discard_dead(path.context, None, customer, "spam", ANNA),
        discard_dead(path.context, None, customer, "spam", ANNA),
    )
    ends = await asyncio.gather(*verbs, return_exceptions=True)
    refused = [end for end in ends if isinstance(end, Conflict | Unknown)]
    assert len(refused) == 3
    assert len(await audited(path)) == 1


async def test_a_target_revived_while_an_operator_waits_for_its_lock_is_left_alone(path: EventPath) -> None:
    customer = await kill_customer(path)
    async with path.context.database.transaction() as connection:
        assert await dead_store.lock_target(connection, TargetRef("customer", customer)) == "dead"
        acting = asyncio.create_task(discard_dead(path.context, None, customer, "spam", ANNA))
        await until_somebody_waits(path)
        await connection.execute("UPDATE sync_targets SET state = 'active'")
    with pytest.raises(Conflict, match="went on meanwhile"):
        await acting
    assert (await path.states())["pending"] == 1


async def until_somebody_waits(path: EventPath) -> None:
    async with asyncio.timeout(10):
        while not await path.rows(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            pass


# ── discard ──


async def test_a_discarded_target_owes_nothing_and_keeps_the_last_answer(path: EventPath) -> None:
    customer = await kill_customer(path)
    discarded = await discard_dead(path.context, None, customer, "a test purchase", ANNA)
    (event,) = await path.rows("SELECT * FROM webhook_events WHERE type = 'checkout.session.completed'")
    assert discarded.discarded == (event["event_id"],)
    assert (event["state"], event["reason"]) == ("ignored", "discarded: a test purchase")
    assert (event["target_kind"], event["target_ref"]) == (None, None)
    (target,) = await path.targets()
    assert (target["state"], target["last_error"]) == ("active", None)
    assert await path.count_owed() == 0
    assert (await list_dead(path.context, None)).data == []
    assert not await path.is_granted()
    (entry,) = await audited(path)
    assert (entry["action"], entry["reason"]) == ("dead.discard", "a test purchase")
    details = msgspec.json.decode(entry["details"])
    assert details == {"target": {"customer": customer}, "events": [event["event_id"]]}


async def test_what_was_discarded_stays_so_until_somebody_asks_for_it_by_name(path: EventPath) -> None:
    event, subscription = await fail_subscription(path)
    await discard_dead(path.context, None, event, "made by hand in the dashboard", ANNA)
    assert (await requeue(path.context)).event_ids == ()
    trace = await trace_user(path.context, "acme", "u_1")
    assert "events" not in {link.name for link in trace.links if link.state == "broken"}
    await path.stripe.change_subscription(subscription, created=1_790_000_000)
    assert (await requeue(path.context, [event])).event_ids == (event,)
    await make_due(path)
    await path.drain()
    assert await path.is_granted()


async def test_a_new_event_after_a_discard_gets_every_try(path: EventPath) -> None:
    refund = await kill_refund(path)
    await discard_dead(path.context, None, refund, "of another system", ANNA)
    await path.deliver(refund_event(refund, "evt_later"))
    (target,) = await path.owed_targets()
    assert (await path.syncer.sync_target(target)).outcomes == ("failed",)
    (row,) = await path.targets()
    assert (row["state"], row["failures"]) == ("active", 1)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "a\0b"])
async def test_a_discard_says_why_or_does_nothing(path: EventPath, reason: str) -> None:
    refund = await kill_refund(path)
    with pytest.raises(Invalid):
        await discard_dead(path.context, None, refund, reason, ANNA)
    assert (await path.states())["pending"] == 1
    assert await audited(path) == []


async def test_a_discard_that_cannot_be_audited_does_not_happen(path: EventPath) -> None:
    refund = await kill_refund(path)
    await path.execute("ALTER TABLE audit_log ADD CONSTRAINT refused CHECK (actor <> 'cli:anna')")
    with pytest.raises(Exception, match="refused"):
        await discard_dead(path.context, None, refund, "of another system", ANNA)
    (target,) = await path.targets()
    assert target["state"] == "dead"
    assert (await path.states())["pending"] == 1
