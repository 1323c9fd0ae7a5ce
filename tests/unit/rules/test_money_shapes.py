"""Stripe's money objects at the pinned version, as far as they are read."""

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.errors import Broken
from domain.rules.shapes import (
    parse_charge,
    parse_clock,
    parse_dispute,
    parse_invoice,
    parse_invoice_payment,
    parse_price,
    parse_product,
    parse_refund,
    purchases_of_invoice,
)

AT = 1_800_000_000


def when(seconds: int) -> datetime:
    return datetime.fromtimestamp(AT + seconds, tz=UTC)


def line(**changes: Any) -> dict[str, Any]:
    return {
        "id": "il_1",
        "object": "line_item",
        "amount": 2000,
        "quantity": 2,
        "period": {"start": AT, "end": AT + 60},
        "parent": {
            "type": "invoice_item_details",
            "invoice_item_details": {"proration": False, "subscription": None},
            "subscription_item_details": None,
        },
        "pricing": {"price_details": {"price": "price_1", "product": "prod_1"}, "type": "price_details"},
        "discount_amounts": [{"amount": 300, "discount": "di_1"}, {"amount": 200, "discount": "di_2"}],
        "taxes": [{"amount": 120}, {"amount": 30}],
        **changes,
    }


def invoice(*lines: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "id": "in_1",
        "object": "invoice",
        "customer": "cus_1",
        "status": "paid",
        "currency": "eur",
        "created": AT,
        "total": 1650,
        "amount_paid": 1650,
        "amount_remaining": 0,
        "collection_method": "send_invoice",
        "due_date": AT + 10,
        "lines": {"data": list(lines or (line(),))},
        "status_transitions": {"finalized_at": AT + 1, "paid_at": AT + 20, "voided_at": None},
        "total_taxes": [{"amount": 150}],
        "parent": None,
        "hosted_invoice_url": "https://pay.example/1",
        **changes,
    }


def test_an_invoice_is_read_with_its_amounts_and_instants() -> None:
    found = parse_invoice(invoice())
    assert (found.total_minor, found.tax_minor, found.paid_minor, found.remaining_minor) == (
        1650,
        150,
        1650,
        0,
    )
    assert (found.finalized_at, found.due_at, found.paid_at) == (when(1), when(10), when(20))
    assert (found.subscription_id, found.voided_at) == (None, None)
    (read,) = found.lines
    assert (read.amount_minor, read.discount_minor, read.tax_minor, read.quantity) == (2000, 500, 150, 2)
    assert (read.price_id, read.product_id, read.is_one_time) == ("price_1", "prod_1", True)


@pytest.mark.parametrize("subscription", ["sub_1", {"id": "sub_1", "object": "subscription"}])
def test_the_subscription_of_an_invoice_is_in_its_parent(subscription: Any) -> None:
    parent = {"subscription_details": {"subscription": subscription}, "type": "subscription_details"}
    assert parse_invoice(invoice(parent=parent)).subscription_id == "sub_1"


@pytest.mark.parametrize(
    "parent",
    [
        {"type": "invoice_item_details", "invoice_item_details": {"proration": True}},
        {
            "type": "subscription_item_details",
            "invoice_item_details": None,
            "subscription_item_details": {"subscription_item": "si_1"},
        },
        None,
    ],
)
def test_prorations_and_items_of_subscriptions_are_not_one_time(parent: Any) -> None:
    (read,) = parse_invoice(invoice(line(parent=parent))).lines
    assert not read.is_one_time


def test_a_line_without_a_price_or_with_nulls_is_read() -> None:
    (read,) = parse_invoice(
        invoice(line(pricing=None, discount_amounts=None, taxes=None, quantity=None, parent=None))
    ).lines
    assert (read.price_id, read.discount_minor, read.tax_minor, read.quantity) == (None, 0, 0, None)


def test_a_paid_invoice_by_itself_is_a_purchase_of_each_of_its_priced_lines() -> None:
    unpriced = line(id="il_2", pricing=None)
    (bought,) = purchases_of_invoice(parse_invoice(invoice(line(), unpriced)))
    assert bought.purchase.purchase_id == "in_1/il_1"
    assert (bought.purchase.paid_at, bought.purchase.quantity) == (when(20), 2)
    assert (bought.invoice_id, bought.payment_intent_id, bought.currency) == ("in_1", None, "eur")


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "open"},
        {"status": "void"},
        {"status": "draft"},
        {"status": "uncollectible"},
        {"parent": {"subscription_details": {"subscription": "sub_1"}}},
    ],
)
def test_an_unpaid_invoice_and_one_of_a_subscription_are_no_purchase(changes: dict[str, Any]) -> None:
    assert purchases_of_invoice(parse_invoice(invoice(**changes))) == ()


@pytest.mark.parametrize("reference", ["pi_1", {"id": "pi_1", "object": "payment_intent"}])
def test_an_invoice_payment_names_what_paid(reference: Any) -> None:
    found = parse_invoice_payment(
        {
            "id": "inpay_1",
            "invoice": "in_1",
            "payment": {"type": "payment_intent", "payment_intent": reference},
            "status": "paid",
            "amount_paid": 5,
            "status_transitions": {"paid_at": AT},
        }
    )
    assert (found.payment_intent_id, found.charge_id, found.paid_at) == ("pi_1", None, when(0))


def test_a_payment_outside_stripe_names_neither() -> None:
    found = parse_invoice_payment(
        {"id": "inpay_1", "invoice": "in_1", "payment": {"type": "payment_record"}, "status": "open"}
    )
    assert (found.payment_intent_id, found.charge_id, found.paid_minor) == (None, None, 0)


CHARGE = {
    "id": "ch_1",
    "object": "charge",
    "amount": 900,
    "amount_captured": 800,
    "amount_refunded": 100,
    "created": AT,
    "currency": "usd",
    "disputed": True,
    "status": "succeeded",
    "customer": None,
    "payment_intent": "pi_1",
}
REFUND = {"id": "re_1", "object": "refund", "amount": 1, "created": AT, "currency": "usd", "charge": "ch_1"}
DISPUTE = {
    "id": "dp_1",
    "object": "dispute",
    "amount": 9,
    "charge": {"id": "ch_1"},
    "created": AT,
    "currency": "usd",
    "reason": "fraudulent",
    "status": "warning_needs_response",
}


def test_a_charge_a_refund_and_a_dispute_are_read() -> None:
    charge = parse_charge(CHARGE)
    assert (charge.captured_minor, charge.refunded_minor, charge.is_disputed) == (800, 100, True)
    assert (charge.customer_id, charge.payment_intent_id) == (None, "pi_1")
    assert parse_refund({**REFUND, "status": "pending"}).refund.status == "pending"
    found = parse_dispute(DISPUTE)
    assert (found.charge_id, found.dispute.status) == ("ch_1", "warning_needs_response")


def test_a_refund_without_a_status_left_stripes_network_and_counts() -> None:
    assert parse_refund({**REFUND, "status": None}).refund.status == "succeeded"


def test_deleted_products_prices_and_clocks_are_stubs() -> None:
    assert parse_product({"id": "prod_1", "object": "product", "deleted": True}).is_deleted
    assert parse_price({"id": "price_1", "object": "price", "deleted": True}).is_deleted
    clock = parse_clock({"id": "clock_1", "object": "test_helpers.test_clock", "deleted": True})
    assert (clock.is_deleted, clock.frozen_at) == (True, None)


@pytest.mark.parametrize("gone", ["customer", "status", "currency", "total", "lines", "status_transitions"])
def test_an_invoice_without_a_field_we_need_is_broken_and_named(gone: str) -> None:
    answer = {name: value for name, value in invoice().items() if name != gone}
    with pytest.raises(Broken, match="in_1"):
        parse_invoice(answer)
