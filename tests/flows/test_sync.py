"""From a delivered hint to an answer: whatever the order, the number and the version of deliveries."""

import itertools
import random

from tests.flows.event_path import EventPath

USED_BY_A_PURCHASE = (
    "checkout.session.completed",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.created",
    "customer.updated",
)


async def test_a_paid_checkout_becomes_an_entitlement_with_its_source(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer, "pro", "month", quantity=5)
    for event in await path.events():
        await path.deliver(event)
    await path.drain()
    answer = await path.answer()
    assert answer["export"]["granted"] is True
    assert answer["export"]["reason"] == "subscription_active"
    assert answer["seats"]["value"] == 5
    (source,) = answer["export"]["sources"]
    assert (source["plan"], source["price"], source["revision"]) == ("pro", "month", 1)
    assert await path.count_owed() == 0
    assert set(await path.states()) == {"processed", "ignored"}


async def test_a_one_time_purchase_gives_access_until_its_duration_is_over(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer, "pass", "once")
    for event in await path.events():
        await path.deliver(event)
    await path.drain()
    stored = await path.stored()
    assert stored is not None
    assert len(stored.segments) == 2
    assert (await path.answer())["export"]["reason"] == "purchase"
    (purchase,) = await path.rows("SELECT * FROM purchases")
    first = stored.segments[0]
    assert first.ends_at is not None
    assert (first.ends_at - purchase["paid_at"]).days == 30


async def test_the_same_event_twice_is_one_row_and_one_recompute(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    (event,) = await path.events(types=["checkout.session.completed"])
    first = await path.deliver(event)
    second = await path.deliver(event)
    assert not first.is_duplicate
    assert second.is_duplicate
    assert second.owed == first.owed
    await path.drain()
    third = await path.deliver(event)
    assert third.is_duplicate
    assert third.owed == ()
    assert await path.drain() == []
    stored = await path.stored()
    assert stored is not None
    assert stored.last_version == 1


async def test_every_order_of_a_purchases_events_ends_in_the_same_answer(path: EventPath) -> None:
    # Each order is a user of its own, so that no order profits from what another one left behind.
    kinds = ("checkout.session.completed", "customer.subscription.created", "customer.updated")
    answers = set()
    for number, order in enumerate(itertools.permutations(kinds)):
        customer = await path.make_customer(f"u_{number}")
        await path.buy(customer, "pro", "month", quantity=2)
        mine = {
            event["type"]: event
            for event in await path.events(types=kinds)
            if customer in (event["data"]["object"]["id"], event["data"]["object"].get("customer"))
        }
        for kind in order:
            if kind in mine:
                await path.deliver(mine[kind])
                await path.drain()
        answer = await path.answer(f"u_{number}")
        answers.add((answer["export"]["granted"], answer["seats"]["value"], answer["export"]["reason"]))
    assert answers == {(True, 2, "subscription_active")}


async def test_events_shuffled_and_threefold_with_syncs_in_between_end_in_the_same_answer(
    path: EventPath,
) -> None:
    chance = random.Random(7)  # noqa: S311 - a fixed shuffle
    customer = await path.make_customer()
    await path.buy(customer, "pro", "month", quantity=3)
    await path.buy(customer, "pass", "once")
    deliveries = (await path.events()) * 3
    chance.shuffle(deliveries)
    for event in deliveries:
        await path.deliver(event)
        if chance.random() < 0.3:
            await path.drain()
    await path.drain()
    answer = await path.answer()
    assert answer["seats"]["value"] == 3
    # pro gives 50 projects, the pass 10: base plans do not add up.
    assert answer["projects"]["value"] == 50
    assert await path.count_owed() == 0


async def test_a_forged_payload_grants_nothing_because_only_the_read_object_counts(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.open_checkout(customer)
    forged = {
        "id": "evt_forged",
        "object": "event",
        "type": "customer.subscription.created",
        "created": 1,
        "livemode": False,
        "data": {
            "object": {"id": "sub_forged", "object": "subscription", "customer": customer, "status": "active"}
        },
    }
    await path.deliver(forged)
    await path.drain()
    assert not await path.is_granted()
    (row,) = await path.rows("SELECT state, reason FROM webhook_events WHERE event_id = 'evt_forged'")
    assert (row["state"], row["reason"]) == ("foreign", "object_missing")


async def test_a_canceled_subscription_ends_access_and_a_late_created_event_does_not_bring_it_back(
    path: EventPath,
) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    (created,) = await path.events(types=["customer.subscription.created"])
    await path.deliver(created)
    await path.drain()
    assert await path.is_granted()
    subscription = created["data"]["object"]["id"]
    await path.stripe.change_subscription(subscription, status="canceled", ended_at=created["created"])
    for event in await path.events(types=["customer.subscription.updated"]):
        await path.deliver(event)
    await path.drain()
    assert not await path.is_granted()
    assert (await path.answer())["export"]["reason"] == "subscription_canceled"
    await path.deliver({**created, "id": "evt_late"})
    await path.drain()
    assert not await path.is_granted()


async def test_a_user_with_two_customers_has_the_sources_of_both(path: EventPath) -> None:
    first = await path.make_customer()
    second = await path.make_customer()
    await path.buy(first, "pro", "month", quantity=4)
    await path.buy(second, "founder", "once")
    for event in await path.events():
        await path.deliver(event)
    await path.drain()
    answer = await path.answer()
    assert answer["projects"]["value"] == 100
    assert answer["seats"]["value"] == 4


async def test_the_answer_is_in_the_cache_with_the_version_of_the_database(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    for event in await path.events():
        await path.deliver(event)
    await path.drain()
    stored, cached = await path.stored(), await path.cached()
    assert stored is not None
    assert cached is not None
    assert cached.first_version == stored.first_version
    assert [bytes(segment.entitlements) for segment in cached.segments] == [
        bytes(segment.entitlements) for segment in stored.segments
    ]


async def test_only_apps_of_the_users_project_get_an_answer(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    for event in await path.events():
        await path.deliver(event)
    await path.drain()
    rows = await path.rows("SELECT app, project FROM entitlements ORDER BY app")
    assert rows == [{"app": "editor", "project": "acme"}, {"app": "viewer", "project": "acme"}]
