"""Subscription schedules: phases of items that take each other's place at their moments.

Here are their rows; what a phase does when it begins is in `schedule_phases.py`, the calls are in
`schedule_calls.py`.
"""

from copy import deepcopy
from typing import Any, Literal

from deploy.local.stripe_simulator.events import changes, emit
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.store import Account, Json

KIND = "subscription_schedule"
#: A phase's fields before a call says otherwise; what is None is taken from the schedule's settings.
NEW_PHASE: Json = {
    "add_invoice_items": [],
    "application_fee_percent": None,
    "billing_cycle_anchor": None,
    "billing_thresholds": None,
    "collection_method": None,
    "default_payment_method": None,
    "default_tax_rates": [],
    "description": None,
    "discounts": [],
    "invoice_settings": None,
    "metadata": {},
    "on_behalf_of": None,
    "proration_behavior": "create_prorations",
    "transfer_data": None,
    "trial_end": None,
}
#: Of a phase: None is the schedule's.
NEW_INVOICE_SETTINGS: Json = dict.fromkeys(
    ("account_tax_ids", "custom_fields", "days_until_due", "description", "footer", "issuer")
)
NEW_ITEM: Json = {"billing_thresholds": None, "discounts": [], "metadata": {}, "tax_rates": []}


def new_schedule(account: Account, subscription: Json, phase: Json) -> Json:
    """The schedule that from now on manages a subscription, with the phase it is in; nothing is emitted."""
    return {
        "id": new_id(KIND),
        "object": KIND,
        "application": None,
        "billing_mode": subscription["billing_mode"],
        "canceled_at": None,
        "completed_at": None,
        "created": account.now(),
        "current_phase": {"end_date": phase["end_date"], "start_date": phase["start_date"]},
        "customer": subscription["customer"],
        "customer_account": None,
        "default_settings": {
            "application_fee_percent": None,
            "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
            "billing_cycle_anchor": "automatic",
            "billing_thresholds": None,
            "collection_method": subscription["collection_method"],
            "default_payment_method": subscription["default_payment_method"],
            "description": None,
            "invoice_settings": {
                "account_tax_ids": None,
                "custom_fields": None,
                "days_until_due": subscription["days_until_due"],
                "description": None,
                "footer": None,
                "issuer": {"type": "self"},
            },
            "on_behalf_of": None,
            "transfer_data": None,
        },
        "end_behavior": "release",
        "livemode": False,
        "metadata": {},
        "pause_schedules": [],
        "phases": [phase],
        "released_at": None,
        "released_subscription": None,
        "status": "active",
        "subscription": subscription["id"],
        "test_clock": subscription["test_clock"],
    }


def new_phase(items: list[Json], currency: str, start: int, end: int, **given: Any) -> Json:
    """`items` have `price` (an id) and `quantity`; moments in seconds since 1970."""
    made = [{**deepcopy(NEW_ITEM), **item} for item in items]
    whole = {**deepcopy(NEW_PHASE), **given, "currency": currency, "items": made}
    return {**whole, "start_date": start, "end_date": end}


def schedule_of(account: Account, subscription: Json) -> Json | None:
    """The schedule that manages a subscription now."""
    row = account.find(KIND, subscription["schedule"] or "")
    return row if row is not None and row["status"] == "active" else None


def end(
    account: Account,
    schedule: Json,
    status: Literal["released", "canceled"],
    request: Json | None = None,
) -> None:
    """It manages nothing any more: let go of its subscription, or ended with it. Emits both changes."""
    subscription = account.load("subscription", schedule["subscription"])
    schedule |= {"current_phase": None, "status": status, f"{status}_at": account.now()}
    if status == "released":
        schedule |= {"released_subscription": subscription["id"], "subscription": None}
    account.put(KIND, schedule)
    emit(account, f"{KIND}.{status}", schedule, request=request)
    if status == "released":
        attach(account, subscription, None, request)


def attach(account: Account, subscription: Json, schedule_id: str | None, request: Json | None) -> None:
    """Note which schedule manages a subscription; emits customer.subscription.updated."""
    before = snapshot(account, subscription)
    subscription["schedule"] = schedule_id
    account.put("subscription", subscription)
    previous = changes(before, snapshot(account, subscription))
    emit(account, "customer.subscription.updated", subscription, previous=previous, request=request)
