"""Whose an object is: our own rows decide, and what is not ours costs no read of Stripe."""

import asyncio
import uuid
from typing import Any

import msgspec
import pytest

from domain.flows.link import link_customer
from domain.flows.sweep import fire_timers
from tests.flows.event_path import EventPath


async def deliver_all(path: EventPath, *types: str) -> None:
    for event in await path.events(types=types):
        await path.deliver(event)


async def reasons(path: EventPath) -> set[tuple[str, str | None]]:
    return {
        (row["state"], row["reason"]) for row in await path.rows("SELECT state, reason FROM webhook_events")
    }


async def fire_all_timers(path: EventPath) -> int:
    """As if their time had come."""
    await path.make_due("recheck")
    return len(await fire_timers(path.context))


# ── foreign ──


async def test_a_customer_that_is_not_ours_is_foreign_without_a_read_of_stripe(path: EventPath) -> None:
    stranger = await path.make_stripe_customer()
    await path.buy(stranger)
    events = await path.events(types=["checkout.session.completed", "customer.subscription.created"])
    before = len(await path.stripe.deliveries())
    calls = await count_reads(path)
    for event in events:
        await path.deliver(event)
    await path.drain()
    assert await count_reads(path) == calls
    assert await reasons(path) == {("foreign", "unlinked_customer")}
    assert [row["owner"] for row in await path.targets()] == ["foreign"]
    assert await path.rows("SELECT 1 FROM subscriptions") == []
    assert len(await path.stripe.deliveries()) == before


async def count_reads(path: EventPath) -> int:
    stats = await path.stripe.stats()
    return int(sum(found["count"] for found in _calls(stats) if found["method"] == "GET"))


def _calls(stats: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"method": name.split(" ")[0], "count": count if isinstance(count, int) else count["count"]}
        for name, count in stats["calls"].items()
    ]


@pytest.mark.parametrize(
    "metadata", [{"tollhouse_user": "u_1", "tollhouse_project": "acme"}, {"email": "a@b.c"}]
)
async def test_metadata_naming_a_user_links_nothing(path: EventPath, metadata: dict[str, str]) -> None:
    await path.make_customer("u_1")
    stranger = await path.make_stripe_customer(**metadata)
    await path.buy(stranger)
    await deliver_all(path)
    await path.drain()
    assert not await path.is_granted(user_id="u_1")


async def test_an_event_of_another_mode_or_account_is_foreign_at_the_door(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    (event,) = await path.events(types=["checkout.session.completed"])
    await path.deliver({**event, "id": "evt_live", "livemode": True})
    await path.deliver({**event, "id": "evt_other", "account": "acct_other"})
    await path.deliver({**event, "id": "evt_ours", "account": path.stripe.account_id})
    assert await reasons(path) == {("foreign", "other_mode"), ("foreign", "other_account"), ("pending", None)}


async def test_events_stored_before_the_deployment_was_known_are_judged_by_the_worker(
    path: EventPath,
) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    (event,) = await path.events(types=["checkout.session.completed"])
    fixed = await path.rows("DELETE FROM deployment RETURNING account_id, mode, env")
    await path.deliver({**event, "id": "evt_live", "livemode": True})
    await path.deliver(event)
    assert await reasons(path) == {("pending", None)}
    await path.execute(
        "INSERT INTO deployment (account_id, mode, env) VALUES ($1, $2, $3)", *fixed[0].values()
    )
    await path.drain()
    assert await reasons(path) == {("foreign", "other_mode"), ("processed", None)}
    assert await path.is_granted()


async def test_a_guests_checkout_is_foreign(path: EventPath) -> None:
    session = await path.open_checkout(None, "founder", "once")
    (created,) = [await path.retrieve(f"/v1/checkout/sessions/{session}")]
    event = {
        "id": "evt_guest",
        "object": "event",
        "type": "checkout.session.expired",
        "livemode": False,
        "data": {"object": {**created, "customer": None}},
    }
    await path.deliver(event)
    await path.drain()
    assert await reasons(path) == {("foreign", "no_customer")}


# ── linking ──


async def test_a_customer_whose_link_was_lost_in_a_crash_is_linked_by_its_own_event(path: EventPath) -> None:
    customer = await path.make_customer(linked=False)
    await deliver_all(path, "customer.created")
    await path.drain()
    (row,) = await path.rows("SELECT stripe_customer_id FROM stripe_customers")
    assert row["stripe_customer_id"] == customer
    assert [row["owner"] for row in await path.targets()] == ["ours"]


async def test_what_was_foreign_before_the_link_gets_its_turn_after_it(path: EventPath) -> None:
    customer = await path.make_customer(linked=False)
    await path.buy(customer, "pro", "month", quantity=2)
    await deliver_all(path, "customer.subscription.created")
    await path.drain()
    assert await reasons(path) == {("foreign", "unlinked_customer")}
    await deliver_all(path, "customer.created")
    await path.drain()
    assert await path.is_granted()
    assert {state for state, _ in await reasons(path)} == {"processed"}


async def test_a_link_reads_everything_of_the_customer_even_without_its_events(path: EventPath) -> None:
    customer = await path.make_customer(linked=False)
    await path.buy(customer, "pro", "month", quantity=2)
    await path.buy(customer, "founder", "once")
    (row,) = await path.rows("SELECT ref FROM stripe_customers")
    async with path.context.database.transaction() as connection:
        await link_customer(connection, customer, row["ref"], read_all=True)
    await path.drain()
    answer = await path.answer()
    assert (answer["seats"]["value"], answer["projects"]["value"]) == (3, 100)


async def test_a_reference_in_a_payload_counts_only_if_stripe_confirms_it(path: EventPath) -> None:
    await path.make_customer("u_1", linked=False)
    (row,) = await path.rows("SELECT ref FROM stripe_customers")
    thief = await path.make_stripe_customer()
    await path.buy(thief)
    forged = {
        "id": "evt_forged",
        "object": "event",
        "type": "customer.updated",
        "livemode": False,
        "data": {
            "object": {"id": thief, "object": "customer", "metadata": {"tollhouse_ref": str(row["ref"])}}
        },
    }
    await path.deliver(forged)
    await path.drain()
    assert await reasons(path) == {("foreign", "unlinked_customer")}
    for left in (1, 1, 1, 0):
        assert await fire_all_timers(path) == left, "asked again three times, then never"
        await path.drain()
    assert not await path.is_granted()
    (row,) = await path.rows("SELECT stripe_customer_id FROM stripe_customers")
    assert row["stripe_customer_id"] is None


async def test_a_row_that_holds_a_stripe_id_is_never_given_another(path: EventPath) -> None:
    customer = await path.make_customer()
    (row,) = await path.rows("SELECT ref FROM stripe_customers")
    copy = await path.make_stripe_customer(tollhouse_ref=str(row["ref"]))
    await path.buy(copy)
    await deliver_all(path)
    await path.drain()
    (row,) = await path.rows("SELECT stripe_customer_id FROM stripe_customers")
    assert row["stripe_customer_id"] == customer
    assert not await path.is_granted()


async def test_a_ref_that_is_no_uuid_is_only_text(path: EventPath) -> None:
    stranger = await path.make_stripe_customer(tollhouse_ref="'; DROP TABLE users; --")
    await deliver_all(path, "customer.created")
    await path.drain()
    assert [row["stripe_id"] for row in await path.targets()] == [stranger]
    assert await reasons(path) == {("foreign", "unlinked_customer")}


# ── whose object ──


async def test_an_object_whose_customer_is_not_in_the_payload_is_forwarded_to_it(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    (event,) = await path.events(types=["checkout.session.completed"])
    del event["data"]["object"]["customer"]
    await path.deliver(event)
    assert "checkout.session" in {target["kind"] for target in await path.targets()}
    runs = await path.drain()
    assert ("forwarded",) in [run.outcomes for run in runs]
    assert await path.is_granted()
    (row,) = await path.rows("SELECT target_kind, target_ref, state FROM webhook_events")
    assert row == {"target_kind": "customer", "target_ref": customer, "state": "processed"}


async def test_a_thin_event_is_a_hint_like_any_other(path: EventPath) -> None:
    customer = await path.make_customer()
    session = await path.buy(customer)
    thin = {
        "id": "evt_thin",
        "object": "v2.core.event",
        "type": "checkout.session.completed",
        "created": "2026-11-22T13:00:00.000Z",
        "livemode": False,
        "related_object": {"id": session, "type": "checkout.session"},
    }
    await path.deliver(thin)
    await path.drain()
    assert await path.is_granted()


async def test_an_object_of_another_customer_is_marked_there_and_not_written_here(path: EventPath) -> None:
    mine, other = await path.make_customer("u_1"), await path.make_customer("u_2")
    await path.buy(other)
    (event,) = await path.events(types=["customer.subscription.created"])
    event["data"]["object"]["customer"] = mine
    await path.deliver(event)
    await path.drain()
    assert not await path.is_granted(user_id="u_1")
    assert await path.is_granted(user_id="u_2")
    assert {state for state, _ in await reasons(path)} == {"processed"}


async def test_a_deleted_customer_is_no_longer_primary_and_keeps_what_it_paid(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer, "founder", "once")
    await deliver_all(path)
    await path.drain()
    await path.delete_customer(customer)
    await deliver_all(path, "customer.deleted")
    await path.drain()
    (row,) = await path.rows("SELECT is_primary, deleted_at IS NOT NULL AS deleted FROM stripe_customers")
    assert row == {"is_primary": False, "deleted": True}
    assert await path.is_granted()


# ── Stripe answers older than its event ──


async def test_an_object_stripe_does_not_show_yet_is_asked_for_three_times(path: EventPath) -> None:
    customer = await path.make_customer()
    unseen = {
        "id": "evt_unseen",
        "object": "event",
        "type": "customer.subscription.created",
        "livemode": False,
        "data": {"object": {"id": "sub_unseen", "object": "subscription", "customer": customer}},
    }
    await path.deliver(unseen)
    await path.drain()
    assert await reasons(path) == {("foreign", "object_missing")}
    for left in (1, 1, 1, 0):
        assert await fire_all_timers(path) == left
        await path.drain()
    assert await path.count_owed() == 0


async def test_a_read_that_is_older_than_its_event_is_repeated_until_it_shows_it(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    (created,) = await path.events(types=["customer.subscription.created"])
    announced = msgspec.json.decode(msgspec.json.encode(created))
    announced["data"]["object"]["cancel_at"] = 4_000_000_000
    announced["id"] = f"evt_{uuid.uuid4().hex}"
    await path.deliver(announced)
    await path.drain()
    (timer,) = await path.rows("SELECT payload FROM timers WHERE cause = 'recheck'")
    assert msgspec.json.decode(timer["payload"])["count"] == 1
    # Now Stripe shows it.
    await path.stripe.change_subscription(created["data"]["object"]["id"], cancel_at=4_000_000_000)
    assert await fire_all_timers(path) == 1
    await path.drain()
    (row,) = await path.rows("SELECT cancel_at FROM subscriptions")
    assert row["cancel_at"].year == 2096
    assert await path.rows("SELECT * FROM timers WHERE cause = 'recheck'") == []


async def test_a_timer_fired_by_two_at_once_is_one_event(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.deliver(
        {
            "id": "evt_unseen",
            "object": "event",
            "type": "customer.subscription.created",
            "livemode": False,
            "data": {"object": {"id": "sub_unseen", "object": "subscription", "customer": customer}},
        }
    )
    await path.drain()
    await path.execute("UPDATE timers SET due_at = clock_timestamp() - interval '1 s'")
    fired = await asyncio.gather(*(fire_timers(path.context) for _ in range(5)))
    assert sum(len(one) for one in fired) == 1
    assert len(await path.rows("SELECT 1 FROM webhook_events WHERE source = 'timer'")) == 1


async def test_a_thin_event_is_read_once_more_because_there_is_nothing_to_compare_it_with(
    path: EventPath,
) -> None:
    customer = await path.make_customer()
    session = await path.buy(customer)
    await path.deliver(
        {
            "id": "evt_thin",
            "object": "v2.core.event",
            "type": "checkout.session.completed",
            "livemode": False,
            "related_object": {"id": session, "type": "checkout.session"},
        }
    )
    await path.drain()
    assert await fire_all_timers(path) == 1
    await path.drain()
    assert await fire_all_timers(path) == 0


async def test_a_payload_with_a_number_no_machine_has_is_a_hint_all_the_same(path: EventPath) -> None:
    customer = await path.make_customer()
    (created,) = await path.events(types=["customer.created"])
    body = msgspec.json.encode(created).replace(b'"livemode":false', b'"livemode":false,"odd":1e999', 1)
    await path.deliver_bytes(body)
    await path.drain()
    assert customer
    assert await reasons(path) == {("processed", None)}
