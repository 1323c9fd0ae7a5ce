"""Event payloads as endpoints of older API versions get them.

Everything is stored in the shape of the pinned version. `CHANGES` lists what Stripe changed since, newest
first; a payload for an older version is the pinned one with every later change taken back. It covers
what readers of billing events look at, not each field of each version, and only payloads: API calls are
answered at the pinned version.

Source: docs.stripe.com/changelog; the shapes of acacia and basil in Stripe's public OpenAPI documents.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from deploy.local.stripe_simulator import version_changes as undo
from deploy.local.stripe_simulator.errors import StripeError
from deploy.local.stripe_simulator.store import Account, Json

API_VERSION = "2026-10-28.endive"
#: Short names for the control plane. Any other date is a version too.
NAMED = {
    "endive": API_VERSION,
    "dahlia": "2026-08-26.dahlia",
    "clover": "2025-09-30.clover",
    "basil": "2025-03-31.basil",
    "acacia": "2025-02-24.acacia",
    "2020": "2020-03-02",
    "2018": "2018-05-21",
    "2016": "2016-07-06",
}
KIND, ROW_ID = "api_version", "default"
VERSION = re.compile(r"20\d\d-[01]\d-[0-3]\d(\.[a-z]+)?")


class Change(NamedTuple):
    """From `since` on Stripe shows objects of this kind in the new way."""

    since: str
    kind: str
    #: Makes the object, which may be changed in place, look as before.
    take_back: Callable[[Account, Json], None]


CHANGES = (
    Change("2026-10-28", "subscription", undo.without("status_details")),
    # Stripe still shows the plan beside the price; this Stripe leaves it out of the pinned shape.
    Change("2026-10-28", "subscription_item", undo.show_plan_on_item),
    *(Change("2026-03-25", kind, undo.without("customer_account")) for kind in undo.NAMING_CUSTOMERS),
    Change("2026-03-25", "checkout.session", undo.name_ui_mode_as_before),
    Change("2026-03-25", "refund", undo.without("customer", "payment_method")),
    Change("2026-03-25", "subscription", undo.without("billing_schedules")),
    Change("2026-03-25", "line_item", undo.without("quantity_decimal", "subtotal")),
    Change("2026-03-25", "invoiceitem", undo.without("quantity_decimal")),
    Change("2025-09-30", "subscription", undo.name_billing_mode_only),
    Change("2025-03-31", "charge", undo.show_invoice_of_payment),
    Change("2025-03-31", "payment_intent", undo.show_invoice_of_payment),
    Change("2025-03-31", "checkout.session", undo.show_shipping_details),
    Change("2025-03-31", "invoice", undo.show_payment_on_invoice),
    Change("2025-03-31", "line_item", undo.show_price_on_line),
    Change("2025-03-31", "subscription", undo.show_period_on_subscription),
    Change("2025-03-31", "subscription_item", undo.without("current_period_end", "current_period_start")),
    Change("2025-03-31", "invoiceitem", undo.show_price_on_invoice_item),
    Change("2025-03-31", "payment_intent", undo.without("excluded_payment_method_types")),
    Change("2025-03-31", "plan", undo.show_aggregate_usage),
    Change("2025-03-31", "balance_transaction", undo.without("balance_type")),
    Change("2025-03-31", "billing_portal.configuration", undo.without("name")),
    Change("2022-11-15", "charge", undo.show_refunds_on_charge),
    Change("2022-11-15", "payment_intent", undo.show_charges_on_intent),
    Change("2020-08-27", "customer", undo.show_lists_on_customer),
    Change("2020-08-27", "subscription", undo.show_tax_percent),
    # Prices came in 2020. Before, items and lines had plans only.
    Change("2020-03-02", "subscription_item", undo.without("price")),
    Change("2020-03-02", "line_item", undo.without("price")),
    Change("2019-10-17", "subscription", undo.name_collection_as_billing),
    Change("2019-10-17", "invoice", undo.name_collection_as_billing),
    Change("2019-03-14", "invoice", undo.show_dates_on_invoice),
    Change("2018-11-08", "invoice", undo.show_closed_on_invoice),
    Change("2018-02-05", "plan", undo.show_name_on_plan),
)
#: Kind → fields without which `CHANGES` cannot be taken back.
NEEDED: dict[str, frozenset[str] | set[str]] = {
    **dict.fromkeys(
        (*undo.NAMING_CUSTOMERS, "balance_transaction", "billing_portal.configuration"), frozenset({"id"})
    ),
    "charge": {"id", "payment_intent"},
    "checkout.session": {"id", "ui_mode"},
    "invoice": {"amount_due", "collection_method", "created", "id", "status"},
    "invoiceitem": {"amount", "id", "quantity"},
    "line_item": {"amount", "id"},
    "plan": {"id", "product"},
    "subscription": {"billing_mode", "collection_method", "id", "items"},
    "subscription_item": {"id", "price"},
}
#: Before this day an event named its request by a plain id.
REQUEST_AS_HASH = "2017-05-25"


def read_version(text: str) -> str:
    """A short name or a version as Stripe writes it. Raises StripeError (400) otherwise."""
    version = NAMED.get(text, text)
    if VERSION.fullmatch(version) is None or version[:10] > API_VERSION[:10]:
        raise StripeError(
            f"Invalid Stripe API version: {text}. Use one of {', '.join(NAMED)}, or a date until "
            f"{API_VERSION[:10]}, for instance 2019-05-16."
        )
    return version


def default_version(account: Account) -> str:
    """The account's own version: of what `/v1/events` shows, and of endpoints that name none."""
    row = account.find(KIND, ROW_ID)
    return row["version"] if row else API_VERSION


def set_default_version(account: Account, version: str) -> None:
    account.put(KIND, {"id": ROW_ID, "version": version})


def payload(account: Account, event: Json, version: str) -> Json:
    """The event as an endpoint of this version gets it.

    An event that was emitted by hand in another version passes as it is.
    """
    if event["api_version"] != API_VERSION or version == API_VERSION:
        return event
    before = event["data"].get("previous_attributes")
    data: Json = {"object": older(account, event["data"]["object"], version)}
    if before is not None:
        former = older(account, with_former(event["data"]["object"], before), version)
        data["previous_attributes"] = differing(former, data["object"])
    shown = {**event, "api_version": version, "data": data}
    if version < REQUEST_AS_HASH:
        shown["request"] = event["request"]["id"]
    return shown


def older(account: Account, value: Any, version: str) -> Any:
    """A copy of the value with every object in it as the version shows it."""
    if isinstance(value, list):
        return [older(account, each, version) for each in value]
    if not isinstance(value, dict):
        return value
    copy = {**value}
    kind = copy.get("object")
    # An object that was emitted by hand may be anything: only what is whole is made older.
    if isinstance(kind, str) and kind in NEEDED and NEEDED[kind] <= copy.keys():
        for change in CHANGES:
            if change.kind == kind and change.since > version[:10]:
                change.take_back(account, copy)
    return {name: older(account, inner, version) for name, inner in copy.items()}


def with_former(now: Json, before: Json) -> Json:
    """The object as it was before: the former values of `previous_attributes` in the present object."""
    former = {**now}
    for name, old in before.items():
        new = now.get(name)
        both = isinstance(old, dict) and isinstance(new, dict) and "object" not in old
        former[name] = with_former(new, old) if both and isinstance(new, dict) else old
    return former


def differing(former: Json, now: Json) -> Json:
    return {
        name: former.get(name) for name in former.keys() | now.keys() if former.get(name) != now.get(name)
    }


def thin(event: Json) -> Json:
    """The event as a destination of the second API generation gets it: it names its object only."""
    subject = event["data"]["object"]
    return {
        "id": event["id"],
        "object": "v2.core.event",
        "changes": None,
        "context": None,
        "created": undo.iso_moment(event["created"]),
        "livemode": event["livemode"],
        "reason": undo.reason_of(event["request"]),
        "related_object": {
            "id": subject.get("id"),
            "type": subject.get("object"),
            "url": undo.address_of(subject),
        },
        "type": f"v1.{event['type']}",
    }
