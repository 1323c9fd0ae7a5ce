"""Stripe's money objects as the mirror holds them: invoices, payments, refunds, disputes.

Amounts are integer minor units of `currency` (ISO, lower case); times are aware UTC, as Stripe says them.
"""

from datetime import datetime
from fractions import Fraction
from typing import Literal

from msgspec import Struct

from domain.model import Dispute, Purchase, Refund


class InvoiceLine(Struct, frozen=True, kw_only=True):
    line_id: str
    #: None: an amount without a price.
    price_id: str | None = None
    product_id: str | None = None
    #: An item by itself; False for a subscription's item and for its prorations.
    is_one_time: bool = False
    #: None: metered, or a quantity in decimals.
    quantity: int | None = 1
    #: Before discounts; negative for a credit.
    amount_minor: int
    discount_minor: int = 0
    tax_minor: int = 0
    period_start: datetime
    period_end: datetime


class Invoice(Struct, frozen=True, kw_only=True):
    invoice_id: str
    customer_id: str
    #: None: an invoice by itself (B2B).
    subscription_id: str | None = None
    #: As printed; None while a draft.
    number: str | None = None
    #: Stripe's value: draft, open, paid, uncollectible, void.
    status: str
    billing_reason: str | None = None
    #: `charge_automatically` or `send_invoice`.
    collection_method: str = "charge_automatically"
    currency: str
    #: Tax included; negative for a credit.
    total_minor: int
    tax_minor: int = 0
    paid_minor: int = 0
    remaining_minor: int = 0
    created_at: datetime
    #: None while a draft.
    finalized_at: datetime | None = None
    #: Only of invoices that are sent.
    due_at: datetime | None = None
    paid_at: datetime | None = None
    voided_at: datetime | None = None
    uncollectible_at: datetime | None = None
    #: Where its customer can pay it.
    pay_url: str | None = None
    lines: tuple[InvoiceLine, ...] = ()


class InvoicePayment(Struct, frozen=True, kw_only=True):
    """Which payment is on which invoice: the only way from a charge to a subscription."""

    invoice_payment_id: str
    invoice_id: str
    #: One of the two, or neither where it was paid outside Stripe.
    payment_intent_id: str | None = None
    charge_id: str | None = None
    #: Stripe's value: open, paid, canceled.
    status: str
    paid_minor: int
    paid_at: datetime | None = None


class Charge(Struct, frozen=True, kw_only=True):
    charge_id: str
    #: None: a guest's.
    customer_id: str | None = None
    payment_intent_id: str | None = None
    #: Stripe's value: succeeded, pending, failed.
    status: str
    currency: str
    amount_minor: int
    captured_minor: int
    refunded_minor: int
    is_disputed: bool
    created_at: datetime


class ChargeRefund(Struct, frozen=True, kw_only=True):
    refund: Refund
    charge_id: str
    payment_intent_id: str | None = None
    currency: str
    created_at: datetime


class FundsMove(Struct, frozen=True, kw_only=True):
    """Money that a dispute took from us or gave back."""

    balance_transaction_id: str
    #: In the dispute's currency; negative: withdrawn, positive: reinstated.
    amount_minor: int
    moved_at: datetime


class ChargeDispute(Struct, frozen=True, kw_only=True):
    dispute: Dispute
    charge_id: str
    payment_intent_id: str | None = None
    currency: str
    #: Stripe's value: fraudulent, duplicate, …
    reason: str
    created_at: datetime
    funds: tuple[FundsMove, ...] = ()


class BoughtLine(Struct, frozen=True, kw_only=True):
    """A paid one-time line, and what paid it."""

    purchase: Purchase
    currency: str
    #: None: free, or paid through an invoice.
    payment_intent_id: str | None = None
    #: The invoice it stands on, or that its session made.
    invoice_id: str | None = None
    #: Discounts and tax included; None: the invoice's line says it.
    amount_minor: int | None = None
    tax_minor: int | None = None


class Discount(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A coupon that goes on taking something off: of a subscription, or of one of its items."""

    #: Per cent, a decimal; None: an amount.
    percent_off: str | None = None
    #: Per invoice, in `currency`.
    amount_off_minor: int | None = None
    currency: str | None = None
    #: Stripe's value: forever, repeating, once.
    duration: str = "forever"
    #: None: no end is known.
    ends_at: datetime | None = None
    #: Empty: it applies to every product.
    product_ids: tuple[str, ...] = ()


class PriceTerms(Struct, frozen=True, kw_only=True):
    """A Stripe price as our rows and the mirror know it; None: not known."""

    price_id: str
    product_id: str
    #: Keys of the catalog version that sold it, which the head may no longer have.
    plan: str | None = None
    price: str | None = None
    revision: int | None = None
    #: Whether new checkouts sell this revision.
    is_head: bool = False
    #: As Stripe names it.
    product_name: str | None = None
    #: The price's own; ISO, lower case.
    currency: str | None = None
    #: None: tiers, or decimals.
    unit_amount_minor: int | None = None
    interval: str | None = None
    interval_count: int | None = None


class ScheduledItem(Struct, frozen=True, kw_only=True):
    price_id: str
    product_id: str
    #: None: metered.
    quantity: int | None = None


class BilledSubscription(Struct, frozen=True, kw_only=True):
    subscription_id: str
    customer_id: str
    #: Of its newest invoice; None: none is mirrored.
    currency: str | None
    #: None: no schedule of Stripe manages it.
    schedule_id: str | None
    #: When its items change to `scheduled_items`; None: no change is waiting.
    scheduled_at: datetime | None
    scheduled_items: tuple[ScheduledItem, ...]


# ── what money figures are summed from ──────────────────────────────────────────────────────────────

EntryKind = Literal["payment", "refund", "refund_failed", "dispute", "dispute_reversal"]


class SoldLine(Struct, frozen=True, kw_only=True):
    """A line of the invoice or session that a payment was for."""

    price_id: str | None
    product_id: str | None
    #: Discounts and tax included; negative for a credit.
    amount_minor: int
    tax_minor: int


class Payment(Struct, frozen=True, kw_only=True):
    """A charge that succeeded, and what it was for."""

    charge_id: str
    currency: str
    #: Captured.
    amount_minor: int
    paid_at: datetime
    #: Of the invoice or session; empty: neither is known.
    lines: tuple[SoldLine, ...] = ()
    #: Of the whole invoice or session.
    total_minor: int = 0
    tax_minor: int = 0
    #: Paid of the same invoice by earlier payments.
    paid_before_minor: int = 0


class Taken(Struct, frozen=True, kw_only=True):
    """What a refund or a dispute took of a payment, or gave back again."""

    object_id: str
    kind: EntryKind
    happened_at: datetime
    #: Negative: given back again.
    amount_minor: int


class Entry(Struct, frozen=True, kw_only=True):
    """One object's part for one app, on the day it happened."""

    object_id: str
    kind: EntryKind
    app: str
    charge_id: str
    happened_at: datetime
    currency: str
    amount_minor: int
    tax_minor: int


Standing = Literal["paying", "grace", "trial"]


class RecurringItem(Struct, frozen=True, kw_only=True):
    """A subscription's item, by what it comes to."""

    item_id: str
    price_id: str
    product_id: str
    #: None: metered.
    quantity: int | None
    #: Of the subscription; ISO, lower case.
    currency: str
    #: Minor units, a decimal; None: tiers, or metered.
    charged_unit: str | None
    interval: str | None
    interval_count: int | None
    discounts: tuple[Discount, ...] = ()
    #: Of the whole subscription.
    subscription_discounts: tuple[Discount, ...] = ()


class RecurringPart(Struct, frozen=True, kw_only=True):
    """What a user's subscriptions of one plan and standing come to a month for one app."""

    currency: str
    #: Empty: the catalog does not know it.
    plan: str
    #: Empty: of no one app.
    app: str
    standing: Standing
    #: Minor units.
    monthly: Fraction
    subscriptions: int
    #: Whether it is the first of its apps, where the subscriptions are counted.
    is_counted: bool = True
