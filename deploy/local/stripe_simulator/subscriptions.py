"""Subscriptions and their items: what they are made of, billed and listed as.

Nothing happens by itself yet: no renewal, no end of a trial, no `cancel_at` that comes due. A change of
items bills nothing (`proration_behavior=none`), unless it changes the interval: then a new period begins.
"""

from copy import deepcopy
from typing import Any

from deploy.local.stripe_simulator import invoices, payments
from deploy.local.stripe_simulator.errors import refused
from deploy.local.stripe_simulator.events import changes, emit
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.periods import period_end
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.store import Account, Json

#: Stripe's limit of items in one subscription.
MOST_ITEMS = 20
DAY_S = 24 * 3600
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
    "test_clock": None,
    "transfer_data": None,
    "trial_end": None,
    "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
    "trial_start": None,
}


def new_subscription(
    account: Account, customer_id: str, chosen: list[Json], currency: str, trial_end: int | None
) -> Json:
    """A stored subscription with its items; nothing is billed or emitted yet.

    `chosen` has `price` (a row), `quantity` and `metadata` for each item; `trial_end` in seconds since 1970.
    """
    now = account.now()
    row = subscription_row(account, customer_id, currency)
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


def begin_period(account: Account, subscription: Json, item: Json) -> None:
    """The item's period starts now: until the end of the trial, or for one interval of its price."""
    start = account.now()
    price = account.load("price", item["price"])
    trial_end = subscription["trial_end"] if subscription["status"] == "trialing" else None
    end = trial_end or period_end(start, price["recurring"])
    item |= {"current_period_start": start, "current_period_end": end}
    account.put("subscription_item", item)


def items_of(account: Account, subscription: Json) -> list[Json]:
    return account.where("subscription_item", "subscription", subscription["id"])


def billing_lines(account: Account, subscription: Json) -> list[invoices.Line]:
    """What the current period of every item costs; nothing during a trial."""
    is_trial = subscription["status"] == "trialing"
    lines = []
    for item in items_of(account, subscription):
        price = account.load("price", item["price"])
        name = account.load("product", price["product"])["name"]
        unit = unit_amount(price, subscription["currency"])
        lines.append(
            invoices.Line(
                price=price,
                quantity=item["quantity"],
                amount=0 if is_trial else unit * item["quantity"],
                subscription_item=item["id"],
                period_start=item["current_period_start"],
                period_end=item["current_period_end"],
                description=f"Trial period for {name}" if is_trial else f"{item['quantity']} {TIMES} {name}",
            )
        )
    return lines


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


def bill(account: Account, subscription: Json, reason: str, method: Json | None) -> Json:
    """Invoice the current period and pay it with `method`, which is needed when something is due."""
    invoice = invoices.draft_invoice(account, subscription, billing_lines(account, subscription), reason)
    invoices.finalize(account, invoice)
    if invoice["amount_due"] == 0:
        invoices.mark_paid(account, invoice, None)
        return invoice
    if method is None:
        raise ValueError("an invoice with an amount due needs a payment method")
    intent = payments.new_intent(
        account, invoice["amount_due"], invoice["currency"], customer=subscription["customer"], metadata={}
    )
    payments.succeed(account, intent, method)
    invoices.mark_paid(account, invoice, intent)
    return invoice


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
    """Ends the subscription at once; emits customer.subscription.deleted."""
    now = account.now()
    row |= {
        "canceled_at": row["canceled_at"] or now,
        "cancellation_details": {
            **row["cancellation_details"],
            "reason": "cancellation_requested",
            **(details or {}),
        },
        "ended_at": now,
        "status": "canceled",
    }
    account.put("subscription", row)
    emit(account, "customer.subscription.deleted", row, request=request)


def set_cancellation(account: Account, row: Json, asked: Json) -> None:
    """`cancel_at_period_end` and `cancel_at`, each of which replaces the other."""
    if "cancel_at" in asked:
        row |= {"cancel_at": asked["cancel_at"], "cancel_at_period_end": False}
    elif "cancel_at_period_end" in asked:
        ends = max(item["current_period_end"] for item in items_of(account, row))
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
