"""The nouns of an account page, and what it is made of.

Amounts are integer minor units before discounts and taxes, times are aware UTC.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from domain.model import Facts, Reason
from domain.money import BilledSubscription, BoughtLine, Invoice, PriceTerms


class Records(Struct, frozen=True, kw_only=True):
    """Everything of one user that an account page is made of."""

    facts: Facts
    #: By subscription id.
    billed: Mapping[str, BilledSubscription] = {}
    #: By item id.
    terms: Mapping[str, PriceTerms] = {}
    #: Of the items that are to come or to be paid, by price id.
    scheduled_terms: Mapping[str, PriceTerms] = {}
    #: By purchase id.
    bought: Mapping[str, BoughtLine] = {}
    #: Of the subscriptions whose payment fails, without lines.
    invoices: Sequence[Invoice] = ()
    #: Open ones, with lines, by the subscription whose change waits for their payment.
    awaited: Mapping[str, Invoice] = {}


class BillingItem(Struct, frozen=True, kw_only=True):
    """What is paid for. Null where Stripe has it and we cannot name it."""

    plan: str | None
    name: str | None
    price: str | None
    #: Of the price: an older one has other amounts than the catalog.
    revision: int | None
    #: Null: metered.
    quantity: int | None
    currency: str | None
    #: Per unit and interval, before discounts and taxes; null: tiers, or decimals.
    unit_amount_minor: int | None
    #: The same times the quantity.
    amount_minor: int | None
    #: day, week, month or year.
    interval: str | None
    interval_count: int | None


class PendingChange(Struct, frozen=True, kw_only=True):
    """The whole of the items from then on."""

    at: datetime
    items: tuple[BillingItem, ...]


class PendingPayment(Struct, frozen=True, kw_only=True):
    """A change that happens once it is paid, and is dropped after 23 hours."""

    since: datetime
    currency: str
    #: Minor units, taxes and discounts included.
    due_minor: int
    #: Where the customer pays it; null: Stripe has made no page yet.
    pay_url: str | None
    #: What it is to pay for.
    items: tuple[BillingItem, ...]


class BillingSubscription(Struct, frozen=True, kw_only=True):
    id: str
    #: Of its plan; null: it holds add-ons, or prices the catalog does not know.
    group: str | None
    #: Stripe's: trialing, active, past_due, unpaid, paused, incomplete, canceled, …
    status: str
    created_at: datetime
    items: tuple[BillingItem, ...]
    #: When the next invoice is made; null: it is not going to be.
    renews_at: datetime | None
    #: When it ended or is to end; null: it goes on.
    ends_at: datetime | None
    #: Null: it is in no trial.
    trial_ends_at: datetime | None
    #: Null: none is waiting.
    pending_change: PendingChange | None
    #: Null: no change waits for its payment.
    pending_payment: PendingPayment | None


class BillingPurchase(Struct, frozen=True, kw_only=True):
    #: The checkout session or invoice it stands on.
    id: str
    plan: str | None
    name: str | None
    price: str | None
    revision: int | None
    quantity: int
    paid_at: datetime
    currency: str | None
    #: What was captured of the payment that it stands on.
    paid_minor: int
    #: Whether it gives access now.
    is_active: bool
    #: Why, as entitlements say it.
    reason: Reason
    #: When its access ended or ends; null: for a lifetime, or never given.
    ends_at: datetime | None


class PaymentProblem(Struct, frozen=True, kw_only=True):
    subscription: str
    group: str | None
    #: When the first invoice failed of those that are unpaid now.
    since: datetime
    #: Until when access is kept all the same; null: it is not.
    grace_ends_at: datetime | None
    #: Where the customer pays the newest invoice; null: change the payment method instead.
    pay_url: str | None
