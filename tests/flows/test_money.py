"""Invoices, refunds and disputes: what reaches the answers, read from Stripe through the whole closure."""

import random
import uuid
from typing import Any

import pytest

from tests.flows.event_path import EventPath

MONEY_BACK = ("refund", "charge", "dispute")


async def deliver_all(path: EventPath, *, shuffled: int | None = None) -> None:
    """Deliver every event Stripe has made, each twice and in a random order where a seed is given."""
    events = await path.events()
    if shuffled is not None:
        events = [*events, *events]
        random.Random(shuffled).shuffle(events)  # noqa: S311 - a fixed shuffle
    for event in events:
        await path.deliver(event)
    await path.drain()


async def deliver_only(path: EventPath, *prefixes: str) -> None:
    for event in await path.events():
        if event["type"].startswith(prefixes):
            await path.deliver({**event, "id": f"evt_{uuid.uuid4().hex}"})
    await path.drain()


async def buy_pass(path: EventPath) -> str:
    """A user with a paid pass, everything delivered; answers its payment intent."""
    customer = await path.make_customer()
    session = await path.buy(customer, "pass", "once")
    await deliver_all(path)
    assert await path.is_granted()
    found = await path.retrieve(f"/v1/checkout/sessions/{session}")
    return str(found["payment_intent"])


async def export(path: EventPath) -> dict[str, Any]:
    found: dict[str, Any] = (await path.answer())["export"]
    return found


async def refund(path: EventPath, intent: str, **params: Any) -> str:
    made = await path.create("/v1/refunds", {"payment_intent": intent, **params})
    return str(made["id"])


# ── refunds of a purchase ──


@pytest.mark.parametrize("prefix", ["refund.", "charge.refunded"])
async def test_a_full_refund_ends_a_purchase_by_either_of_its_events(path: EventPath, prefix: str) -> None:
    intent = await buy_pass(path)
    await refund(path, intent)
    await deliver_only(path, prefix)
    found = await export(path)
    assert (found["granted"], found["reason"]) == (False, "refunded")
    assert await path.count_owed() == 0


async def test_a_partial_refund_keeps_the_purchase_and_is_flagged(path: EventPath) -> None:
    intent = await buy_pass(path)
    await refund(path, intent, amount=100)
    await deliver_only(path, "refund.")
    found = await export(path)
    assert (found["granted"], found["flags"]) == (True, ["partially_refunded"])


async def test_refunds_that_add_up_to_the_whole_end_it_and_one_that_fails_restores_it(
    path: EventPath,
) -> None:
    intent = await buy_pass(path)
    await refund(path, intent, amount=100)
    rest = await refund(path, intent)
    await deliver_only(path, "refund.")
    assert not await path.is_granted()
    await path.stripe.fail_refund(rest)
    await deliver_only(path, "refund.failed")
    found = await export(path)
    assert (found["granted"], found["flags"]) == (True, ["partially_refunded"])


async def test_a_refund_whose_events_name_no_customer_finds_it_through_its_charge(path: EventPath) -> None:
    intent = await buy_pass(path)
    refund_id = await refund(path, intent)
    await path.deliver(
        {
            "id": "evt_bare",
            "object": "event",
            "type": "refund.updated",
            "livemode": False,
            "data": {"object": {"id": refund_id, "object": "refund"}},
        }
    )
    await path.drain()
    assert not await path.is_granted()
    rows = await path.rows("SELECT kind, owner FROM sync_targets WHERE kind = 'refund'")
    assert rows == [{"kind": "refund", "owner": "unknown"}]
    (event,) = await path.rows("SELECT target_kind, state FROM webhook_events WHERE event_id = 'evt_bare'")
    assert event == {"target_kind": "customer", "state": "processed"}


async def test_a_refund_of_a_renewal_takes_nothing_away(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer, "pro", "month")
    await deliver_all(path)
    (charge,) = await path.rows("SELECT stripe_charge_id, payment_intent_id FROM payments")
    await refund(path, charge["payment_intent_id"])
    await deliver_only(path, "refund.", "charge.")
    assert await path.is_granted()
    (row,) = await path.rows("SELECT refunded_minor = amount_minor AS whole FROM payments")
    assert row["whole"]


# ── disputes ──


async def test_a_dispute_suspends_a_purchase_and_winning_it_restores_it(path: EventPath) -> None:
    intent = await buy_pass(path)
    dispute = await path.stripe.dispute(intent)
    await deliver_only(path, "charge.dispute")
    assert (await export(path))["reason"] == "disputed"
    await path.stripe.move_dispute(dispute["id"], "won")
    await deliver_only(path, "charge.dispute")
    assert (await export(path))["reason"] == "purchase"


async def test_a_lost_dispute_ends_a_purchase(path: EventPath) -> None:
    intent = await buy_pass(path)
    dispute = await path.stripe.dispute(intent)
    await path.stripe.move_dispute(dispute["id"], "lost")
    await deliver_only(path, "charge.dispute")
    assert (await export(path))["reason"] == "disputed"


async def test_a_dispute_of_the_latest_invoice_suspends_a_subscription_until_a_later_one_is_paid(
    path: EventPath,
) -> None:
    clock = await path.make_clock()
    customer = await path.make_customer(test_clock=clock)
    await path.buy(customer, "pro", "month")
    await deliver_all(path)
    (charge,) = await path.rows("SELECT payment_intent_id FROM payments")
    await path.stripe.dispute(charge["payment_intent_id"])
    await deliver_only(path, "charge.dispute")
    assert (await export(path))["reason"] == "disputed"
    await path.advance(clock, days=32)
    await deliver_all(path)
    assert (await export(path))["reason"] == "subscription_active"


# ── invoices ──


async def test_a_failed_renewal_is_grace_from_the_invoice_on_and_recovery_ends_it(path: EventPath) -> None:
    clock = await path.make_clock()
    customer = await path.make_customer(test_clock=clock)
    await path.buy(customer, "pro", "month")
    await path.stripe.change_card(customer, "pm_card_chargeCustomerFail")
    await path.advance(clock, days=32)
    await deliver_all(path)
    found = await export(path)
    assert (found["granted"], found["reason"]) == (True, "in_grace")
    (invoice,) = await path.rows("SELECT finalized_at FROM invoices WHERE status = 'open'")
    (ends,) = await path.rows(
        "SELECT $1::timestamptz = $2::timestamptz AS same",
        invoice["finalized_at"],
        (await path.facts()).subscriptions[0].first_failure_at,
    )
    assert ends["same"]


async def test_an_invoice_by_itself_is_a_purchase_when_it_is_paid_outside_stripe(path: EventPath) -> None:
    customer = await path.make_customer()
    invoice = await path.make_invoice(customer, "price_acme.pass.once")
    await path.create(f"/v1/invoices/{invoice}/pay", {"paid_out_of_band": True})
    await deliver_all(path)
    found = await export(path)
    assert (found["reason"], found["sources"][0]["id"]) == ("purchase", invoice)
    (row,) = await path.rows("SELECT object_kind, captured_minor FROM purchases")
    assert row == {"object_kind": "invoice", "captured_minor": 0}


async def test_the_order_of_all_events_never_matters_for_money(path: EventPath) -> None:
    answers = set()
    for seed in range(4):
        user_id = f"u_{seed}"
        customer = await path.make_customer(user_id)
        session = await path.buy(customer, "pass", "once")
        found = await path.retrieve(f"/v1/checkout/sessions/{session}")
        await refund(path, found["payment_intent"], amount=100)
        await path.buy(customer, "pro", "month")
        await deliver_all(path, shuffled=seed)
        answer = (await path.answer(user_id))["export"]
        answers.add((answer["granted"], answer["reason"], tuple(answer.get("flags", ()))))
        assert await path.count_owed() == 0
    assert len(answers) == 1, answers


async def test_a_delayed_payment_is_paid_when_it_arrives_and_stays_so(path: EventPath) -> None:
    clock = await path.make_clock()
    customer = await path.make_customer(test_clock=clock)
    session = await path.open_checkout(customer, "pass", "once")
    await path.stripe.pay_later(session)
    await deliver_all(path)
    assert not await path.is_granted()
    await path.advance(clock, days=4)
    await path.stripe.settle(session)
    (arrived,) = await path.events(types=["checkout.session.async_payment_succeeded"])
    await deliver_all(path)
    (bought,) = (await path.facts()).purchases
    assert bought.paid_at.timestamp() == arrived["created"]
    (charge,) = await path.rows("SELECT created_at FROM payments")
    assert (bought.paid_at - charge["created_at"]).days >= 4
    # Stripe lists events for 30 days; what was read once is kept.
    (completed,) = await path.events(types=["checkout.session.completed"])
    await path.stripe.fail("/v1/events", status=200, times=100, body={"data": [], "has_more": False})
    await path.deliver({**completed, "id": "evt_again"})
    await path.drain()
    (again,) = (await path.facts()).purchases
    assert again.paid_at == bought.paid_at


async def test_a_one_time_line_of_a_subscriptions_checkout_is_a_purchase_once(path: EventPath) -> None:
    customer = await path.make_customer()
    made = await path.create(
        "/v1/checkout/sessions",
        {
            "mode": "subscription",
            "customer": customer,
            "line_items": [
                {"price": "price_acme.pro.month", "quantity": 1},
                {"price": "price_acme.pass.once", "quantity": 1},
            ],
            "success_url": "http://localhost:3000/ok",
            "cancel_url": "http://localhost:3000/no",
        },
    )
    await path.stripe.pay(made["id"])
    await deliver_all(path, shuffled=11)
    (bought,) = (await path.facts()).purchases
    (invoice,) = await path.rows("SELECT paid_at, total_minor FROM invoices")
    assert (bought.object_id, bought.paid_at) == (made["id"], invoice["paid_at"])
    assert bought.captured_minor == invoice["total_minor"]
    (charge,) = await path.rows("SELECT payment_intent_id FROM payments")
    await refund(path, charge["payment_intent_id"])
    await deliver_only(path, "refund.")
    facts = await path.facts()
    assert [one.status for one in facts.purchases[0].refunds] == ["succeeded"]
    assert facts.subscriptions[0].status == "active"
    assert await path.is_granted(), "a refund takes the purchase, not the subscription"


async def test_an_open_invoice_paid_by_card_is_a_purchase_that_a_refund_ends(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.stripe.change_card(customer, "pm_card_visa")
    invoice = await path.make_invoice(
        customer, "price_acme.pass.once", collection_method="charge_automatically", days_until_due=None
    )
    await path.create(f"/v1/invoices/{invoice}/pay", {})
    await deliver_all(path)
    assert (await export(path))["reason"] == "purchase"
    (row,) = await path.rows("SELECT payment_intent_id FROM invoice_payments WHERE status = 'paid'")
    await refund(path, row["payment_intent_id"])
    await deliver_only(path, "refund.")
    assert (await export(path))["reason"] == "refunded"


async def test_a_trial_that_does_not_convert_is_grace_after_a_trial(path: EventPath) -> None:
    clock = await path.make_clock()
    customer = await path.make_customer(test_clock=clock)
    made = await path.create(
        "/v1/checkout/sessions",
        {
            "mode": "subscription",
            "customer": customer,
            "line_items": [{"price": "price_acme.pro.month", "quantity": 1}],
            "subscription_data": {"trial_period_days": 14},
            "success_url": "http://localhost:3000/ok",
            "cancel_url": "http://localhost:3000/no",
        },
    )
    await path.stripe.pay(made["id"])
    await path.stripe.change_card(customer, "pm_card_chargeCustomerFail")
    await path.advance(clock, days=15)
    await deliver_all(path)
    (subscription,) = (await path.facts()).subscriptions
    assert (subscription.status, subscription.is_failing_after_trial) == ("past_due", True)
    assert [item.is_paid_for for item in subscription.items] == [True], "by the trial's invoice of nothing"
    assert (await export(path))["reason"] == "in_grace"


async def test_a_void_pause_keeps_access_to_what_is_paid(path: EventPath) -> None:
    customer = await path.make_customer()
    session = await path.buy(customer, "pro", "month")
    found = await path.retrieve(f"/v1/checkout/sessions/{session}")
    await path.create(
        f"/v1/subscriptions/{found['subscription']}", {"pause_collection": {"behavior": "void"}}
    )
    await deliver_all(path)
    (subscription,) = (await path.facts()).subscriptions
    assert subscription.paid_through == subscription.items[0].period_end
    stored = await path.stored()
    assert stored is not None
    assert stored.segments[0].ends_at == subscription.paid_through
