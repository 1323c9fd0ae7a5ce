"""Which Stripe events are hints for us, of which object, and whom they concern.

`USED` is the code, the documentation and the endpoint's configuration in one table. A payload never says
what is true: it only names an object, and the customer (the target) whose turn it is.
"""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from domain.errors import Rejected
from domain.model import EventState, NewEvent, TargetRef


class Use(Struct, frozen=True):
    """What one event type is a hint of, and why we listen to it."""

    #: The kind of object a worker reads: customer, subscription, invoice, …
    object_kind: str
    why: str


USED: dict[str, Use] = {
    "checkout.session.completed": Use("checkout.session", "a purchase or the start of a subscription"),
    "checkout.session.async_payment_succeeded": Use("checkout.session", "a delayed payment arrived"),
    "checkout.session.async_payment_failed": Use("checkout.session", "a delayed payment will not arrive"),
    "checkout.session.expired": Use("checkout.session", "an open checkout can no longer be paid"),
    "customer.subscription.created": Use("subscription", "a new source of access"),
    "customer.subscription.updated": Use("subscription", "status, items, end or pause may have changed"),
    "customer.subscription.deleted": Use("subscription", "canceled; not a deletion"),
    "customer.subscription.paused": Use("subscription", "status became paused"),
    "customer.subscription.resumed": Use("subscription", "status is no longer paused"),
    "customer.subscription.trial_will_end": Use("subscription", "a reminder to look again"),
    "customer.subscription.pending_update_applied": Use("subscription", "items changed at last"),
    "customer.subscription.pending_update_expired": Use("subscription", "items stay as they are"),
    "invoice.paid": Use("invoice", "a renewal, a recovery, or a purchase by invoice"),
    "invoice.payment_succeeded": Use("invoice", "the older name of invoice.paid"),
    "invoice.payment_failed": Use("invoice", "grace may begin"),
    "invoice.payment_action_required": Use("invoice", "the customer must act before it can be paid"),
    "invoice.finalized": Use("invoice", "it can be paid now, and its failure would count from here"),
    "invoice.voided": Use("invoice", "it asks for nothing any more"),
    "invoice.marked_uncollectible": Use("invoice", "given up: a failure all the same"),
    "invoice_payment.paid": Use("invoice_payment", "which payment is on which invoice"),
    "payment_intent.succeeded": Use("payment_intent", "money arrived"),
    "payment_intent.payment_failed": Use("payment_intent", "an attempt failed"),
    "payment_intent.canceled": Use("payment_intent", "no attempt will follow"),
    "charge.refunded": Use("charge", "money went back"),
    "charge.refund.updated": Use("refund", "the older name of refund.updated"),
    "refund.created": Use("refund", "money goes back: a purchase may end"),
    "refund.updated": Use("refund", "it may have succeeded or been canceled"),
    "refund.failed": Use("refund", "the money stayed: the purchase is restored"),
    "charge.dispute.created": Use("dispute", "access may be suspended"),
    "charge.dispute.updated": Use("dispute", "its status may have changed"),
    "charge.dispute.closed": Use("dispute", "won, lost, or an inquiry that ended"),
    "charge.dispute.funds_withdrawn": Use("dispute", "the bank took the money"),
    "charge.dispute.funds_reinstated": Use("dispute", "the bank gave it back"),
    "customer.created": Use("customer", "may carry the reference of a checkout that crashed half-way"),
    "customer.updated": Use("customer", "may have gained that reference"),
    "customer.deleted": Use("customer", "no longer used for new checkouts"),
    "product.created": Use("product", "a plan on Stripe's side"),
    "product.updated": Use("product", "renamed or archived"),
    "product.deleted": Use("product", "gone; what was sold of it grants on"),
    "price.created": Use("price", "perhaps made in the dashboard"),
    "price.updated": Use("price", "archived, or its lookup key moved"),
    "price.deleted": Use("price", "gone; what was sold at it grants on"),
    "test_helpers.test_clock.ready": Use("test_clock", "time has moved for every customer of the clock"),
}

#: Older names of types in the table; new endpoints are not configured with them.
OLD_NAMES = frozenset({"invoice.payment_succeeded", "charge.refund.updated"})

#: Kinds that an old payload may show without an id, but with the payment they are of.
OF_A_PAYMENT = frozenset({"refund", "dispute"})

#: Kinds that belong to no customer: their own target is their writer.
SHARED_KINDS = frozenset({"product", "price", "test_clock"})

_IDENTIFIER = re.compile(r"[\x21-\x7e]{1,255}")
#: What Stripe's ids of objects and customers are made of. They become part of a path of Stripe's API: a dot
#: or a slash in one would make a worker read another path than the one it means.
_OBJECT_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
#: Whoever makes a product or an old plan may choose its id; dots are common in them. Dots alone are no id.
_CHOSEN_ID = re.compile(r"(?!\.+\Z)[A-Za-z0-9_.-]{1,255}")


class EnvelopeObject(Struct, frozen=True):
    """`data.object`, whatever it is; only what names it and its customer is looked at."""

    id: Any = None
    object: Any = None
    customer: Any = None
    charge: Any = None
    payment_intent: Any = None


class EnvelopeData(Struct, frozen=True):
    object: EnvelopeObject | None = None


class RelatedObject(Struct, frozen=True):
    id: Any = None
    type: Any = None


class Envelope(Struct, frozen=True):
    """An event of any API version: a snapshot (`object: event`) or a thin one (`v2.core.event`).

    Only what names it must be there: an old or odd event is stored all the same.
    """

    id: str
    type: str
    created: Any = None
    livemode: bool | None = None
    account: Any = None
    context: Any = None
    api_version: Any = None
    data: EnvelopeData | None = None
    related_object: RelatedObject | None = None


class Deployment(Struct, frozen=True):
    """The Stripe account and mode that this database belongs to."""

    account_id: str
    mode: str
    env: str


class BodyRefused(Rejected):
    """The body is signed but is no event."""

    code = "bad_body"


_decode = msgspec.json.Decoder(Envelope).decode


def read_envelope(body: bytes) -> Envelope:
    """The event in a request body.

    Raises:
        BodyRefused: not JSON, not an event, or named in a way no event of Stripe's is.
    """
    try:
        # The decoder looks at what it wants to know only; Stripe's own code refuses the whole body.
        str(body, "utf-8")
        envelope = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BodyRefused("The signature or the body is not valid.") from error
    is_named = _IDENTIFIER.fullmatch(envelope.id) and _IDENTIFIER.fullmatch(envelope.type)
    # th_… is the name of our own events: a delivery must not be able to take one.
    if not is_named or envelope.id.startswith("th_"):
        raise BodyRefused("The signature or the body is not valid.")
    return envelope


def classify(envelope: Envelope, deployment: Deployment | None) -> NewEvent:
    """What the door stores: pending with a target, or at once ignored or foreign, with the reason.

    `deployment` None: not known yet; nothing is judged foreign, the worker does it.
    """
    event = NewEvent(
        event_id=envelope.id,
        source="stripe",
        type=envelope.type,
        state=EventState.PENDING,
        created_at=_created(envelope.created),
        api_version=_identifier(envelope.api_version),
    )
    if deployment is not None and (reason := foreign_reason(envelope, deployment)):
        return msgspec.structs.replace(event, state=EventState.FOREIGN, reason=reason)
    # Thin events of objects of the first API generation carry its name in front.
    use = USED.get(envelope.type.removeprefix("v1."))
    if use is None:
        return msgspec.structs.replace(event, state=EventState.IGNORED, reason="unused_type")
    named = _named_object(envelope, use.object_kind)
    if named is None:
        return msgspec.structs.replace(event, state=EventState.IGNORED, reason="no_target")
    object_kind, object_id = named
    return msgspec.structs.replace(
        event,
        object_kind=object_kind,
        object_id=object_id,
        target=_target(envelope, object_kind, object_id),
    )


def foreign_reason(envelope: Envelope, deployment: Deployment) -> str | None:
    """Why this event is not of our account and mode; None: it is. An absent account means ours."""
    if bool(envelope.livemode) != (deployment.mode == "live"):
        return "other_mode"
    account = _account(envelope.account) or _account(envelope.context)
    if account is not None and account != deployment.account_id:
        return "other_account"
    return None


def internal_event(
    event_id: str,
    source: str,
    object_kind: str,
    object_id: str,
    target: TargetRef,
    *,
    cause: str,
    payload: bytes | None = None,
    request_id: str | None = None,
) -> NewEvent:
    """A hint of our own: `event_id` is `th_` and a new uuid for every wish, `cause` says who wished."""
    return NewEvent(
        event_id=event_id,
        source=source,
        type=f"tollhouse.{cause}",
        state=EventState.PENDING,
        object_kind=object_kind,
        object_id=object_id,
        target=target,
        payload=payload,
        request_id=request_id,
    )


def customer_of(payload_object: EnvelopeObject) -> str | None:
    """The customer an object names: an id, an expanded object, or None."""
    return _reference(payload_object.customer)


def _named_object(envelope: Envelope, object_kind: str) -> tuple[str, str] | None:
    """(kind, id) of what a worker reads: the object, or the payment of one that once had no id of its own."""
    object_id = _object_id(envelope, _CHOSEN_ID if object_kind in SHARED_KINDS else _OBJECT_ID)
    if object_id is not None:
        return object_kind, object_id
    shown = envelope.data.object if envelope.data is not None else None
    if shown is None or object_kind not in OF_A_PAYMENT:
        return None
    for kind, reference in (("charge", shown.charge), ("payment_intent", shown.payment_intent)):
        payment_id = _reference(reference)
        if payment_id is not None:
            return kind, payment_id
    return None


def _object_id(envelope: Envelope, allowed: re.Pattern[str]) -> str | None:
    if envelope.data is not None:
        return _as_object_id(envelope.data.object.id, allowed) if envelope.data.object is not None else None
    if envelope.related_object is not None:
        return _as_object_id(envelope.related_object.id, allowed)
    return None


def _target(envelope: Envelope, object_kind: str, object_id: str) -> TargetRef:
    if object_kind == "customer" or object_kind in SHARED_KINDS:
        return TargetRef(object_kind, object_id)
    shown = envelope.data.object if envelope.data is not None else None
    customer = customer_of(shown) if shown is not None else None
    return TargetRef("customer", customer) if customer else TargetRef(object_kind, object_id)


def _reference(value: Any) -> str | None:
    """The id in a reference: an id, an expanded object, or None."""
    return _as_object_id(value.get("id") if isinstance(value, dict) else value)


def _account(value: Any) -> str | None:
    """A thin event's `context` may also name something that is no account."""
    named = _identifier(value)
    return named if named is not None and named.startswith("acct_") else None


def _identifier(value: Any) -> str | None:
    """The value, if it can be an id in our tables: printable ASCII, at most 255 long."""
    return value if isinstance(value, str) and _IDENTIFIER.fullmatch(value) else None


def _as_object_id(value: Any, allowed: re.Pattern[str] = _OBJECT_ID) -> str | None:
    """The value, if it can be the id of an object at Stripe."""
    return value if isinstance(value, str) and allowed.fullmatch(value) else None


def _created(value: Any) -> datetime | None:
    """Stripe's `created`: unix seconds in snapshots, RFC 3339 in thin events; None where unreadable."""
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value).astimezone(UTC)
        if isinstance(value, int):
            return datetime.fromtimestamp(value, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None
