"""What Stripe changed between versions, taken back: each function makes an object look as it did before.

They change the object in place, and look up what the pinned version no longer shows (the invoice of a
charge, the price of a line) where it is stored.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from deploy.local.stripe_simulator.rendering import (
    charge_refunds,
    customer_subscriptions,
    nested_list,
    render,
)
from deploy.local.stripe_simulator.store import Account, Json

UI_MODES = {"elements": "custom", "embedded_page": "embedded", "hosted_page": "hosted"}
NOT_YET_ON_SESSIONS = ("collected_information", "origin_context", "permissions", "wallet_options")
#: Objects that name their customer, and since dahlia its account too.
NAMING_CUSTOMERS = (
    "billing_portal.session",
    "checkout.session",
    "customer",
    "invoice",
    "invoiceitem",
    "payment_intent",
    "payment_method",
    "refund",
    "subscription",
)
#: Object → its collection's address, where it is not the plural of its name.
COLLECTIONS = {
    "billing_portal.configuration": "billing_portal/configurations",
    "billing_portal.session": "billing_portal/sessions",
    "checkout.session": "checkout/sessions",
    "test_helpers.test_clock": "test_helpers/test_clocks",
}


def without(*names: str) -> Callable[[Account, Json], None]:
    def take_back(_account: Account, subject: Json) -> None:
        for name in names:
            subject.pop(name, None)

    return take_back


def name_ui_mode_as_before(_account: Account, session: Json) -> None:
    session["ui_mode"] = UI_MODES.get(session["ui_mode"], session["ui_mode"])
    session.pop("integration_identifier", None)


def name_billing_mode_only(_account: Account, subscription: Json) -> None:
    subscription["billing_mode"] = {"type": subscription["billing_mode"]["type"]}


def show_invoice_of_payment(account: Account, subject: Json) -> None:
    """On a charge or a payment intent: the invoice it paid, or null."""
    intent = subject["id"] if subject["object"] == "payment_intent" else subject["payment_intent"]
    rows = account.where("invoice_payment", "payment_intent", intent) if intent else []
    subject["invoice"] = rows[0]["invoice"] if rows else None


def show_shipping_details(_account: Account, session: Json) -> None:
    for name in NOT_YET_ON_SESSIONS:
        session.pop(name, None)
    session["shipping_details"] = None


def show_payment_on_invoice(account: Account, invoice: Json) -> None:
    parent = invoice.pop("parent", None) or {}
    details = parent.get("subscription_details") or {}
    intent_id = intent_of(account, invoice["id"])
    intent = account.find("payment_intent", intent_id) if intent_id else None
    for name in ("amount_overpaid", "amount_paid_off_stripe", "total_taxes"):
        invoice.pop(name, None)
    invoice |= {
        "application_fee_amount": None,
        "charge": (intent or {}).get("latest_charge"),
        "discount": None,
        "paid": invoice["status"] == "paid",
        "paid_out_of_band": invoice["status"] == "paid" and intent is None and invoice["amount_due"] > 0,
        "payment_intent": intent_id,
        "quote": None,
        "subscription": details.get("subscription"),
        "subscription_details": {"metadata": details.get("metadata")},
        "tax": None,
        "total_tax_amounts": [],
        "transfer_data": None,
    }


def intent_of(account: Account, invoice_id: str) -> str | None:
    rows = account.where("invoice_payment", "invoice", invoice_id)
    intents = [row["payment"].get("payment_intent") for row in rows]
    return intents[-1] if intents else None


def show_price_on_line(account: Account, line: Json) -> None:
    details = ((line.pop("pricing", None) or {}).get("price_details")) or {}
    price = account.find("price", details["price"]) if "price" in details else None
    parent = line.pop("parent", None) or {}
    item = parent.get("subscription_item_details")
    source = item or parent.get("invoice_item_details") or {}
    line.pop("taxes", None)
    line |= {
        "amount_excluding_tax": line["amount"],
        "invoice_item": source.get("invoice_item"),
        "plan": plan_of(price),
        "price": render(account, price) if price else None,
        "proration": source.get("proration", False),
        "proration_details": source.get("proration_details"),
        "subscription_item": source.get("subscription_item"),
        "tax_amounts": [],
        "tax_rates": [],
        "type": "subscription" if item else "invoiceitem",
        "unit_amount_excluding_tax": None,
    }


def show_price_on_invoice_item(account: Account, item: Json) -> None:
    details = ((item.pop("pricing", None) or {}).get("price_details")) or {}
    price = account.find("price", details["price"]) if "price" in details else None
    parent = (item.pop("parent", None) or {}).get("subscription_details") or {}
    unit = item["amount"] // item["quantity"] if item["quantity"] else item["amount"]
    item.pop("net_amount", None)
    item |= {
        "plan": plan_of(price),
        "price": render(account, price) if price else None,
        "subscription": parent.get("subscription"),
        "unit_amount": unit,
        "unit_amount_decimal": str(unit),
    }


def show_period_on_subscription(account: Account, subscription: Json) -> None:
    """The period, which all items shared then; and the plan of a subscription with one item."""
    items = subscription["items"]["data"]
    is_single = len(items) == 1 and not subscription["items"]["has_more"]
    price = account.find("price", items[0]["price"]["id"]) if is_single else None
    subscription.pop("billing_mode", None)
    subscription |= {
        "current_period_end": min((item["current_period_end"] for item in items), default=None),
        "current_period_start": max((item["current_period_start"] for item in items), default=None),
        "discount": None,
        "plan": plan_of(price),
        "quantity": items[0]["quantity"] if is_single else None,
    }


def show_plan_on_item(account: Account, item: Json) -> None:
    item["plan"] = plan_of(account.find("price", item["price"]["id"]))


def plan_of(price: Json | None) -> Json | None:
    """The plan that a recurring price also is; None for a one-time price."""
    if price is None or price["recurring"] is None:
        return None
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": price["livemode"],
        "metadata": price["metadata"],
        "meter": None,
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": recurring["usage_type"],
    }


def show_refunds_on_charge(account: Account, charge: Json) -> None:
    charge["refunds"] = counted(charge_refunds(account, charge))


def show_charges_on_intent(account: Account, intent: Json) -> None:
    rows = account.where("charge", "payment_intent", intent["id"])
    rows.reverse()
    intent["charges"] = counted(nested_list(account, rows, f"/v1/charges?payment_intent={intent['id']}"))


def counted(found: Json) -> Json:
    return {**found, "total_count": len(found["data"])}


def show_lists_on_customer(account: Account, customer: Json) -> None:
    if customer.get("deleted"):
        return
    path = f"/v1/customers/{customer['id']}"
    customer |= {
        "sources": counted(nested_list(account, [], f"{path}/sources")),
        "subscriptions": counted(customer_subscriptions(account, customer)),
        "tax_ids": counted(nested_list(account, [], f"{path}/tax_ids")),
    }


def show_tax_percent(_account: Account, subscription: Json) -> None:
    subscription["tax_percent"] = None


def name_collection_as_billing(_account: Account, subject: Json) -> None:
    subject["billing"] = subject.pop("collection_method")
    if "start_date" in subject:
        subject["start"] = subject.pop("start_date")


def show_dates_on_invoice(_account: Account, invoice: Json) -> None:
    moments = invoice.pop("status_transitions", None) or {}
    invoice |= {
        "application_fee": invoice.pop("application_fee_amount", None),
        "date": invoice.pop("created"),
        "finalized_at": moments.get("finalized_at"),
    }


def show_closed_on_invoice(_account: Account, invoice: Json) -> None:
    status = invoice.pop("status")
    invoice |= {"closed": status in {"paid", "void"}, "forgiven": status == "uncollectible"}
    invoice.pop("auto_advance", None)


def show_aggregate_usage(_account: Account, plan: Json) -> None:
    plan["aggregate_usage"] = None


def show_name_on_plan(account: Account, plan: Json) -> None:
    product = account.find("product", plan["product"])
    plan |= {"name": (product or {}).get("name"), "statement_descriptor": None}


def iso_moment(created: int) -> str:
    return f"{datetime.fromtimestamp(created, UTC):%Y-%m-%dT%H:%M:%S.000Z}"


def reason_of(request: Json) -> Json | None:
    return {"type": "request", "request": request} if request["id"] else None


def address_of(subject: Json) -> str:
    kind = subject.get("object", "")
    return f"/v1/{COLLECTIONS.get(kind, f'{kind}s')}/{subject.get('id')}"
