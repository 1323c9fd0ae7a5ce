"""What a subscription's invoices say of its payment."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.model import Dispute, Subscription, SubscriptionItem
from domain.money import ChargeDispute, Invoice, InvoiceLine
from domain.rules.failures import (
    disputes_of,
    failure_streak,
    latest_paid,
    needs_invoices,
    paid_through,
    with_invoices,
)

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


def invoice(number: int, status: str, day: int, **changes: Any) -> Invoice:
    """Invoice `in_{number}` of that day, finalized an hour later; open ones have everything remaining."""
    at = START + day * DAY
    values: dict[str, Any] = {
        "invoice_id": f"in_{number}",
        "customer_id": "cus_1",
        "subscription_id": "sub_1",
        "status": status,
        "currency": "usd",
        "total_minor": 1900,
        "paid_minor": 1900 if status == "paid" else 0,
        "remaining_minor": 0 if status == "paid" else 1900,
        "created_at": at,
        "finalized_at": None if status == "draft" else at + timedelta(hours=1),
        "paid_at": at + timedelta(hours=1) if status == "paid" else None,
        "lines": (line(number, at, at + 30 * DAY),),
    }
    return Invoice(**{**values, **changes})


def line(number: int, start: datetime, end: datetime, price_id: str = "price_1") -> InvoiceLine:
    return InvoiceLine(
        line_id=f"il_{number}_{price_id}",
        price_id=price_id,
        amount_minor=1900,
        period_start=start,
        period_end=end,
    )


def subscription(status: str = "past_due", **changes: Any) -> Subscription:
    item = SubscriptionItem(
        item_id="si_1",
        price_id="price_1",
        product_id="prod_1",
        period_start=START + 60 * DAY,
        period_end=START + 90 * DAY,
    )
    values: dict[str, Any] = {
        "subscription_id": "sub_1",
        "status": status,
        "created_at": START,
        "items": (item,),
    }
    return Subscription(**{**values, **changes})


def test_the_failure_began_with_the_oldest_invoice_of_the_unpaid_run() -> None:
    invoices = [invoice(1, "paid", 0), invoice(2, "open", 30), invoice(3, "open", 60)]
    found = with_invoices(subscription(), invoices)
    assert found.first_failure_at == invoices[1].finalized_at


def test_an_uncollectible_invoice_is_a_failure_too() -> None:
    invoices = [invoice(1, "paid", 0), invoice(2, "uncollectible", 30), invoice(3, "open", 60)]
    assert with_invoices(subscription(), invoices).first_failure_at == invoices[1].finalized_at


def test_a_paid_invoice_ends_the_run_whatever_is_open_before_it() -> None:
    invoices = [invoice(1, "open", 0), invoice(2, "paid", 30), invoice(3, "open", 60)]
    assert with_invoices(subscription(), invoices).first_failure_at == invoices[2].finalized_at


def test_an_open_invoice_with_nothing_remaining_ends_the_run() -> None:
    invoices = [invoice(1, "open", 0), invoice(2, "open", 30, remaining_minor=0), invoice(3, "open", 60)]
    assert [one.invoice_id for one in failure_streak(invoices)] == ["in_3"]


def test_void_invoices_and_drafts_are_passed() -> None:
    invoices = [
        invoice(1, "paid", 0),
        invoice(2, "open", 30),
        invoice(3, "void", 60),
        invoice(4, "draft", 61),
    ]
    assert with_invoices(subscription(), invoices).first_failure_at == invoices[1].finalized_at


def test_an_invoice_that_was_sent_fails_when_it_is_due() -> None:
    due_at = START + 60 * DAY
    sent = invoice(2, "open", 30, collection_method="send_invoice", due_at=due_at)
    assert with_invoices(subscription(), [invoice(1, "paid", 0), sent]).first_failure_at == due_at


def test_without_an_unpaid_invoice_the_failure_began_with_the_period() -> None:
    found = with_invoices(subscription(), [invoice(1, "paid", 0)])
    assert found.first_failure_at == START + 60 * DAY


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_order_in_which_invoices_are_listed_never_matters(order: tuple[int, ...]) -> None:
    invoices = [
        invoice(1, "paid", 0),
        invoice(2, "open", 30),
        invoice(3, "void", 60),
        invoice(4, "open", 61),
    ]
    found = with_invoices(subscription(), [invoices[index] for index in order])
    assert found == with_invoices(subscription(), invoices)


def test_the_first_invoice_after_a_trial_is_known_as_such() -> None:
    trial = [invoice(1, "paid", 0, total_minor=0, paid_minor=0), invoice(2, "open", 14)]
    after_trial = subscription(trial_end=START + 14 * DAY)
    assert with_invoices(after_trial, trial).is_failing_after_trial
    second = [*trial[:1], invoice(2, "paid", 14), invoice(3, "open", 44)]
    assert not with_invoices(after_trial, second).is_failing_after_trial
    still_first = [*trial, invoice(3, "open", 44)]
    assert with_invoices(after_trial, still_first).is_failing_after_trial
    assert not with_invoices(subscription(), trial).is_failing_after_trial, "it never had a trial"


def test_an_item_is_paid_for_where_any_paid_invoice_has_its_price() -> None:
    old = invoice(1, "paid", 0, lines=(line(1, START, START + 30 * DAY, "price_old"),))
    upgrade = invoice(2, "open", 10)
    (item,) = with_invoices(subscription(), [old, upgrade]).items
    assert not item.is_paid_for, "its price is on the failed upgrade only"
    (item,) = with_invoices(subscription(), [old, upgrade, invoice(0, "paid", 0, total_minor=0)]).items
    assert item.is_paid_for, "a trial's invoice of nothing counts"


def test_paid_through_is_the_last_period_any_paid_invoice_covers() -> None:
    invoices = [invoice(1, "paid", 30), invoice(2, "paid", 0), invoice(3, "open", 60)]
    assert paid_through(invoices) == START + 60 * DAY
    assert paid_through([invoice(3, "open", 60)]) is None


def test_of_a_subscription_that_pays_nothing_is_asked() -> None:
    active = subscription("active")
    assert not needs_invoices(active)
    assert with_invoices(active, [invoice(1, "open", 0)]) == active


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "unpaid"},
        {"status": "paused"},
        {"status": "active", "pause_behavior": "void"},
        {"status": "new", "last_known_status": "past_due", "unknown_since": START},
    ],
)
def test_where_payment_decides_the_invoices_are_needed(changes: dict[str, Any]) -> None:
    assert needs_invoices(subscription(**changes))


def test_a_dispute_counts_on_the_latest_invoice_that_was_paid_an_amount() -> None:
    invoices = [
        invoice(1, "paid", 0),
        invoice(2, "paid", 30),
        invoice(3, "paid", 60, paid_minor=0, total_minor=0),
        invoice(4, "open", 90),
    ]
    latest = latest_paid(invoices)
    assert latest is not None
    assert latest.invoice_id == "in_2"
    found = disputes_of(invoices, {"in_1": [disputed("dp_1")], "in_2": [disputed("dp_2")]})
    assert {one.dispute_id: one.is_latest_paid_invoice for one in found} == {"dp_1": False, "dp_2": True}


def disputed(dispute_id: str) -> ChargeDispute:
    return ChargeDispute(
        dispute=Dispute(dispute_id=dispute_id, status="needs_response", amount_minor=1900),
        charge_id="ch_1",
        currency="usd",
        reason="fraudulent",
        created_at=START,
    )
