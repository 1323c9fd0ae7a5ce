"""Parts that money moves through: invoices, payments, charges, refunds, disputes."""

from functools import partial

from domain.flows.fetch.fetched import ObjectKey
from domain.flows.fetch.reading import Reading, both, gather
from domain.rules.shapes import (
    parse_charge,
    parse_dispute,
    parse_invoice,
    parse_invoice_payment,
    parse_payment_intent,
    parse_refund,
)
from domain.stripe_gateway import JsonObject

INVOICE = ["payments"]
INVOICES = ["data.payments"]
PAYMENT = ["payment.payment_intent"]


async def read_invoice(reading: Reading, invoice_id: str) -> None:
    """An invoice with every line and payment, and the charges that paid it."""
    answer = await reading.get(f"/v1/invoices/{invoice_id}", expand=INVOICE)
    await take_invoice(reading, answer)
    payments = [one for one in reading.fetched.invoice_payments.values() if one.invoice_id == invoice_id]
    intents = [one.payment_intent_id for one in payments if one.payment_intent_id]
    charges = [one.charge_id for one in payments if one.charge_id]
    await reading.follow(
        ("invoice", invoice_id),
        *(("payment_intent", intent) for intent in intents),
        *(("charge", charge) for charge in charges),
    )


async def take_invoice(reading: Reading, answer: JsonObject) -> None:
    """An invoice as an answer or a list shows it, with the payments on it but not what is behind them."""
    invoice_id = str(answer["id"])
    reading.watch("invoice", answer)
    lines, payments = await both(
        reading.whole(answer["lines"], f"/v1/invoices/{invoice_id}/lines"),
        reading.whole(
            answer.get("payments") or {"has_more": True}, "/v1/invoice_payments", invoice=invoice_id
        ),
    )
    reading.fetched.invoices[invoice_id] = parse_invoice({**answer, "lines": {"data": lines}})
    for payment in payments:
        take_invoice_payment(reading, payment)


async def read_subscription_invoices(reading: Reading, subscription_id: str) -> None:
    """All of them: which prices were ever paid for, and until when, is asked of each."""
    answers = await reading.list_all("/v1/invoices", subscription=subscription_id, expand=INVOICES)
    await gather(
        reading.guard(("invoice", str(answer["id"])), partial(take_invoice, reading, answer))
        for answer in answers
    )
    _join(reading, ("subscription_invoices", subscription_id), "invoice", answers)


async def read_invoice_payment(reading: Reading, payment_id: str) -> None:
    take_invoice_payment(reading, await reading.get(f"/v1/invoice_payments/{payment_id}"))


def take_invoice_payment(reading: Reading, answer: JsonObject) -> None:
    reading.watch("invoice_payment", answer)
    found = parse_invoice_payment(answer)
    reading.fetched.invoice_payments[found.invoice_payment_id] = found


async def read_payment_intent(reading: Reading, intent_id: str) -> None:
    answer = await reading.get(f"/v1/payment_intents/{intent_id}", expand=["latest_charge.refunds"])
    charge = answer.get("latest_charge")
    shown = {**answer, "latest_charge": charge["id"]} if isinstance(charge, dict) else answer
    reading.watch("payment_intent", shown)
    reading.fetched.intents[intent_id] = parse_payment_intent(shown)
    if isinstance(charge, dict):
        await take_charge(reading, charge)


async def read_charge(reading: Reading, charge_id: str) -> None:
    await take_charge(reading, await reading.get(f"/v1/charges/{charge_id}", expand=["refunds"]))


async def take_charge(reading: Reading, answer: JsonObject) -> None:
    """A charge with `refunds` expanded: every refund of it, and every dispute if it was ever disputed."""
    charge_id = str(answer["id"])
    reading.watch("charge", answer)
    refunds, disputes = await both(
        reading.whole(answer.get("refunds") or {"has_more": True}, "/v1/refunds", charge=charge_id),
        reading.list_all("/v1/disputes", charge=charge_id) if answer["disputed"] else _none(),
    )
    reading.fetched.charges[charge_id] = parse_charge(answer)
    for refund in refunds:
        take_refund(reading, refund)
    for dispute in disputes:
        take_dispute(reading, dispute)


async def read_refund(reading: Reading, refund_id: str) -> None:
    take_refund(reading, await reading.get(f"/v1/refunds/{refund_id}"))


def take_refund(reading: Reading, answer: JsonObject) -> None:
    reading.watch("refund", answer)
    found = parse_refund(answer)
    reading.fetched.refunds[found.refund.refund_id] = found


async def read_dispute(reading: Reading, dispute_id: str) -> None:
    take_dispute(reading, await reading.get(f"/v1/disputes/{dispute_id}"))


def take_dispute(reading: Reading, answer: JsonObject) -> None:
    reading.watch("dispute", answer)
    found = parse_dispute(answer)
    reading.fetched.disputes[found.dispute.dispute_id] = found


def _join(reading: Reading, root: ObjectKey, kind: str, answers: list[JsonObject]) -> None:
    reading.fetched.closure.setdefault(root, set()).update((kind, str(answer["id"])) for answer in answers)


async def _none() -> list[JsonObject]:
    return []
