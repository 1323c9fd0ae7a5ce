"""Invoices and what pays them, refunds and disputes: `domain.money` from Stripe's answers."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from domain.model import Dispute, Purchase, Refund
from domain.money import (
    BoughtLine,
    Charge,
    ChargeDispute,
    ChargeRefund,
    FundsMove,
    Invoice,
    InvoiceLine,
    InvoicePayment,
)
from domain.rules.shapes.convert import Reference, Referred, convert, id_of, instant, when


class MirroredIntent(Struct, frozen=True, kw_only=True):
    intent_id: str
    customer_id: str | None
    #: Its last attempt; None: nothing was tried yet.
    charge_id: str | None


# ── what Stripe sends ───────────────────────────────────────────────────────────────────────────────


class _Amount(Struct):
    amount: int


class _Period(Struct):
    start: int
    end: int


class _PriceDetails(Struct):
    price: Reference = None
    product: Reference = None


class _Pricing(Struct):
    price_details: _PriceDetails | None = None


class _LineDetails(Struct):
    proration: bool = False
    subscription_item: str | None = None


class _LineParent(Struct):
    type: str
    invoice_item_details: _LineDetails | None = None


class _Line(Struct):
    id: str
    amount: int
    period: _Period
    quantity: int | None = None
    parent: _LineParent | None = None
    pricing: _Pricing | None = None
    discount_amounts: list[_Amount] | None = None
    taxes: list[_Amount] | None = None


class _Lines(Struct):
    data: list[_Line]


class _Transitions(Struct):
    finalized_at: int | None = None
    marked_uncollectible_at: int | None = None
    paid_at: int | None = None
    voided_at: int | None = None


class _SubscriptionDetails(Struct):
    subscription: Reference = None


class _InvoiceParent(Struct):
    subscription_details: _SubscriptionDetails | None = None


class _Invoice(Struct):
    id: str
    customer: str | Referred
    status: str
    currency: str
    created: int
    total: int
    amount_paid: int
    amount_remaining: int
    lines: _Lines
    status_transitions: _Transitions
    collection_method: str
    billing_reason: str | None = None
    due_date: int | None = None
    hosted_invoice_url: str | None = None
    number: str | None = None
    parent: _InvoiceParent | None = None
    total_taxes: list[_Amount] | None = None


class _Payment(Struct):
    type: str
    payment_intent: Reference = None
    charge: Reference = None


class _InvoicePayment(Struct):
    id: str
    invoice: str | Referred
    payment: _Payment
    status: str
    amount_paid: int | None = None
    status_transitions: _Transitions | None = None


class _Charge(Struct):
    id: str
    amount: int
    amount_captured: int
    amount_refunded: int
    created: int
    currency: str
    disputed: bool
    status: str
    customer: Reference = None
    payment_intent: Reference = None


class _Refund(Struct):
    id: str
    amount: int
    created: int
    currency: str
    #: Stripe says null of refunds outside its own network.
    status: str | None = None
    charge: Reference = None
    payment_intent: Reference = None


class _BalanceTransaction(Struct):
    id: str
    amount: int
    created: int
    currency: str


class _Dispute(Struct):
    id: str
    amount: int
    charge: str | Referred
    created: int
    currency: str
    reason: str
    status: str
    payment_intent: Reference = None
    balance_transactions: list[_BalanceTransaction] = []


class _Intent(Struct):
    id: str
    customer: Reference = None
    latest_charge: Reference = None


def parse_invoice(answer: dict[str, Any]) -> Invoice:
    """An invoice with all of its lines (the caller has paged them in).

    Raises:
        Broken: the answer has not the shape of the pinned version; so do the others here.
    """
    found = convert(answer, _Invoice)
    of_subscription = found.parent.subscription_details if found.parent else None
    moved = found.status_transitions
    return Invoice(
        invoice_id=found.id,
        customer_id=id_of(found.customer) or "",
        subscription_id=id_of(of_subscription.subscription) if of_subscription else None,
        number=found.number,
        status=found.status,
        billing_reason=found.billing_reason,
        collection_method=found.collection_method,
        currency=found.currency,
        total_minor=found.total,
        tax_minor=_sum(found.total_taxes),
        paid_minor=found.amount_paid,
        remaining_minor=found.amount_remaining,
        created_at=when(found.created),
        finalized_at=instant(moved.finalized_at),
        due_at=instant(found.due_date),
        paid_at=instant(moved.paid_at),
        voided_at=instant(moved.voided_at),
        uncollectible_at=instant(moved.marked_uncollectible_at),
        pay_url=found.hosted_invoice_url,
        lines=tuple(_line(line) for line in found.lines.data),
    )


def parse_invoice_payment(answer: dict[str, Any]) -> InvoicePayment:
    found = convert(answer, _InvoicePayment)
    return InvoicePayment(
        invoice_payment_id=found.id,
        invoice_id=id_of(found.invoice) or "",
        payment_intent_id=id_of(found.payment.payment_intent),
        charge_id=id_of(found.payment.charge),
        status=found.status,
        paid_minor=found.amount_paid or 0,
        paid_at=instant(found.status_transitions.paid_at) if found.status_transitions else None,
    )


def parse_charge(answer: dict[str, Any]) -> Charge:
    found = convert(answer, _Charge)
    return Charge(
        charge_id=found.id,
        customer_id=id_of(found.customer),
        payment_intent_id=id_of(found.payment_intent),
        status=found.status,
        currency=found.currency,
        amount_minor=found.amount,
        captured_minor=found.amount_captured,
        refunded_minor=found.amount_refunded,
        is_disputed=found.disputed,
        created_at=when(found.created),
    )


def parse_refund(answer: dict[str, Any]) -> ChargeRefund:
    found = convert(answer, _Refund)
    return ChargeRefund(
        refund=Refund(refund_id=found.id, status=found.status or "succeeded", amount_minor=found.amount),
        charge_id=id_of(found.charge) or "",
        payment_intent_id=id_of(found.payment_intent),
        currency=found.currency,
        created_at=when(found.created),
    )


def parse_dispute(answer: dict[str, Any]) -> ChargeDispute:
    found = convert(answer, _Dispute)
    return ChargeDispute(
        dispute=Dispute(dispute_id=found.id, status=found.status, amount_minor=found.amount),
        charge_id=id_of(found.charge) or "",
        payment_intent_id=id_of(found.payment_intent),
        currency=found.currency,
        reason=found.reason,
        created_at=when(found.created),
        funds=tuple(_funds(found, moved) for moved in found.balance_transactions),
    )


def parse_payment_intent(answer: dict[str, Any]) -> MirroredIntent:
    found = convert(answer, _Intent)
    return MirroredIntent(
        intent_id=found.id, customer_id=id_of(found.customer), charge_id=id_of(found.latest_charge)
    )


def purchases_of_invoice(invoice: Invoice) -> tuple[BoughtLine, ...]:
    """The one-time lines of a paid invoice without subscription, also where it was paid outside Stripe.

    A line of a subscription's invoice is bought by its checkout session. What was captured is told by the
    payments on the invoice, at each reading of the facts.
    """
    if invoice.status != "paid" or invoice.subscription_id is not None:
        return ()
    return tuple(
        BoughtLine(
            currency=invoice.currency,
            invoice_id=invoice.invoice_id,
            purchase=Purchase(
                purchase_id=f"{invoice.invoice_id}/{line.line_id}",
                object_id=invoice.invoice_id,
                price_id=line.price_id,
                product_id=line.product_id,
                quantity=1 if line.quantity is None else line.quantity,
                paid_at=invoice.paid_at or invoice.created_at,
            ),
        )
        for line in invoice.lines
        if line.is_one_time and line.price_id is not None and line.product_id is not None
    )


def _funds(dispute: _Dispute, moved: _BalanceTransaction) -> FundsMove:
    """A balance in another currency than the payment's says when and which way; the dispute says how much."""
    whole = dispute.amount if moved.amount > 0 else -dispute.amount
    return FundsMove(
        balance_transaction_id=moved.id,
        amount_minor=moved.amount if moved.currency == dispute.currency else whole,
        moved_at=when(moved.created),
    )


def _line(line: _Line) -> InvoiceLine:
    priced = line.pricing.price_details if line.pricing else None
    item = line.parent.invoice_item_details if line.parent else None
    return InvoiceLine(
        line_id=line.id,
        price_id=id_of(priced.price) if priced else None,
        product_id=id_of(priced.product) if priced else None,
        is_one_time=item is not None and not item.proration,
        quantity=line.quantity,
        amount_minor=line.amount,
        discount_minor=_sum(line.discount_amounts),
        tax_minor=_sum(line.taxes),
        period_start=when(line.period.start),
        period_end=when(line.period.end),
    )


def _sum(amounts: Sequence[_Amount] | None) -> int:
    return sum(amount.amount for amount in amounts or ())
