"""Invoices, their lines and their payments: drafted, finalized and paid within one action for now."""

from copy import deepcopy
from dataclasses import dataclass

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.events import emit
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.rendering import render
from deploy.local.stripe_simulator.store import Account, Json

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


@dataclass(frozen=True, slots=True)
class Line:
    """One line to bill."""

    price: Json
    quantity: int
    #: Minor units of the invoice's currency: 0 during a trial.
    amount: int
    #: None for a one-time price.
    subscription_item: str | None
    #: Seconds since 1970.
    period_start: int
    period_end: int
    description: str


def draft_invoice(account: Account, subscription: Json, lines: list[Line], reason: str) -> Json:
    """A draft invoice of a subscription; emits invoice.created."""
    customer = account.load("customer", subscription["customer"])
    total = sum(line.amount for line in lines)
    row = invoice_row(account, customer, subscription, total)
    row["billing_reason"] = reason
    row["period_start"] = min(line.period_start for line in lines)
    row["period_end"] = max(line.period_end for line in lines)
    account.put("invoice", row)
    for line in lines:
        account.put("line_item", line_row(row, subscription, line))
    subscription["latest_invoice"] = row["id"]
    account.put("subscription", subscription)
    emit(account, "invoice.created", row)
    return row


def invoice_row(account: Account, customer: Json, subscription: Json, total: int) -> Json:
    now = account.now()
    amounts = ("amount_due", "amount_remaining", "subtotal", "subtotal_excluding_tax", "total")
    parent = {"metadata": subscription["metadata"], "subscription": subscription["id"]}
    return {
        **deepcopy(NEW_INVOICE),
        **dict.fromkeys((*amounts, "total_excluding_tax"), total),
        "id": new_id("invoice"),
        "automatic_tax": {**NO_TAX, "enabled": subscription["automatic_tax"]["enabled"]},
        "created": now,
        "currency": subscription["currency"],
        "customer": customer["id"],
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_tax_exempt": customer["tax_exempt"],
        "parent": {
            "quote_details": None,
            "subscription_details": parent,
            "type": "subscription_details",
        },
        "period_end": now,
        "period_start": now,
    }


def line_row(invoice: Json, subscription: Json, line: Line) -> Json:
    return {
        "id": new_id("line_item"),
        "object": "line_item",
        "amount": line.amount,
        "currency": invoice["currency"],
        "description": line.description,
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice["id"],
        "livemode": False,
        "metadata": subscription["metadata"] if line.subscription_item else {},
        "parent": line_parent(subscription, line),
        "period": {"end": line.period_end, "start": line.period_start},
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": line.price["id"], "product": line.price["product"]},
            "type": "price_details",
            "unit_amount_decimal": str(line.amount // line.quantity) if line.quantity else "0",
        },
        "quantity": line.quantity,
        "quantity_decimal": str(line.quantity),
        "subscription": subscription["id"],
        "subtotal": line.amount,
        "taxes": [],
    }


def line_parent(subscription: Json, line: Line) -> Json:
    """Where a line comes from: an item of the subscription, or a one-time item added to its first invoice."""
    details = {
        "invoice_item": None,
        "proration": False,
        "proration_details": {"credited_items": None},
        "subscription": subscription["id"],
    }
    if line.subscription_item is not None:
        item = {**details, "subscription_item": line.subscription_item}
        return {
            "invoice_item_details": None,
            "subscription_item_details": item,
            "type": "subscription_item_details",
        }
    return {
        "invoice_item_details": {**details, "invoice_item": new_id("invoiceitem")},
        "subscription_item_details": None,
        "type": "invoice_item_details",
    }


def finalize(account: Account, invoice: Json) -> None:
    """Give the invoice its number and open it for payment; emits invoice.finalized."""
    customer = account.load("customer", invoice["customer"])
    sequence = customer["next_invoice_sequence"]
    customer["next_invoice_sequence"] = sequence + 1
    customer["currency"] = customer["currency"] or invoice["currency"]
    account.put("customer", customer)
    now = account.now()
    invoice |= {
        "effective_at": now,
        "ending_balance": 0,
        "number": f"{customer['invoice_prefix']}-{sequence:04d}",
        "status": "open",
        "status_transitions": {**invoice["status_transitions"], "finalized_at": now},
    }
    account.put("invoice", invoice)
    emit(account, "invoice.finalized", invoice)


def mark_paid(account: Account, invoice: Json, intent: Json | None) -> None:
    """The invoice is paid, by a payment intent or because nothing is due."""
    now = account.now()
    invoice |= {
        "amount_paid": invoice["amount_due"],
        "amount_remaining": 0,
        "attempt_count": invoice["attempt_count"] + (intent is not None),
        "attempted": True,
        "auto_advance": False,
        "next_payment_attempt": None,
        "status": "paid",
        "status_transitions": {**invoice["status_transitions"], "paid_at": now},
    }
    account.put("invoice", invoice)
    if intent is not None:
        payment = payment_row(account, invoice, intent)
        account.put("invoice_payment", payment)
        emit(account, "invoice_payment.paid", payment)
    emit(account, "invoice.paid", invoice)
    emit(account, "invoice.payment_succeeded", invoice)


def mark_failed(account: Account, invoice: Json) -> None:
    """An attempt to pay failed; the invoice stays open."""
    invoice |= {"attempt_count": invoice["attempt_count"] + 1, "attempted": True}
    account.put("invoice", invoice)
    emit(account, "invoice.payment_failed", invoice)


def payment_row(account: Account, invoice: Json, intent: Json) -> Json:
    now = account.now()
    return {
        "id": new_id("invoice_payment"),
        "object": "invoice_payment",
        "amount_paid": intent["amount"],
        "amount_requested": intent["amount"],
        "created": now,
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "livemode": False,
        "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
        "status": "paid",
        "status_transitions": {"canceled_at": None, "paid_at": now},
    }


def list_invoices(call: Call) -> Json:
    asked = call.params
    rows = call.account.select("invoice", asked, "subscription", "customer")
    chosen = [row for row in rows if asked.get("status", row["status"]) == row["status"]]
    return page(call, "invoice", chosen, "/v1/invoices")


def retrieve_invoice(call: Call) -> Json:
    return render(call.account, call.account.load("invoice", call.id))


def list_lines(call: Call) -> Json:
    invoice = call.account.load("invoice", call.id)
    lines = call.account.where("line_item", "invoice", invoice["id"])
    return page(call, "line_item", lines, f"/v1/invoices/{invoice['id']}/lines", oldest_first=True)


def list_payments(call: Call) -> Json:
    asked = call.params
    rows = call.account.select("invoice_payment", asked, "invoice")
    intent = asked.get("payment", {}).get("payment_intent")
    if intent is not None:
        rows = [row for row in rows if row["payment"]["payment_intent"] == intent]
    chosen = [row for row in rows if asked.get("status", row["status"]) == row["status"]]
    return page(call, "invoice_payment", chosen, "/v1/invoice_payments")


def retrieve_payment(call: Call) -> Json:
    return call.account.load("invoice_payment", call.id)


OPERATIONS = (
    Operation(
        "GET",
        "/v1/invoices",
        list_invoices,
        list_params(
            customer=params.text,
            status=params.one_of("draft", "open", "paid", "uncollectible", "void"),
            subscription=params.text,
        ),
    ),
    Operation("GET", "/v1/invoices/{id}", retrieve_invoice),
    Operation("GET", "/v1/invoices/{id}/lines", list_lines, list_params()),
    Operation(
        "GET",
        "/v1/invoice_payments",
        list_payments,
        list_params(
            invoice=params.text,
            payment=params.hash_of(
                {"type": params.one_of("payment_intent"), "payment_intent": params.text}, required=("type",)
            ),
            status=params.one_of("canceled", "open", "paid"),
        ),
    ),
    Operation("GET", "/v1/invoice_payments/{id}", retrieve_payment),
)
