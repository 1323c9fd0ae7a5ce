"""JUDGE: whose a target is, from the database alone. Stripe is not asked about what is not ours."""

import zlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from domain.model import PendingEvent, TargetRef
from domain.rules.events import (
    SHARED_KINDS,
    BodyRefused,
    Deployment,
    foreign_reason,
    read_envelope,
)
from domain.store import customers, mirror
from domain.store.customers import CustomerOwner
from domain.store.session import Connection

#: Objects whose payload may carry the reference of a customer we made and did not link before a crash.
CARRIES_REF = frozenset({"customer", "checkout.session"})


class Verdict(Struct, frozen=True, kw_only=True):
    """Whose the target is. Neither owner nor ref, for a customer: foreign."""

    is_customer: bool
    #: A product, price or test clock: its own target is its writer.
    is_shared: bool = False
    owner: CustomerOwner | None = None
    #: A customer of somebody who was erased: nothing is read and nothing written.
    is_erased: bool = False
    #: References of ours, one of which Stripe must confirm before the customer is linked.
    refs: tuple[UUID, ...] = ()
    #: For an object: the customer the mirror knows it to belong to, so that nothing need be read here.
    known_customer: str | None = None

    @property
    def needs_fetch(self) -> bool:
        if not self.is_customer:
            return self.known_customer is None
        return self.owner is not None or bool(self.refs)


class Wish(Struct, frozen=True, kw_only=True):
    """The payload of a timer's event: why Stripe is read again."""

    #: How often it was read again already.
    count: int = 0
    #: Watched fields that events announced and no read has shown yet.
    awaited: tuple[dict[str, Any], ...] = ()
    #: A reference to confirm.
    ref: str | None = None
    #: For a moment: watched fields that must no longer all be so; None: it is a recheck.
    still: dict[str, Any] | None = None


async def judge(connection: Connection, target: TargetRef, events: Sequence[PendingEvent]) -> Verdict:
    """Whose this target is now; asked again under the target's lock before anything is committed."""
    if target.kind in SHARED_KINDS:
        return Verdict(is_customer=False, is_shared=True)
    if target.kind != "customer":
        known = await mirror.find_mirrored_customer(connection, target.kind, target.stripe_id)
        return Verdict(is_customer=False, known_customer=known)
    owner = await customers.find_owner(connection, target.stripe_id)
    if owner is not None:
        return Verdict(is_customer=True, owner=None if owner.is_erased else owner, is_erased=owner.is_erased)
    # All of them: a payload may name another row's, and only Stripe knows which is this customer's.
    refs = [ref for ref in sorted(set(_refs(events))) if await customers.has_unlinked(connection, ref)]
    return Verdict(is_customer=True, refs=tuple(refs))


def of_other_deployment(events: Sequence[PendingEvent], deployment: Deployment) -> dict[str, str]:
    """Events of another mode or account, by id with the reason: stored before the door knew its own."""
    found: dict[str, str] = {}
    for event in events:
        if event.source != "stripe" or event.payload is None:
            continue
        try:
            reason = foreign_reason(read_envelope(zlib.decompress(event.payload)), deployment)
        except BodyRefused:
            continue
        if reason is not None:
            found[event.event_id] = reason
    return found


def wish_of(event: PendingEvent) -> Wish:
    """What a timer's event carries; an empty wish for any other event."""
    if event.source != "timer" or event.payload is None:
        return Wish()
    return msgspec.json.decode(zlib.decompress(event.payload), type=Wish)


def _refs(events: Sequence[PendingEvent]) -> list[UUID]:
    found = (_ref(event) for event in events if event.object_kind in CARRIES_REF)
    return [ref for ref in found if ref is not None]


def _ref(event: PendingEvent) -> UUID | None:
    if event.payload is None:
        return None
    text = wish_of(event).ref if event.source == "timer" else _ref_in(event.payload)
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


def _ref_in(compressed: bytes) -> str | None:
    """`data.object.metadata.tollhouse_ref` of a payload of any version; None where it has none."""
    try:
        payload: Any = msgspec.json.decode(zlib.decompress(compressed))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The door read the envelope only: what it skipped may still hold a number no machine has.
        return None
    for name in ("data", "object", "metadata", "tollhouse_ref"):
        payload = payload.get(name) if isinstance(payload, dict) else None
    return payload if isinstance(payload, str) else None
