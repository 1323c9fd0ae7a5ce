"""What an invoice bills: lines of a subscription's items, and of invoice items (prorations among them)."""

from dataclasses import dataclass

from deploy.local.stripe_simulator.discounts import discount_lines
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.store import Account, Json


@dataclass(frozen=True, slots=True)
class Line:
    """One line to bill."""

    #: None: an amount without a price, from an invoice item.
    price: Json | None
    quantity: int
    #: Minor units of the invoice's currency: 0 during a trial, negative for a credit.
    amount: int
    #: None for a one-time price.
    subscription_item: str | None
    #: Seconds since 1970.
    period_start: int
    period_end: int
    description: str | None
    #: The invoice item that the line bills; None: one is made up when a one-time price needs it.
    invoice_item: str | None = None
    is_proration: bool = False


def line_of_item(account: Account, item: Json) -> Line:
    """The line that bills an invoice item."""
    details = (item["pricing"] or {}).get("price_details")
    parent = (item["parent"] or {}).get("subscription_details") or {}
    return Line(
        price=account.load("price", details["price"]) if details else None,
        quantity=item["quantity"],
        amount=item["amount"],
        subscription_item=parent.get("subscription_item"),
        period_start=item["period"]["start"],
        period_end=item["period"]["end"],
        description=item["description"],
        invoice_item=item["id"],
        is_proration=item["proration"],
    )


def put_lines(account: Account, invoice: Json, subscription: Json | None, lines: list[Line]) -> None:
    """Store the lines and what they sum up to, on a draft."""
    for line in lines:
        account.put("line_item", line_row(invoice, subscription, line))
    add_up(account, invoice)


def add_up(account: Account, invoice: Json) -> None:
    """A draft's totals; a credit of the customer is used when the invoice is finalized, and shown before."""
    subtotal = sum(line["amount"] for line in account.where("line_item", "invoice", invoice["id"]))
    total = subtotal - discount_lines(account, invoice)
    customer = account.load("customer", invoice["customer"])
    due = max(0, total + customer.get("balance", 0))
    invoice |= {
        **dict.fromkeys(("subtotal", "subtotal_excluding_tax"), subtotal),
        **dict.fromkeys(("total", "total_excluding_tax"), total),
        "amount_due": due,
        "amount_remaining": due,
    }
    account.put("invoice", invoice)


def line_row(invoice: Json, subscription: Json | None, line: Line) -> Json:
    return {
        "id": new_id("line_item"),
        "object": "line_item",
        "amount": line.amount,
        "currency": invoice["currency"],
        "description": line.description,
        "discount_amounts": [],
        "discountable": not line.is_proration,
        "discounts": [],
        "invoice": invoice["id"],
        "livemode": False,
        "metadata": subscription["metadata"] if subscription and line.subscription_item else {},
        "parent": line_parent(subscription, line),
        "period": {"end": line.period_end, "start": line.period_start},
        "pretax_credit_amounts": [],
        "pricing": pricing_of(line),
        "quantity": line.quantity,
        "quantity_decimal": str(line.quantity),
        "subscription": subscription["id"] if subscription else None,
        "subtotal": line.amount,
        "taxes": [],
    }


def pricing_of(line: Line) -> Json | None:
    if line.price is None:
        return None
    return {
        "price_details": {"price": line.price["id"], "product": line.price["product"]},
        "type": "price_details",
        "unit_amount_decimal": str(line.amount // line.quantity) if line.quantity else "0",
    }


def line_parent(subscription: Json | None, line: Line) -> Json:
    """Where a line comes from: an item of the subscription, or an invoice item."""
    details = {
        "invoice_item": line.invoice_item,
        "proration": line.is_proration,
        "proration_details": {"credited_items": None},
        "subscription": subscription["id"] if subscription else None,
    }
    if line.subscription_item is not None:
        item = {**details, "subscription_item": line.subscription_item}
        return {
            "invoice_item_details": None,
            "subscription_item_details": item,
            "type": "subscription_item_details",
        }
    return {
        "invoice_item_details": {**details, "invoice_item": line.invoice_item or new_id("invoiceitem")},
        "subscription_item_details": None,
        "type": "invoice_item_details",
    }
