"""What one run read from Stripe."""

from collections.abc import Iterator

from msgspec import Struct, field

from domain.money import Charge, ChargeDispute, ChargeRefund, Invoice, InvoicePayment
from domain.rules.closure import Watched
from domain.rules.shapes import (
    MirroredClock,
    MirroredCustomer,
    MirroredIntent,
    MirroredPrice,
    MirroredProduct,
    MirroredSession,
    MirroredSubscription,
)

#: (kind, Stripe id)
ObjectKey = tuple[str, str]


class Fetched(Struct, kw_only=True):
    """What Stripe says now, by id."""

    customers: dict[str, MirroredCustomer] = field(default_factory=dict)
    subscriptions: dict[str, MirroredSubscription] = field(default_factory=dict)
    sessions: dict[str, MirroredSession] = field(default_factory=dict)
    invoices: dict[str, Invoice] = field(default_factory=dict)
    invoice_payments: dict[str, InvoicePayment] = field(default_factory=dict)
    intents: dict[str, MirroredIntent] = field(default_factory=dict)
    charges: dict[str, Charge] = field(default_factory=dict)
    refunds: dict[str, ChargeRefund] = field(default_factory=dict)
    disputes: dict[str, ChargeDispute] = field(default_factory=dict)
    products: dict[str, MirroredProduct] = field(default_factory=dict)
    prices: dict[str, MirroredPrice] = field(default_factory=dict)
    clocks: dict[str, MirroredClock] = field(default_factory=dict)
    #: Customers of a test clock, ours or not.
    clock_customers: set[str] = field(default_factory=set)
    #: The customer of an object whose own target this run is; absent: it has none.
    customer_of: dict[ObjectKey, str] = field(default_factory=dict)
    #: The fields compared with payloads, as read.
    watched: dict[ObjectKey, Watched] = field(default_factory=dict)
    #: Stripe says that these do not exist.
    missing: set[ObjectKey] = field(default_factory=set)
    #: Payments that a list shows on no invoice and in no session: perhaps not yet.
    unlinked: set[ObjectKey] = field(default_factory=set)
    #: Pages of a long list that this run left for a later one.
    later: set[ObjectKey] = field(default_factory=set)
    #: Objects that could not be understood, with the error.
    broken: dict[ObjectKey, str] = field(default_factory=dict)
    #: What was read because of an object, so that a broken part sets the whole aside.
    closure: dict[ObjectKey, set[ObjectKey]] = field(default_factory=dict)

    def error_of(self, key: ObjectKey) -> str | None:
        """Why this object or a part of its closure is Broken; None: it is whole."""
        return next((self.broken[part] for part in sorted(self.parts_of(key)) if part in self.broken), None)

    def parts_of(self, key: ObjectKey) -> set[ObjectKey]:
        """The object and everything that was read because of it."""
        found: set[ObjectKey] = set()
        waiting = [key]
        while waiting:
            part = waiting.pop()
            if part not in found:
                found.add(part)
                waiting.extend(self.closure.get(part, ()))
        return found

    def owners(self) -> Iterator[tuple[str, str, str | None]]:
        """(kind, id, customer id or None) of everything read that belongs to a customer."""
        yield from (("subscription", key, found.customer_id) for key, found in self.subscriptions.items())
        yield from (("checkout.session", key, found.customer_id) for key, found in self.sessions.items())
        yield from (("invoice", key, found.customer_id) for key, found in self.invoices.items())
        yield from (("charge", key, found.customer_id) for key, found in self.charges.items())
