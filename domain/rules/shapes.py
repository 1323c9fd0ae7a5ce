"""Stripe's objects at the pinned version, as far as we read them, turned into our facts. Pure.

Stripe adds fields and we ignore them; a field we need that is missing or of another type is `Broken`,
because guessing about somebody's access is worse than keeping the last good answer.
Source: docs.stripe.com/api, version 2026-10-28.endive; shapes listed in docs/event-path.md.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from domain.errors import Broken
from domain.model import Purchase, Subscription, SubscriptionItem

T = TypeVar("T")


class MirroredCustomer(Struct, frozen=True, kw_only=True):
    customer_id: str
    is_deleted: bool
    #: `metadata.tollhouse_ref`: the reference our own row of this customer has, if we made it.
    ref: str | None
    test_clock_id: str | None = None


class MirroredSubscription(Struct, frozen=True, kw_only=True):
    customer_id: str
    pause_resumes_at: datetime | None
    #: None: real time.
    test_clock_id: str | None = None
    subscription: Subscription


class MirroredPurchase(Struct, frozen=True, kw_only=True):
    currency: str
    purchase: Purchase


class MirroredSession(Struct, frozen=True, kw_only=True):
    session_id: str
    #: None for a guest who has not paid yet.
    customer_id: str | None
    #: `client_reference_id`: the reference of our own row of this checkout, if an app asked us for it.
    checkout_ref: str | None
    subscription_id: str | None
    status: str
    payment_status: str
    expires_at: datetime | None
    #: One-time lines that are paid for; empty while unpaid.
    purchases: tuple[MirroredPurchase, ...]


# ── what Stripe sends ───────────────────────────────────────────────────────────────────────────────


class _Price(Struct):
    id: str
    product: str
    type: str = "recurring"


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
    customer: str
    status: str
    created: int
    items: _Items
    cancel_at_period_end: bool = False
    cancel_at: int | None = None
    ended_at: int | None = None
    trial_end: int | None = None
    pause_collection: _PauseCollection | None = None
    status_details: _StatusDetails | None = None
    test_clock: str | None = None


class _Charge(Struct):
    id: str
    created: int
    amount_captured: int


class _PaymentIntent(Struct):
    id: str
    latest_charge: _Charge | None = None


class _Session(Struct):
    id: str
    created: int
    mode: str
    status: str
    payment_status: str
    customer: str | None = None
    client_reference_id: str | None = None
    subscription: str | None = None
    payment_intent: _PaymentIntent | None = None
    currency: str | None = None
    expires_at: int | None = None


class _Line(Struct):
    id: str
    price: _Price | None = None
    quantity: int | None = None
    currency: str | None = None


class _Customer(Struct):
    id: str
    deleted: bool = False
    metadata: dict[str, str] = {}
    test_clock: str | None = None


#: `payment_status` values with which a one-time line is a purchase.
PAID = frozenset({"paid", "no_payment_required"})


def parse_customer(answer: dict[str, Any]) -> MirroredCustomer:
    """A customer, or the stub `{id, deleted: true}` that Stripe answers for a deleted one.

    Raises:
        Broken: the answer has not the shape of the pinned version.
    """
    customer = _convert(answer, _Customer)
    return MirroredCustomer(
        customer_id=customer.id,
        is_deleted=customer.deleted,
        ref=customer.metadata.get("tollhouse_ref"),
        test_clock_id=customer.test_clock,
    )


def parse_subscription(answer: dict[str, Any]) -> MirroredSubscription:
    """A subscription with all of its items (the caller has paged them in).

    Raises:
        Broken: the answer has not the shape of the pinned version.
    """
    found = _convert(answer, _Subscription)
    paused = found.status_details.paused if found.status_details else None
    return MirroredSubscription(
        customer_id=found.customer,
        pause_resumes_at=_instant(found.pause_collection.resumes_at) if found.pause_collection else None,
        test_clock_id=found.test_clock,
        subscription=Subscription(
            subscription_id=found.id,
            status=found.status,
            created_at=_when(found.created),
            trial_end=_instant(found.trial_end),
            cancel_at=_instant(found.cancel_at),
            cancel_at_period_end=found.cancel_at_period_end,
            ended_at=_instant(found.ended_at),
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
    found = _convert(answer, _Session)
    return MirroredSession(
        session_id=found.id,
        customer_id=found.customer,
        checkout_ref=found.client_reference_id,
        subscription_id=found.subscription,
        status=found.status,
        payment_status=found.payment_status,
        expires_at=_instant(found.expires_at),
        purchases=_purchases(found, [_convert(line, _Line) for line in lines]),
    )


def _purchases(session: _Session, lines: Sequence[_Line]) -> tuple[MirroredPurchase, ...]:
    if session.status != "complete" or session.payment_status not in PAID:
        return ()
    charge = session.payment_intent.latest_charge if session.payment_intent else None
    return tuple(
        MirroredPurchase(
            currency=line.currency or session.currency or "",
            purchase=Purchase(
                purchase_id=f"{session.id}/{line.id}",
                object_id=session.id,
                price_id=line.price.id,
                product_id=line.price.product,
                quantity=1 if line.quantity is None else line.quantity,
                paid_at=_when(charge.created if charge else session.created),
                captured_minor=charge.amount_captured if charge else 0,
            ),
        )
        for line in lines
        if line.price is not None and line.price.type == "one_time"
    )


def _item(item: _Item) -> SubscriptionItem:
    return SubscriptionItem(
        item_id=item.id,
        price_id=item.price.id,
        product_id=item.price.product,
        quantity=item.quantity,
        period_start=_when(item.current_period_start),
        period_end=_when(item.current_period_end),
    )


def _convert(answer: dict[str, Any], shape: type[T]) -> T:
    try:
        return msgspec.convert(answer, shape)
    except msgspec.ValidationError as error:
        raise Broken(f"{answer.get('object', 'object')} {answer.get('id', '?')}: {error}") from error


def _when(unix_s: int) -> datetime:
    try:
        return datetime.fromtimestamp(unix_s, tz=UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise Broken(f"{unix_s} is no time in seconds") from error


def _instant(unix_s: int | None) -> datetime | None:
    return None if unix_s is None else _when(unix_s)
