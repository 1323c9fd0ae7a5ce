"""How a subscription begins: checked, made, billed; its first payment makes it active or incomplete."""

from deploy.local.stripe_simulator import collection, discounts, invoices, params
from deploy.local.stripe_simulator.errors import card_declined, refused
from deploy.local.stripe_simulator.events import emit
from deploy.local.stripe_simulator.operations import Call
from deploy.local.stripe_simulator.periods import period_after
from deploy.local.stripe_simulator.rendering import render
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscription_changes import describe, require_method, trial_end_of
from deploy.local.stripe_simulator.subscriptions import (
    billing_lines,
    load_recurring_price,
    method_of,
    new_subscription,
    require_currency,
    require_distinct,
    set_cancellation,
)


def create_subscription(call: Call) -> Json:
    account, asked = call.account, call.params
    customer = account.load_live("customer", asked["customer"], "customer")
    chosen = choose_all(account, asked)
    currency = asked.get("currency") or chosen[0]["price"]["currency"]
    for number, choice in enumerate(chosen):
        require_currency(choice["price"], currency, f"items[{number}][price]")
    trial_end = trial_end_of(account, asked)
    require_method(account, asked)
    require_terms(asked)
    anchor = anchor_of(account, asked, chosen)
    is_paid = trial_end is None and any(choice["price"]["unit_amount"] for choice in chosen)
    status = first_status(account, customer, asked, is_paid=is_paid)
    row = new_subscription(account, customer["id"], chosen, currency, trial_end, anchor)
    row["status"] = status or row["status"]
    describe(row, asked)
    discounts.give(account, row, discounts.read_wanted(account, row, asked) or [])
    set_cancellation(account, row, asked)
    account.put("subscription", row)
    emit(account, "customer.subscription.created", row, request=call.request)
    if anchor is None or asked.get("proration_behavior") != "none":
        bill_first(account, row, waits=asked.get("payment_behavior") == "default_incomplete")
    return render(account, row)


def choose_all(account: Account, asked: Json) -> list[Json]:
    chosen = [choose(account, item, f"items[{number}]") for number, item in enumerate(asked["items"])]
    require_distinct([choice["price"]["id"] for choice in chosen], "items")
    return chosen


def choose(account: Account, item: Json, name: str) -> Json:
    if "price" not in item:
        raise refused(f"Missing required param: {name}[price].", f"{name}[price]", "parameter_missing")
    price = load_recurring_price(account, item["price"], f"{name}[price]")
    metadata = params.changed_metadata({}, item.get("metadata"))
    return {"price": price, "quantity": item.get("quantity", 1), "metadata": metadata}


def require_terms(asked: Json) -> None:
    is_sent = asked.get("collection_method") == "send_invoice"
    if is_sent and "days_until_due" not in asked:
        raise refused(
            "You must pass `days_until_due` when `collection_method` is `send_invoice`.",
            "days_until_due",
            "parameter_missing",
        )
    if not is_sent and "days_until_due" in asked:
        raise refused("`days_until_due` needs `collection_method=send_invoice`.", "days_until_due")


def anchor_of(account: Account, asked: Json, chosen: list[Json]) -> int | None:
    """When the first whole period begins, in seconds since 1970; None: now."""
    anchor = asked.get("billing_cycle_anchor")
    if anchor is None:
        return None
    now = account.now()
    latest = min(period_after(now, now, choice["price"]["recurring"]) for choice in chosen)
    if not now < anchor <= latest:
        raise refused(
            "`billing_cycle_anchor` must be in the future, and not later than the next natural billing date: "
            f"{latest}.",
            "billing_cycle_anchor",
        )
    return int(anchor)


def first_status(account: Account, customer: Json, asked: Json, *, is_paid: bool) -> str | None:
    """`incomplete` when the first invoice will not be paid at once; None: as `new_subscription` says.

    Raises StripeError when nobody could pay, or the payment fails and the caller wants that to be an error.
    """
    behavior = asked.get("payment_behavior", "allow_incomplete")
    if not is_paid or asked.get("collection_method") == "send_invoice":
        return None
    if behavior == "default_incomplete":
        return "incomplete"
    default = customer["invoice_settings"]["default_payment_method"]
    if collection.will_pay(method_of(account, asked.get("default_payment_method"), default)):
        return None
    if behavior == "error_if_incomplete":
        raise card_declined()
    return "incomplete"


def bill_first(account: Account, row: Json, *, waits: bool) -> None:
    """An invoice that is sent stays a draft for an hour; any other is issued at once."""
    invoice = invoices.draft_invoice(account, row, billing_lines(account, row), "subscription_create")
    if row["collection_method"] == "send_invoice" and invoice["amount_due"]:
        invoice["automatically_finalizes_at"] = account.now() + invoices.DRAFT_S
        account.put("invoice", invoice)
    else:
        collection.issue(account, invoice, attempts=not waits)
