"""Customers, subscriptions and checkout sessions: what can give access."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from domain.model import Purchase, Subscription, SubscriptionItem
from domain.money import BoughtLine, Invoice
from domain.rules.shapes.convert import Reference, Referred, convert, id_of, instant, when
from domain.rules.shapes.recurring import RecurringTerms
from domain.rules.shapes.schedules import MirroredSchedule


class MirroredCustomer(Struct, frozen=True, kw_only=True):
    customer_id: str
    is_deleted: bool
    #: `metadata.tollhouse_ref`: the reference our own row of this customer has, if we made it.
    ref: str | None
    #: None: real time.
    test_clock_id: str | None = None


class ItemPrice(Struct, frozen=True, kw_only=True):
    """What an item costs per unit and interval, for the money figures."""

    currency: str | None = None
    #: None: tiers, or an amount in decimals.
    unit_amount_minor: int | None = None
    #: day, week, month, year.
    interval: str | None = None
    interval_count: int | None = None


class MirroredSubscription(Struct, frozen=True, kw_only=True):
    customer_id: str
    pause_resumes_at: datetime | None
    #: None: real time.
    test_clock_id: str | None = None
    subscription: Subscription
    #: By item id.
    prices: Mapping[str, ItemPrice]
    #: `sub_sched_…` that manages it; None: none.
    schedule_id: str | None = None
    #: What was read of that schedule; None: it has none, or Stripe does not show it.
    schedule: MirroredSchedule | None = None
    #: What it comes to per interval; None: not read.
    terms: RecurringTerms | None = None


class MirroredSession(Struct, frozen=True, kw_only=True):
    session_id: str
    #: None for a guest who has not paid yet.
    customer_id: str | None
    #: `client_reference_id`: the reference of our own row of this checkout, if an app asked us for it.
    checkout_ref: str | None
    subscription_id: str | None
    #: The invoice that it made: of its subscription, or of its payment where that was asked for.
    invoice_id: str | None
    payment_intent_id: str | None
    status: str
    payment_status: str
    expires_at: datetime | None
    #: One-time lines that are paid for; empty while unpaid.
    purchases: tuple[BoughtLine, ...]
    #: Its payment was begun then by a method whose success comes days later; None: it was paid at once.
    delayed_since: datetime | None = None

    @property
    def is_paid_elsewhere(self) -> bool:
        """A subscription's session has no payment of its own: its one-time lines are on its first invoice."""
        return bool(self.purchases) and self.payment_intent_id is None and self.invoice_id is not None


# ── what Stripe sends ───────────────────────────────────────────────────────────────────────────────


class _Recurring(Struct):
    interval: str
    interval_count: int = 1


class _Price(Struct):
    id: str
    product: str
    type: str = "recurring"
    currency: str | None = None
    unit_amount: int | None = None
    recurring: _Recurring | None = None


class _Item(Struct):
    id: str
    price: _Price
    current_period_start: int
    current_period_end: int
    quantity: int | None = None


class _Items(Struct):
    data: list[_Item]


class _PauseCollection(Struct):
    behavior: str
    resumes_at: int | None = None


class _PausedSubscription(Struct):
    type: str | None = None


class _Paused(Struct):
    subscription: _PausedSubscription | None = None


class _StatusDetails(Struct):
    paused: _Paused | None = None


class _Subscription(Struct):
    id: str
    customer: str | Referred
    status: str
    created: int
    items: _Items
    cancel_at_period_end: bool = False
    cancel_at: int | None = None
    ended_at: int | None = None
    trial_end: int | None = None
    pause_collection: _PauseCollection | None = None
    status_details: _StatusDetails | None = None
    test_clock: Reference = None
    schedule: Reference = None


class _Method(Struct):
    type: str


class _Charge(Struct):
    id: str
    created: int
    amount_captured: int
    payment_method_details: _Method | None = None


class _PaymentIntent(Struct):
    id: str
    latest_charge: _Charge | str | None = None


class _Session(Struct):
    id: str
    created: int
    mode: str
    status: str
    payment_status: str
    customer: Reference = None
    client_reference_id: str | None = None
    subscription: Reference = None
    invoice: Reference = None
    payment_intent: _PaymentIntent | str | None = None
    currency: str | None = None
    expires_at: int | None = None


class _Line(Struct):
    id: str
    price: _Price | None = None
    quantity: int | None = None
    currency: str | None = None
    amount_total: int | None = None
    amount_tax: int | None = None


class _Customer(Struct):
    id: str
    deleted: bool = False
    metadata: dict[str, str] = {}
    test_clock: Reference = None


#: Methods whose charge is made when payment begins and succeeds days later.
#: Source: docs.stripe.com/payments/payment-methods ("delayed notification").
DELAYED_METHODS = frozenset(
    {
        "acss_debit",
        "au_becs_debit",
        "bacs_debit",
        "boleto",
        "customer_balance",
        "konbini",
        "multibanco",
        "nz_bank_account",
        "oxxo",
        "sepa_debit",
        "sofort",
        "us_bank_account",
    }
)

#: `payment_status` values with which a one-time line is a purchase.
PAID = frozenset({"paid", "no_payment_required"})


def parse_customer(answer: dict[str, Any]) -> MirroredCustomer:
    """A customer, or the stub `{id, deleted: true}` that Stripe answers for a deleted one.

    Raises:
        Broken: the answer has not the shape of the pinned version.
    """
    customer = convert(answer, _Customer)
    return MirroredCustomer(
        customer_id=customer.id,
        is_deleted=customer.deleted,
        ref=customer.metadata.get("tollhouse_ref"),
        test_clock_id=id_of(customer.test_clock),
    )


def parse_subscription(answer: dict[str, Any]) -> MirroredSubscription:
    """A subscription with all of its items (the caller has paged them in).

    Raises:
        Broken: the answer has not the shape of the pinned version.
    """
    found = convert(answer, _Subscription)
    paused = found.status_details.paused if found.status_details else None
    return MirroredSubscription(
        customer_id=id_of(found.customer) or "",
        pause_resumes_at=instant(found.pause_collection.resumes_at) if found.pause_collection else None,
        test_clock_id=id_of(found.test_clock),
        prices={item.id: _item_price(item.price) for item in found.items.data},
        schedule_id=id_of(found.schedule),
        subscription=Subscription(
            subscription_id=found.id,
            status=found.status,
            created_at=when(found.created),
            trial_end=instant(found.trial_end),
            cancel_at=instant(found.cancel_at),
            cancel_at_period_end=found.cancel_at_period_end,
            ended_at=instant(found.ended_at),
            pause_behavior=found.pause_collection.behavior if found.pause_collection else None,
            pause_cause=paused.subscription.type if paused and paused.subscription else None,
            items=tuple(_item(item) for item in found.items.data),
        ),
    )


def parse_session(answer: dict[str, Any], lines: Sequence[dict[str, Any]]) -> MirroredSession:
    """A checkout session with `payment_intent.latest_charge` expanded, and all of its line items.

    Raises:
        Broken: the answer has not the shape of the pinned version.
    """
    found = convert(answer, _Session)
    intent = found.payment_intent
    charge = _charge(found)
    is_delayed = charge is not None and _method(charge) in DELAYED_METHODS
    return MirroredSession(
        delayed_since=when(charge.created) if charge is not None and is_delayed else None,
        session_id=found.id,
        customer_id=id_of(found.customer),
        checkout_ref=found.client_reference_id,
        subscription_id=id_of(found.subscription),
        invoice_id=id_of(found.invoice),
        payment_intent_id=intent.id if isinstance(intent, _PaymentIntent) else intent,
        status=found.status,
        payment_status=found.payment_status,
        expires_at=instant(found.expires_at),
        purchases=_purchases(found, [convert(line, _Line) for line in lines]),
    )


def paid_through_invoice(session: MirroredSession, invoice: Invoice) -> MirroredSession:
    """The session with its one-time lines paid when its invoice was."""
    return session if invoice.paid_at is None else paid_when(session, invoice.paid_at)


def paid_when(session: MirroredSession, paid_at: datetime) -> MirroredSession:
    """The session with its one-time lines paid at that instant."""
    purchases = tuple(
        msgspec.structs.replace(bought, purchase=msgspec.structs.replace(bought.purchase, paid_at=paid_at))
        for bought in session.purchases
    )
    return msgspec.structs.replace(session, purchases=purchases)


def _purchases(session: _Session, lines: Sequence[_Line]) -> tuple[BoughtLine, ...]:
    if session.status != "complete" or session.payment_status not in PAID:
        return ()
    intent = session.payment_intent if isinstance(session.payment_intent, _PaymentIntent) else None
    charge = _charge(session)
    return tuple(
        BoughtLine(
            currency=line.currency or session.currency or "",
            payment_intent_id=intent.id if intent else None,
            invoice_id=id_of(session.invoice),
            amount_minor=line.amount_total,
            tax_minor=line.amount_tax,
            purchase=Purchase(
                purchase_id=f"{session.id}/{line.id}",
                object_id=session.id,
                price_id=line.price.id,
                product_id=line.price.product,
                quantity=1 if line.quantity is None else line.quantity,
                paid_at=when(charge.created if charge else session.created),
                captured_minor=charge.amount_captured if charge else 0,
            ),
        )
        for line in lines
        if line.price is not None and line.price.type == "one_time"
    )


def _charge(session: _Session) -> _Charge | None:
    intent = session.payment_intent if isinstance(session.payment_intent, _PaymentIntent) else None
    return intent.latest_charge if intent and isinstance(intent.latest_charge, _Charge) else None


def _method(charge: _Charge) -> str | None:
    return charge.payment_method_details.type if charge.payment_method_details else None


def _item(item: _Item) -> SubscriptionItem:
    return SubscriptionItem(
        item_id=item.id,
        price_id=item.price.id,
        product_id=item.price.product,
        quantity=item.quantity,
        period_start=when(item.current_period_start),
        period_end=when(item.current_period_end),
    )


def _item_price(price: _Price) -> ItemPrice:
    return ItemPrice(
        currency=price.currency,
        unit_amount_minor=price.unit_amount,
        interval=price.recurring.interval if price.recurring else None,
        interval_count=price.recurring.interval_count if price.recurring else None,
    )
