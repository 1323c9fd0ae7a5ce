"""What belongs to an object, and how to tell that Stripe answered older than its event. Pure.

Stripe gives no promise that a read shows what an event announced a moment ago. So the fields below are
compared between the pending payloads of an object and what was read; a difference is read again later,
at most three times (docs/event-path.md, "Rechecks").
"""

from typing import Any

import msgspec

#: Fields whose difference between payload and read may mean a lagging read, by kind of object.
WATCHED: dict[str, tuple[str, ...]] = {
    "customer": ("deleted",),
    "subscription": (
        "status",
        "cancel_at",
        "cancel_at_period_end",
        "ended_at",
        "trial_end",
        "pause_collection",
        "schedule",
    ),
    "checkout.session": ("status", "payment_status"),
    "invoice": ("status", "amount_paid", "amount_remaining", "due_date"),
    "invoice_payment": ("status", "amount_paid"),
    "payment_intent": ("status", "latest_charge"),
    "charge": ("status", "amount_captured", "amount_refunded", "disputed"),
    "refund": ("status", "amount"),
    "dispute": ("status", "amount"),
    "product": ("active", "deleted"),
    "price": ("active", "deleted"),
    "test_clock": ("status", "frozen_time"),
}

#: Kinds whose deletion Stripe announces with the object as it was, and answers with a stub.
DELETABLE = frozenset({"customer", "product", "price", "test_clock"})

#: Values after which nothing else comes: a read that shows them is behind no event.
FINAL: dict[str, dict[str, frozenset[str]]] = {
    "subscription": {"status": frozenset({"canceled", "incomplete_expired"})},
    "invoice": {"status": frozenset({"paid", "void"})},
    "invoice_payment": {"status": frozenset({"paid", "canceled"})},
    "payment_intent": {"status": frozenset({"succeeded", "canceled"})},
    "checkout.session": {
        "status": frozenset({"complete", "expired"}),
        "payment_status": frozenset({"paid", "no_payment_required"}),
    },
}

#: Values that nothing comes back to: an event that announces one is behind a read that shows another.
FIRST: dict[str, dict[str, str]] = {
    "subscription": {"status": "incomplete"},
    "invoice": {"status": "draft"},
    "checkout.session": {"status": "open"},
}

MAX_RECHECKS = 3

Watched = dict[str, Any]


def watched_fields(object_kind: str, found: Any) -> Watched:
    """The fields of an object (payload or answer) that are compared; unreadable ones are left out."""
    if not isinstance(found, dict):
        return {}
    watched = {name: found[name] for name in WATCHED.get(object_kind, ()) if name in found}
    if object_kind in DELETABLE:
        # Stripe says it only of deleted ones.
        watched["deleted"] = bool(found.get("deleted"))
    if object_kind == "subscription" and (items := _items(found)) is not None:
        watched["items"] = items
    if object_kind == "subscription" and (period_end := _period_end(found)) is not None:
        watched["period_end"] = period_end
    return watched


def is_older(awaited: Watched, read: Watched) -> bool:
    """Whether what was read differs from what an event announced; a field that one side lacks is equal."""
    return any(name in read and read[name] != value for name, value in awaited.items())


def is_outdated(object_kind: str, awaited: Watched, read: Watched) -> bool:
    """Whether an announcement is certainly older than what was read, so that nothing is waited for.

    Stripe's order of events cannot be told from their times; but some values never come back.
    """
    final = FINAL.get(object_kind, {})
    if final and all(read.get(name) in values for name, values in final.items()):
        return True
    first = FIRST.get(object_kind, {})
    return any(awaited.get(name) == value and read.get(name, value) != value for name, value in first.items())


def awaited_by(object_kind: str, payload: bytes) -> Watched:
    """The watched fields in a stored payload of Stripe's; empty where it is unreadable."""
    event = _readable(payload)
    if object_kind in DELETABLE and str(event.get("type")).endswith(".deleted"):
        # Its payload shows the object as it was.
        return {"deleted": True}
    if object_kind == "customer":
        return {}
    data = event.get("data")
    shown = data.get("object") if isinstance(data, dict) else None
    name = shown.get("object") if isinstance(shown, dict) else None
    if name not in {None, object_kind, f"test_helpers.{object_kind}"}:
        # What is read is not what the payload shows: a dispute without an id names its charge.
        return {}
    return watched_fields(object_kind, shown)


def is_thin(payload: bytes) -> bool:
    """Whether a stored payload of Stripe's names its object without showing it."""
    event = _readable(payload)
    return "related_object" in event and "data" not in event


def _readable(payload: bytes) -> dict[str, Any]:
    """The event; {} where what the door did not look at is no JSON."""
    try:
        event = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def _items(subscription: dict[str, Any]) -> list[list[Any]] | None:
    """[[item id, price id, quantity], …] sorted; None where the shape is another version's."""
    items = subscription.get("items")
    data = items.get("data") if isinstance(items, dict) else None
    if not isinstance(data, list):
        return None
    try:
        return sorted([item["id"], item["price"]["id"], item.get("quantity")] for item in data)
    except (KeyError, TypeError, AttributeError):
        return None


def _period_end(subscription: dict[str, Any]) -> int | None:
    """The smallest period end of its items, unix seconds; None where the shape is another version's."""
    try:
        ends = [item["current_period_end"] for item in subscription["items"]["data"]]
    except (KeyError, TypeError):
        return None
    return min(ends) if ends and all(isinstance(end, int) for end in ends) else None
