"""Which refunds and disputes are of which purchase or invoice."""

from datetime import UTC, datetime
from typing import Any

from domain.model import Dispute, Purchase, Refund
from domain.money import BoughtLine, Charge, ChargeDispute, ChargeRefund, InvoicePayment
from domain.rules.money_back import Payments, disputes_by_invoice, sold_once, with_money_back

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def bought(object_id: str = "cs_1", line: str = "li_1", **changes: Any) -> BoughtLine:
    purchase = Purchase(
        purchase_id=f"{object_id}/{line}",
        object_id=object_id,
        price_id="price_1",
        product_id="prod_1",
        paid_at=NOW,
        captured_minor=900,
    )
    return BoughtLine(purchase=purchase, currency="usd", **changes)


def charge(charge_id: str, intent: str | None, captured: int = 900, status: str = "succeeded") -> Charge:
    return Charge(
        charge_id=charge_id,
        payment_intent_id=intent,
        status=status,
        currency="usd",
        amount_minor=captured,
        captured_minor=captured,
        refunded_minor=0,
        is_disputed=False,
        created_at=NOW,
    )


def refund(refund_id: str, charge_id: str, intent: str | None = None) -> ChargeRefund:
    return ChargeRefund(
        refund=Refund(refund_id=refund_id, status="succeeded", amount_minor=100),
        charge_id=charge_id,
        payment_intent_id=intent,
        currency="usd",
        created_at=NOW,
    )


def dispute(dispute_id: str, charge_id: str, intent: str | None = None) -> ChargeDispute:
    return ChargeDispute(
        dispute=Dispute(dispute_id=dispute_id, status="needs_response", amount_minor=900),
        charge_id=charge_id,
        payment_intent_id=intent,
        currency="usd",
        reason="fraudulent",
        created_at=NOW,
    )


def paid(invoice_id: str, *, intent: str | None = None, charge_id: str | None = None) -> InvoicePayment:
    return InvoicePayment(
        invoice_payment_id=f"inpay_{invoice_id}_{intent or charge_id}",
        invoice_id=invoice_id,
        payment_intent_id=intent,
        charge_id=charge_id,
        status="paid",
        paid_minor=900,
    )


def test_a_session_has_the_refunds_and_disputes_of_its_own_payment() -> None:
    payments = Payments(
        charges=[charge("ch_1", "pi_1"), charge("ch_2", "pi_2")],
        refunds=[refund("re_1", "ch_1", "pi_1"), refund("re_2", "ch_2", "pi_2")],
        disputes=[dispute("dp_1", "ch_1", "pi_1"), dispute("dp_2", "ch_2", "pi_2")],
    )
    found = with_money_back(bought(payment_intent_id="pi_1"), payments)
    assert [one.refund_id for one in found.refunds] == ["re_1"]
    assert [one.dispute_id for one in found.disputes] == ["dp_1"]


def test_what_is_on_an_invoice_has_those_of_every_payment_of_the_invoice() -> None:
    payments = Payments(
        charges=[charge("ch_1", "pi_1", 400), charge("ch_2", None, 500), charge("ch_3", "pi_3")],
        invoice_payments=[
            paid("in_1", intent="pi_1"),
            paid("in_1", charge_id="ch_2"),
            paid("in_2", intent="pi_3"),
        ],
        refunds=[refund("re_1", "ch_1", "pi_1"), refund("re_2", "ch_2"), refund("re_3", "ch_3", "pi_3")],
    )
    found = with_money_back(bought("in_1", invoice_id="in_1"), payments)
    assert [one.refund_id for one in found.refunds] == ["re_1", "re_2"]
    assert found.captured_minor == 900


def test_only_charges_that_succeeded_were_captured() -> None:
    payments = Payments(charges=[charge("ch_1", "pi_1", 900, "failed"), charge("ch_2", "pi_1", 700)])
    assert with_money_back(bought(payment_intent_id="pi_1"), payments).captured_minor == 700


def test_without_a_payment_nothing_was_given_back() -> None:
    payments = Payments(refunds=[refund("re_1", "ch_1", "pi_1"), refund("re_2", "ch_2")])
    free = bought()
    assert with_money_back(free, payments) == free.purchase
    outside_stripe = bought("in_1", invoice_id="in_1")
    assert with_money_back(outside_stripe, payments).refunds == ()


def test_what_a_session_sold_is_not_sold_again_by_the_invoice_it_made() -> None:
    of_session = bought("cs_1", invoice_id="in_1", payment_intent_id="pi_1")
    of_its_invoice = bought("in_1", "il_1", invoice_id="in_1")
    by_itself = bought("in_2", "il_2", invoice_id="in_2")
    for order in ([of_session, of_its_invoice, by_itself], [by_itself, of_its_invoice, of_session]):
        assert {one.purchase.object_id for one in sold_once(order)} == {"cs_1", "in_2"}
    assert sold_once([of_its_invoice]) == [of_its_invoice], "until the session is known"


def test_a_dispute_reaches_an_invoice_through_its_payments_only() -> None:
    payments = Payments(
        invoice_payments=[paid("in_1", intent="pi_1"), paid("in_2", charge_id="ch_2")],
        disputes=[dispute("dp_1", "ch_1", "pi_1"), dispute("dp_2", "ch_2"), dispute("dp_3", "ch_3", "pi_3")],
    )
    found = disputes_by_invoice(payments)
    assert {key: [one.dispute.dispute_id for one in on_it] for key, on_it in found.items()} == {
        "in_1": ["dp_1"],
        "in_2": ["dp_2"],
    }
