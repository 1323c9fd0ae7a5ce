"""Invoices: drafted, finalized, paid, voided or given up, each with the event that says so.

When they are paid, and what that does to a subscription, is in `collection.py`; their calls are in
`invoice_calls.py`.
"""

from collections.abc import Sequence
from copy import deepcopy

from deploy.local.stripe_simulator import discounts, payments
from deploy.local.stripe_simulator.events import changes, emit
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.invoice_lines import Line, line_of_item, put_lines
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.store import Account, Json

DAY_S = 24 * 3600
#: Seconds a draft stays a draft before it is finalized by itself.
DRAFT_S = 3600
NO_TAX: Json = {
    "disabled_reason": None,
    "enabled": False,
    "liability": None,
    "provider": None,
    "status": None,
}
#: A draft's fields before anything happens; the varying ones are filled in by `invoice_row`.
NEW_INVOICE: Json = {
    "object": "invoice",
    "account_country": "US",
    "account_name": "Local Stripe",
    "account_tax_ids": None,
    "amount_overpaid": 0,
    "amount_paid": 0,
    "amount_paid_off_stripe": 0,
    "amount_shipping": 0,
    "application": None,
    "attempt_count": 0,
    "attempted": False,
    "auto_advance": True,
    "automatically_finalizes_at": None,
    "billing_reason": None,
    "collection_method": "charge_automatically",
    "custom_fields": None,
    "customer_account": None,
    "customer_shipping": None,
    "customer_tax_ids": [],
    "default_payment_method": None,
    "default_source": None,
    "default_tax_rates": [],
    "description": None,
    "discounts": [],
    "due_date": None,
    "effective_at": None,
    "ending_balance": None,
    "footer": None,
    "from_invoice": None,
    "hosted_invoice_url": None,
    "invoice_pdf": None,
    "issuer": {"type": "self"},
    "last_finalization_error": None,
    "latest_revision": None,
    "livemode": False,
    "metadata": {},
    "next_payment_attempt": None,
    "number": None,
    "on_behalf_of": None,
    "payment_settings": {
        "default_mandate": None,
        "payment_method_options": None,
        "payment_method_types": None,
    },
    "post_payment_credit_notes_amount": 0,
    "pre_payment_credit_notes_amount": 0,
    "receipt_number": None,
    "rendering": None,
    "shipping_cost": None,
    "shipping_details": None,
    "starting_balance": 0,
    "statement_descriptor": None,
    "status": "draft",
    "status_transitions": {
        "finalized_at": None,
        "marked_uncollectible_at": None,
        "paid_at": None,
        "voided_at": None,
    },
    "test_clock": None,
    "total_discount_amounts": [],
    "total_pretax_credit_amounts": [],
    "total_taxes": [],
    "webhooks_delivered_at": None,
}


def draft_invoice(account: Account, subscription: Json, lines: Sequence[Line], reason: str) -> Json:
    """A draft invoice of a subscription, with what waits to be billed to it; emits invoice.created."""
    row = invoice_row(account, account.load("customer", subscription["customer"]), subscription["currency"])
    items = pending_items(account, subscription)
    billed = [*(line_of_item(account, item) for item in items), *lines]
    row |= {
        "billing_reason": reason,
        "collection_method": subscription["collection_method"],
        "discounts": [taker.taker_id for taker in discounts.going_on(account, subscription)],
        "parent": subscription_parent(subscription),
        "period_end": max((line.period_end for line in lines), default=account.now()),
        "period_start": min((line.period_start for line in lines), default=account.now()),
    }
    if subscription["collection_method"] == "send_invoice":
        row["due_date"] = account.now() + (subscription["days_until_due"] or 0) * DAY_S
    account.put("invoice", row)
    put_lines(account, row, subscription, billed)
    discounts.forget_used(account, subscription, row)
    for item in items:
        item["invoice"] = row["id"]
        account.put("invoiceitem", item)
    subscription["latest_invoice"] = row["id"]
    account.put("subscription", subscription)
    emit(account, "invoice.created", row)
    return row


def pending_items(account: Account, subscription: Json) -> list[Json]:
    """Invoice items of the subscription that no invoice has billed yet."""
    found = account.where("invoiceitem", "customer", subscription["customer"])
    return [
        item for item in found if item["invoice"] is None and item_subscription(item) == subscription["id"]
    ]


def item_subscription(item: Json) -> str | None:
    details = (item["parent"] or {}).get("subscription_details") or {}
    subscription: str | None = details.get("subscription")
    return subscription


def subscription_parent(subscription: Json) -> Json:
    details = {"metadata": subscription["metadata"], "subscription": subscription["id"]}
    return {"quote_details": None, "subscription_details": details, "type": "subscription_details"}


def invoice_row(account: Account, customer: Json, currency: str) -> Json:
    """An empty draft; nothing is stored or emitted."""
    now = account.now()
    amounts = ("amount_due", "amount_remaining", "subtotal", "subtotal_excluding_tax", "total")
    return {
        **deepcopy(NEW_INVOICE),
        **dict.fromkeys((*amounts, "total_excluding_tax"), 0),
        "id": new_id("invoice"),
        "automatic_tax": NO_TAX,
        "created": now,
        "currency": currency,
        "customer": customer["id"],
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_tax_exempt": customer["tax_exempt"],
        "parent": None,
        "period_end": now,
        "period_start": now,
        "test_clock": customer["test_clock"],
    }


def finalize(account: Account, invoice: Json) -> None:
    """Number it, use the customer's balance, open it for payment; emits invoice.finalized."""
    customer = account.load("customer", invoice["customer"])
    before = snapshot(account, customer)
    starting, sequence = customer["balance"], customer["next_invoice_sequence"]
    left = invoice["total"] + starting
    customer |= {
        "balance": min(0, left),
        "currency": customer["currency"] or invoice["currency"],
        "next_invoice_sequence": sequence + 1,
    }
    account.put("customer", customer)
    now = account.now()
    invoice |= {
        "amount_due": max(0, left),
        "amount_remaining": max(0, left),
        "automatically_finalizes_at": None,
        "effective_at": now,
        "ending_balance": customer["balance"],
        "hosted_invoice_url": f"{account.base_url}/i/{invoice['id']}",
        "number": f"{customer['invoice_prefix']}-{sequence:04d}",
        "starting_balance": starting,
        "status": "open",
        "status_transitions": {**invoice["status_transitions"], "finalized_at": now},
    }
    account.put("invoice", invoice)
    emit(account, "invoice.finalized", invoice)
    if customer["balance"] != starting:
        emit(account, "customer.updated", customer, previous=changes(before, snapshot(account, customer)))


def mark_paid(account: Account, invoice: Json, intent: Json | None, *, off_stripe: bool = False) -> None:
    """The invoice is paid: by a payment intent, by money outside of Stripe, or because nothing is due."""
    now = account.now()
    invoice |= {
        "amount_paid": invoice["amount_due"],
        "amount_paid_off_stripe": invoice["amount_due"] if off_stripe else 0,
        "amount_remaining": 0,
        "attempt_count": invoice["attempt_count"] + (intent is not None),
        "attempted": True,
        "auto_advance": False,
        "next_payment_attempt": None,
        "status": "paid",
        "status_transitions": {**invoice["status_transitions"], "paid_at": now},
    }
    account.put("invoice", invoice)
    if intent is None:
        cancel_payments(account, invoice)
    else:
        payment = payment_of(account, invoice, intent)
        payment |= {
            "amount_paid": intent["amount"],
            "status": "paid",
            "status_transitions": {"canceled_at": None, "paid_at": now},
        }
        account.put("invoice_payment", payment)
        emit(account, "invoice_payment.paid", payment)
    emit(account, "invoice.paid", invoice)
    emit(account, "invoice.payment_succeeded", invoice)


def mark_failed(account: Account, invoice: Json) -> None:
    """An attempt to pay failed; the invoice stays open."""
    invoice |= {"attempt_count": invoice["attempt_count"] + 1, "attempted": True}
    account.put("invoice", invoice)
    emit(account, "invoice.payment_failed", invoice)


def void(account: Account, invoice: Json, request: Json | None = None) -> None:
    """As if it had never been sent; emits invoice.voided."""
    close(account, invoice, "void", "voided_at")
    invoice["amount_remaining"] = 0
    account.put("invoice", invoice)
    cancel_payments(account, invoice)
    emit(account, "invoice.voided", invoice, request=request)


def mark_uncollectible(account: Account, invoice: Json, request: Json | None = None) -> None:
    """A bad debt, that can still be paid; emits invoice.marked_uncollectible."""
    close(account, invoice, "uncollectible", "marked_uncollectible_at")
    emit(account, "invoice.marked_uncollectible", invoice, request=request)


def close(account: Account, invoice: Json, status: str, moment: str) -> None:
    transitions = {**invoice["status_transitions"], moment: account.now()}
    invoice |= {
        "auto_advance": False,
        "next_payment_attempt": None,
        "status": status,
        "status_transitions": transitions,
    }
    account.put("invoice", invoice)


def payment_of(account: Account, invoice: Json, intent: Json) -> Json:
    """The payment of an invoice by this intent; made, open, when there is none yet."""
    for known in account.where("invoice_payment", "payment_intent", intent["id"]):
        return known
    row: Json = {
        "id": new_id("invoice_payment"),
        "object": "invoice_payment",
        "amount_paid": None,
        "amount_requested": intent["amount"],
        "created": account.now(),
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "livemode": False,
        "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }
    account.put("invoice_payment", row)
    return row


def open_payment(account: Account, invoice: Json) -> Json | None:
    """The payment that waits for an open invoice's money."""
    found = account.where("invoice_payment", "invoice", invoice["id"])
    return next((row for row in found if row["status"] == "open"), None)


def cancel_payments(account: Account, invoice: Json) -> None:
    payment = open_payment(account, invoice)
    if payment is None:
        return
    payment |= {
        "status": "canceled",
        "status_transitions": {"canceled_at": account.now(), "paid_at": None},
    }
    account.put("invoice_payment", payment)
    intent = account.load("payment_intent", payment["payment"]["payment_intent"])
    payments.cancel(account, intent, "void_invoice")
