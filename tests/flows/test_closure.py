"""What is read with an object: to the end of its lists, to its customer, again where Stripe is behind."""

import random
import uuid
from typing import Any

import pytest

from domain.flows.sweep import fire_timers
from domain.settings import Settings
from tests.flows.event_path import EventPath, running_path

TABLES = ("subscriptions", "purchases", "invoices", "invoice_payments", "payments", "refunds", "disputes")


async def deliver_all(path: EventPath) -> None:
    for event in await path.events():
        await path.deliver(event)
    await path.drain()


async def deliver(path: EventPath, event_type: str, shown: dict[str, Any]) -> str:
    """An event about an object, delivered and synced; answers its id."""
    event_id = f"evt_{uuid.uuid4().hex}"
    data = {"object": shown}
    await path.deliver(
        {"id": event_id, "object": "event", "type": event_type, "livemode": False, "data": data}
    )
    await path.drain()
    return event_id


async def ended(path: EventPath, event_id: str) -> tuple[str, str | None]:
    (row,) = await path.rows("SELECT state, reason FROM webhook_events WHERE event_id = $1", event_id)
    return row["state"], row["reason"]


async def mirrored(path: EventPath) -> dict[str, int]:
    counts = [await path.rows(f"SELECT count(*) AS n FROM {table}") for table in TABLES]
    return {table: rows[0]["n"] for table, rows in zip(TABLES, counts, strict=True)}


# ── to the end of every list ──


async def test_an_invoice_with_more_lines_than_stripe_nests_is_read_to_its_end(path: EventPath) -> None:
    customer = await path.make_customer()
    invoice = await path.make_invoice(customer, *["price_acme.pass.once"] * 13)
    await path.create(f"/v1/invoices/{invoice}/pay", {"paid_out_of_band": True})
    await deliver_all(path)
    assert len(await path.rows("SELECT 1 FROM invoice_lines")) == 13
    assert len((await path.facts()).purchases) == 13


async def test_a_subscription_with_more_items_than_stripe_nests_is_read_to_its_end(path: EventPath) -> None:
    customer = await path.make_customer()
    session = await path.buy(customer, "pro", "month")
    found = await path.retrieve(f"/v1/checkout/sessions/{session}")
    price = await path.retrieve("/v1/prices/price_acme.pro.month")
    for number in range(12):
        made = await path.create(
            "/v1/prices",
            {
                "product": price["product"],
                "currency": "usd",
                "unit_amount": 100 + number,
                "recurring": {"interval": "month"},
            },
        )
        await path.create(
            "/v1/subscription_items", {"subscription": found["subscription"], "price": made["id"]}
        )
    await deliver_all(path)
    (subscription,) = (await path.facts()).subscriptions
    assert len(subscription.items) == 13


@pytest.mark.parametrize("attempts", [0, 5, 7])
async def test_everything_of_a_customer_is_read_in_pages_however_small(
    path: EventPath, attempts: int
) -> None:
    customer = await path.make_customer()
    for _ in range(3):
        await path.buy(customer, "pass", "once")
        await path.make_invoice(customer, "price_acme.pass.once")
    await path.buy(customer, "pro", "month")
    (bought,) = (await path.retrieve("/v1/charges?limit=1"))["data"]
    await path.create("/v1/refunds", {"charge": bought["id"], "amount": 10})
    target = await path.mark("customer_all", customer)
    # After failures a run reads smaller pages: what did not fit into one run must fit into more.
    await path.execute("UPDATE sync_targets SET attempts = $1 WHERE id = $2", attempts, target)
    await path.syncer.sync_target(target)
    await path.execute("UPDATE sync_targets SET attempts = $1", attempts)
    for _ in range(30):
        await path.drain()
    assert await mirrored(path) == {
        "subscriptions": 1,
        "purchases": 3,
        "invoices": 4,
        # One each: an invoice that waits to be paid has one that is open.
        "invoice_payments": 4,
        "payments": 4,
        "refunds": 1,
        "disputes": 0,
    }
    assert await path.count_owed() == 0


async def test_what_a_link_reads_is_what_the_events_would_have_told(path: EventPath) -> None:
    told = await path.make_customer("u_told")
    await buy_much(path, told)
    await deliver_all(path)
    asked = await path.make_customer("u_asked")
    await buy_much(path, asked)
    await path.mark("customer_all", asked)
    await path.drain()
    first, second = [await path.answer(user) for user in ("u_told", "u_asked")]
    assert _shape(first) == _shape(second)
    both = [await path.facts(user) for user in ("u_told", "u_asked")]
    assert [len(facts.purchases) for facts in both] == [2, 2]
    refunds = [sorted(len(one.refunds) for one in facts.purchases) for facts in both]
    assert refunds == [[0, 1], [0, 1]]


async def buy_much(path: EventPath, customer: str) -> None:
    session = await path.buy(customer, "pass", "once")
    intent = (await path.retrieve(f"/v1/checkout/sessions/{session}"))["payment_intent"]
    await path.create("/v1/refunds", {"payment_intent": intent})
    await path.buy(customer, "pass", "once")
    await path.buy(customer, "pro", "month", quantity=2)


def _shape(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: (one["granted"], one["value"], one["reason"]) for key, one in answer.items()}


# ── to the customer ──


async def test_every_event_of_a_purchase_without_its_customer_finds_it(path: EventPath) -> None:
    customer = await path.make_customer()
    session = await path.buy(customer, "pass", "once")
    intent = (await path.retrieve(f"/v1/checkout/sessions/{session}"))["payment_intent"]
    await path.create("/v1/refunds", {"payment_intent": intent, "amount": 10})
    await path.stripe.dispute(intent)
    await path.buy(customer, "pro", "month")
    bare = [
        (event["type"], {"id": event["data"]["object"]["id"]})
        for event in await path.events()
        if not event["type"].startswith(("customer.created", "customer.updated"))
    ]
    random.Random(3).shuffle(bare)  # noqa: S311 - a fixed shuffle
    for event_type, shown in bare:
        await deliver(path, event_type, shown)
    states = await path.rows(
        "SELECT state, reason, type FROM webhook_events WHERE state NOT IN ('processed', 'ignored')"
    )
    assert states == []
    assert (await path.answer())["export"]["reason"] == "subscription_active"
    assert await mirrored(path) == {
        "subscriptions": 1,
        "purchases": 1,
        "invoices": 1,
        "invoice_payments": 1,
        "payments": 2,
        "refunds": 1,
        "disputes": 1,
    }


async def test_a_payment_of_a_guest_is_foreign(path: EventPath) -> None:
    session = await path.buy(None, "pass", "once")
    intent = (await path.retrieve(f"/v1/checkout/sessions/{session}"))["payment_intent"]
    event_id = await deliver(path, "payment_intent.succeeded", {"id": intent})
    assert await ended(path, event_id) == ("foreign", "no_customer")
    assert await path.rows("SELECT 1 FROM payments") == []


async def test_money_of_an_unlinked_customer_is_foreign_without_a_read(path: EventPath) -> None:
    stranger = await path.make_stripe_customer()
    before = (await path.stripe.stats())["total_calls"]
    event_id = await deliver(path, "charge.refunded", {"id": "ch_1", "customer": stranger})
    assert await ended(path, event_id) == ("foreign", "unlinked_customer")
    assert (await path.stripe.stats())["total_calls"] == before


async def test_an_object_of_another_customer_is_marked_there(path: EventPath) -> None:
    mine, theirs = await path.make_customer("u_1"), await path.make_customer("u_2")
    invoice = await path.make_invoice(theirs, "price_acme.pass.once")
    await path.create(f"/v1/invoices/{invoice}/pay", {"paid_out_of_band": True})
    await deliver(path, "invoice.paid", {"id": invoice, "customer": mine})
    assert (await path.answer("u_2"))["export"]["reason"] == "purchase"
    rows = await path.rows("SELECT stripe_customer_id FROM invoices")
    assert rows == [{"stripe_customer_id": theirs}]


async def test_a_payment_of_nobody_that_an_event_claims_for_a_customer_is_not_theirs(
    path: EventPath,
) -> None:
    customer = await path.make_customer()
    session = await path.buy(None, "pass", "once")
    intent = (await path.retrieve(f"/v1/checkout/sessions/{session}"))["payment_intent"]
    charge = (await path.retrieve(f"/v1/payment_intents/{intent}"))["latest_charge"]
    await deliver(path, "charge.refunded", {"id": charge, "customer": customer})
    assert await mirrored(path) == dict.fromkeys(TABLES, 0)
    assert await path.count_owed() == 0


async def test_objects_that_name_each_other_and_two_customers_are_not_passed_on_for_ever(
    path: EventPath,
) -> None:
    mine, theirs = await path.make_customer("u_1"), await path.make_customer("u_2")
    session = await path.buy(mine, "pass", "once")
    intent = (await path.retrieve(f"/v1/checkout/sessions/{session}"))["payment_intent"]
    charge = path.stripe.account.load(
        "charge", (await path.retrieve(f"/v1/payment_intents/{intent}"))["latest_charge"]
    )
    path.stripe.account.put("charge", {**charge, "customer": theirs})
    await deliver(path, "checkout.session.completed", {"id": session, "customer": mine})
    assert await path.count_owed() == 0
    rows = await path.rows("SELECT stripe_customer_id FROM payments")
    assert rows == [{"stripe_customer_id": theirs}]


# ── again, where Stripe is behind ──


async def test_a_payment_on_no_list_yet_is_asked_for_three_times(path: EventPath) -> None:
    customer = await path.make_customer()
    made = await path.create("/v1/payment_intents", {"customer": customer, "amount": 500, "currency": "usd"})
    event_id = await deliver(path, "payment_intent.canceled", {"id": made["id"], "customer": customer})
    for left in (1, 1, 1, 0):
        await path.make_due("recheck")
        assert len(await fire_timers(path.context)) == left
        await path.drain()
    assert await ended(path, event_id) == ("processed", None)


async def test_a_refund_that_stripe_does_not_show_yet_is_read_again(settings: Settings) -> None:
    async with running_path(settings) as path:
        customer = await path.make_customer()
        session = await path.buy(customer, "pass", "once")
        await deliver_all(path)
        intent = (await path.retrieve(f"/v1/checkout/sessions/{session}"))["payment_intent"]
        made = await path.create("/v1/refunds", {"payment_intent": intent})
        (event,) = await path.events(types=["refund.created"])
        missing = {"error": {"type": "invalid_request_error", "code": "resource_missing"}}
        await path.stripe.fail(f"/v1/refunds/{made['id']}", status=404, times=1, body=missing)
        await path.deliver({**event, "data": {"object": {**event["data"]["object"], "customer": customer}}})
        await path.drain()
        assert await path.is_granted()
        await path.make_due("recheck")
        await fire_timers(path.context)
        await path.drain()
        assert (await path.answer())["export"]["reason"] == "refunded"


async def test_more_than_three_vanished_objects_stop_the_writing_and_settle_nothing(path: EventPath) -> None:
    customer = await path.make_customer()
    for _ in range(5):
        await path.buy(customer, "pass", "once")
    await deliver_all(path)
    sessions = await path.rows("SELECT DISTINCT object_id FROM purchases ORDER BY 1")
    missing = {"error": {"type": "invalid_request_error", "code": "resource_missing"}}
    await path.stripe.fail("/v1/checkout/sessions/*", status=404, times=1000, body=missing)
    for row in sessions:
        await path.deliver(
            {
                "id": f"evt_{row['object_id']}",
                "object": "event",
                "type": "checkout.session.completed",
                "livemode": False,
                "data": {"object": {"id": row["object_id"], "customer": customer}},
            }
        )
    (target,) = await path.owed_targets()
    assert (await path.syncer.sync_target(target)).outcomes == ("failed",)
    (row,) = await path.rows("SELECT last_error, state, failures FROM sync_targets WHERE id = $1", target)
    assert (row["state"], row["failures"]) == ("active", 0)
    assert "TOLLHOUSE_STRIPE_SECRET_KEY" in row["last_error"]
    assert (await path.states())["pending"] == 5
    assert await path.is_granted()
