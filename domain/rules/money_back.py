"""What was given back or is disputed of a purchase or a subscription's invoice. Pure.

A charge leads to an invoice through invoice payments only; a session's own payment is named by its intent.
"""

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from domain.model import Purchase
from domain.money import BoughtLine, Charge, ChargeDispute, ChargeRefund, InvoicePayment


class Payments(Struct, frozen=True, kw_only=True):
    """All of one user."""

    charges: Sequence[Charge] = ()
    invoice_payments: Sequence[InvoicePayment] = ()
    refunds: Sequence[ChargeRefund] = ()
    disputes: Sequence[ChargeDispute] = ()


def sold_once(bought: Iterable[BoughtLine]) -> list[BoughtLine]:
    """Without the lines of an invoice that a session made: the session's own lines are the purchase."""
    lines = list(bought)
    of_sessions = {
        one.invoice_id for one in lines if one.invoice_id and one.purchase.object_id != one.invoice_id
    }
    return [one for one in lines if one.purchase.object_id not in of_sessions]


def with_money_back(bought: BoughtLine, payments: Payments) -> Purchase:
    """The purchase with what was captured for it, given back and disputed of it."""
    intents, charges = _paid_by(bought, payments)
    captured = [
        charge.captured_minor
        for charge in payments.charges
        if charge.status == "succeeded" and _is_of(charge, intents, charges)
    ]
    return msgspec.structs.replace(
        bought.purchase,
        captured_minor=sum(captured) if captured else bought.purchase.captured_minor,
        refunds=tuple(one.refund for one in payments.refunds if _is_of(one, intents, charges)),
        disputes=tuple(one.dispute for one in payments.disputes if _is_of(one, intents, charges)),
    )


def disputes_by_invoice(payments: Payments) -> dict[str, list[ChargeDispute]]:
    """The disputes of the payments on each invoice."""
    found: dict[str, list[ChargeDispute]] = {}
    for payment in payments.invoice_payments:
        intents, charges = _named_by((payment,))
        found.setdefault(payment.invoice_id, []).extend(
            one for one in payments.disputes if _is_of(one, intents, charges)
        )
    return found


def _paid_by(bought: BoughtLine, payments: Payments) -> tuple[set[str], set[str]]:
    """(payment intents, charges) that paid a line."""
    if bought.payment_intent_id is not None:
        return {bought.payment_intent_id}, set()
    return _named_by(one for one in payments.invoice_payments if one.invoice_id == bought.invoice_id)


def _named_by(payments: Iterable[InvoicePayment]) -> tuple[set[str], set[str]]:
    intents: set[str] = set()
    charges: set[str] = set()
    for payment in payments:
        intents.update(filter(None, (payment.payment_intent_id,)))
        charges.update(filter(None, (payment.charge_id,)))
    return intents, charges


def _is_of(money: Charge | ChargeRefund | ChargeDispute, intents: set[str], charges: set[str]) -> bool:
    return money.charge_id in charges or money.payment_intent_id in intents
