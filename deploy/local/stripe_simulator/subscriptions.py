"""Subscriptions and their items: what they are made of, billed and listed as.

What time does to them is in `renewals.py`, what a caller changes in `subscription_changes.py`, and what
their invoices do to them in `standing.py`.
"""

from copy import deepcopy
from typing import Any

from deploy.local.stripe_simulator import schedules
from deploy.local.stripe_simulator.errors import refused
from deploy.local.stripe_simulator.events import changes, emit
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.invoice_lines import Line
from deploy.local.stripe_simulator.periods import period_after, period_start
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.store import Account, Json

#: Stripe's limit of items in one subscription.
MOST_ITEMS = 20
DAY_S = 24 * 3600
ENDED = {"canceled", "incomplete_expired"}
#: The multiplication sign, as Stripe writes it in descriptions.
TIMES = "\u00d7"

#: A subscription's fields before anything happens; the varying ones are filled in by `subscription_row`.
NEW_SUBSCRIPTION: Json = {
    "object": "subscription",
    "application": None,
    "application_fee_percent": None,
    "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
    "billing_cycle_anchor_config": None,
    "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible"},
    "billing_schedules": [],
    "billing_thresholds": None,
    "cancel_at": None,
    "cancel_at_period_end": False,
    "canceled_at": None,
    "cancellation_details": {"comment": None, "feedback": None, "reason": None},
    "collection_method": "charge_automatically",
    "customer_account": None,
    "days_until_due": None,
    "default_payment_method": None,
    "default_source": None,
    "default_tax_rates": [],
    "description": None,
    "discounts": [],
    "ended_at": None,
    "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
    "latest_invoice": None,
    "livemode": False,
    "metadata": {},
    "next_pending_invoice_item_invoice": None,
    "on_behalf_of": None,
    "pause_collection": None,
    "payment_settings": {
        "payment_method_options": None,
        "payment_method_types": None,
        "save_default_payment_method": "off",
    },
    "pending_invoice_item_interval": None,
    "pending_setup_intent": None,
    "pending_update": None,
    "schedule": None,
    "status": "active",
    "status_details": None,
    "test_clock": None,
    "transfer_data": None,
    "trial_end": None,
    "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
    "trial_start": None,
}


def new_subscription(
    account: Account,
    customer_id: str,
    chosen: list[Json],
    currency: str,
    trial_end: int | None,
    anchor: int | None = None,
) -> Json:
    """A stored subscription with its items; nothing is billed or emitted yet.

    `chosen` has `price` (a row), `quantity` and `metadata` for each item; `trial_end` in seconds since 1970,
    and so `anchor`, when the first whole period begins (None: now).
    """
    now = account.now()
    row = subscription_row(account, customer_id, currency)
    if anchor is not None:
        row["billing_cycle_anchor"] = anchor
    if trial_end is not None:
        row |= {"status": "trialing", "trial_start": now, "trial_end": trial_end}
        row["billing_cycle_anchor"] = trial_end
    account.put("subscription", row)
    for choice in chosen:
        add_item(account, row, choice)
    return row


def subscription_row(account: Account, customer_id: str, currency: str) -> Json:
    now = account.now()
    return {
        **deepcopy(NEW_SUBSCRIPTION),
        "id": new_id("subscription"),
        "billing_cycle_anchor": now,
        "created": now,
        "currency": currency,
        "customer": customer_id,
        "start_date": now,
        "test_clock": account.load("customer", customer_id)["test_clock"],
    }


def add_item(account: Account, subscription: Json, choice: Json) -> Json:
    start = account.now()
    row = {
        "id": new_id("subscription_item"),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": start,
        "current_period_end": 0,
        "current_period_start": start,
        "discounts": [],
        "metadata": choice.get("metadata") or {},
        "price": choice["price"]["id"],
        "quantity": choice.get("quantity", 1),
        "subscription": subscription["id"],
        "tax_rates": [],
    }
    begin_period(account, subscription, row)
    return row


def begin_period(account: Account, subscription: Json, item: Json, start: int | None = None) -> None:
    """The item's period starts (None: now): until the end of the trial, or the next turn of its price."""
    start = account.now() if start is None else start
    price = account.load("price", item["price"])
    trial_end = subscription["trial_end"] if subscription["status"] == "trialing" else None
    end = trial_end or period_after(subscription["billing_cycle_anchor"], start, price["recurring"])
    item |= {"current_period_start": start, "current_period_end": end}
    account.put("subscription_item", item)


def items_of(account: Account, subscription: Json) -> list[Json]:
    return account.where("subscription_item", "subscription", subscription["id"])


def billing_lines(account: Account, subscription: Json, items: list[Json] | None = None) -> list[Line]:
    """What the current period of these items (None: of all) costs; nothing during a trial."""
    is_trial = subscription["status"] == "trialing"
    lines = []
    for item in items_of(account, subscription) if items is None else items:
        price = account.load("price", item["price"])
        name = account.load("product", price["product"])["name"]
        lines.append(
            Line(
                price=price,
                quantity=item["quantity"],
                amount=0 if is_trial else period_amount(account, subscription, item),
                subscription_item=item["id"],
                period_start=item["current_period_start"],
                period_end=item["current_period_end"],
                description=f"Trial period for {name}" if is_trial else f"{item['quantity']} {TIMES} {name}",
            )
        )
    return lines


def period_amount(account: Account, subscription: Json, item: Json) -> int:
    """Minor units for the item's current period; a first period before the anchor costs its part."""
    price = account.load("price", item["price"])
    full = unit_amount(price, subscription["currency"]) * int(item["quantity"])
    start, end = item["current_period_start"], item["current_period_end"]
    anchor = subscription["billing_cycle_anchor"]
    if start >= anchor:
        return full
    return part_of(full, end - start, end - period_start(anchor, end, price["recurring"]))


def part_of(amount: int, seconds: int, whole: int) -> int:
    """A share of an amount by time, rounded half up."""
    return (2 * amount * seconds + whole) // (2 * whole)


def unit_amount(price: Json, currency: str) -> int:
    """Minor units for one; the price has the currency, see `require_currency`."""
    amount: int = price["currency_options"][currency]["unit_amount"]
    return amount


def require_currency(price: Json, currency: str, param: str) -> None:
    if currency not in price["currency_options"]:
        raise refused(
            f"The price `{price['id']}` has no amount in `{currency}`: all prices of one purchase must "
            "share a currency.",
            param,
        )


def load_price(account: Account, price_id: str, param: str) -> Json:
    """An active price; refused otherwise."""
    price = account.load("price", price_id, param)
    if not price["active"]:
        raise refused("The price specified is inactive. This field only accepts active prices.", param)
    return price


def load_recurring_price(account: Account, price_id: str, param: str) -> Json:
    price = load_price(account, price_id, param)
    if price["recurring"] is None:
        raise refused(
            "The price specified is set to `type=one_time` but this field only accepts prices with "
            "`type=recurring`.",
            param,
        )
    return price


def paying_method(account: Account, subscription: Json) -> Json:
    """The method the next invoice is paid with; refused when there is none."""
    customer = account.load("customer", subscription["customer"])
    return method_of(
        account,
        subscription["default_payment_method"],
        customer["invoice_settings"]["default_payment_method"],
    )


def method_of(account: Account, *candidates: str | None) -> Json:
    for method_id in candidates:
        if method_id is not None:
            return account.load("payment_method", method_id, "default_payment_method")
    raise refused(
        "This customer has no attached payment source or default payment method. Please consider adding "
        "a default payment method.",
        code="resource_missing",
    )


def require_distinct(prices: list[str], param: str) -> None:
    if len(prices) > MOST_ITEMS:
        raise refused(f"A subscription can have at most {MOST_ITEMS} items.", param)
    for price_id in prices:
        if prices.count(price_id) > 1:
            raise refused(f"Cannot add multiple subscription items with the same price: {price_id}", param)


def cancel_now(
    account: Account, row: Json, request: Json | None, details: dict[str, Any] | None = None
) -> None:
    """Ends the subscription at once; emits customer.subscription.deleted. Its invoices stop by themselves."""
    now = account.now()
    row |= {
        "canceled_at": row["canceled_at"] or now,
        "cancellation_details": {
            **row["cancellation_details"],
            "reason": "cancellation_requested",
            **(details or {}),
        },
        "ended_at": now,
        "pending_update": None,
        "status": "canceled",
        "status_details": None,
    }
    account.put("subscription", row)
    if schedule := schedules.schedule_of(account, row):
        schedules.end(account, schedule, "canceled", request)
    for invoice in account.where("invoice", "subscription", row["id"]):
        if invoice["status"] in {"draft", "open"}:
            invoice |= {"auto_advance": False, "next_payment_attempt": None}
            account.put("invoice", invoice)
    emit(account, "customer.subscription.deleted", row, request=request)


def last_period_end(account: Account, row: Json) -> int:
    return max(int(item["current_period_end"]) for item in items_of(account, row))


def set_cancellation(account: Account, row: Json, asked: Json) -> None:
    """`cancel_at_period_end` and `cancel_at`, each of which replaces the other."""
    if "cancel_at" in asked:
        row |= {"cancel_at": asked["cancel_at"], "cancel_at_period_end": False}
    elif "cancel_at_period_end" in asked:
        ends = last_period_end(account, row)
        is_set = asked["cancel_at_period_end"]
        row |= {"cancel_at": ends if is_set else None, "cancel_at_period_end": is_set}
    else:
        return
    is_leaving = row["cancel_at"] is not None
    row["canceled_at"] = account.now() if is_leaving else None
    reason = "cancellation_requested" if is_leaving else None
    row["cancellation_details"] = {**row["cancellation_details"], "reason": reason}
    account.put("subscription", row)


def emit_update(account: Account, before: Json, row: Json, request: Json | None) -> None:
    """customer.subscription.updated when something differs."""
    if difference := changes(before, snapshot(account, row)):
        emit(account, "customer.subscription.updated", row, previous=difference, request=request)


def set_fields(account: Account, row: Json, request: Json | None = None, **fields: Any) -> None:
    """Write fields of a subscription; emits customer.subscription.updated."""
    before = snapshot(account, row)
    row |= fields
    account.put("subscription", row)
    emit_update(account, before, row, request)


def plan_of(account: Account, row: Json) -> Json:
    """What Stripe does not show of a subscription: what waits for an invoice, and what was already told."""
    fresh = {
        "id": row["id"],
        "pending_invoice": None,
        "pending_items": [],
        "pending_restarts": False,
        "resumption_invoice": None,
        "resumption_until": None,
        #: The `trial_end` of which `trial_will_end` has told.
        "trial_told": None,
    }
    return account.find("subscription_plan", row["id"]) or fresh


def change_plan(account: Account, row: Json, **fields: Any) -> None:
    account.put("subscription_plan", {**plan_of(account, row), **fields})
