"""Which time an object lives in: that of its customer's test clock, or real time."""

from collections.abc import Iterable

from deploy.local.stripe_simulator.ids import PREFIX_OF
from deploy.local.stripe_simulator.store import Account, Json, invoice_subscription

#: Fields by which an object belongs to another → the kind of that one, nearest to the customer first.
OWNERS = {
    "customer": "customer",
    "subscription": "subscription",
    "invoice": "invoice",
    "payment_intent": "payment_intent",
    "charge": "charge",
}
KIND_OF = {prefix: kind for kind, prefix in PREFIX_OF.items()}


def clock_of(account: Account, row: Json) -> Json | None:
    """The test clock of an object; None: it lives in real time."""
    if row["object"] == "test_helpers.test_clock":
        return row
    clock_id = row.get("test_clock")
    if isinstance(clock_id, str):
        return account.find("test_helpers.test_clock", clock_id)
    for name, kind in OWNERS.items():
        owner_id = row.get(name)
        owner = account.find(kind, owner_id) if isinstance(owner_id, str) else None
        if owner is not None:
            return clock_of(account, owner)
    return None


def clock_named(account: Account, values: Iterable[object]) -> Json | None:
    """The test clock of the first object with one that a call names by an id."""
    for value in values:
        row = find_any(account, value) if isinstance(value, str) else None
        clock = clock_of(account, row) if row is not None else None
        if clock is not None:
            return clock
    return None


def find_any(account: Account, row_id: str) -> Json | None:
    """The row of an id whose kind its prefix says."""
    for prefix, kind in KIND_OF.items():
        if row_id.startswith(prefix):
            return account.find(kind, row_id)
    return None


def moment_of(clock: Json | None) -> int | None:
    """What `Account.standing_at` takes."""
    return None if clock is None else int(clock["frozen_time"])


def invoice_owner(account: Account, invoice: Json) -> Json | None:
    """The subscription of an invoice; None for a one-off invoice."""
    subscription_id = invoice_subscription(invoice)
    return account.find("subscription", subscription_id) if subscription_id else None
