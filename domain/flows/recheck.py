"""Rechecks: what a read did not show although it was announced is read again later, at most three times."""

import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.flows.fetch import Fetched, ObjectKey
from domain.flows.judge import Wish, wish_of
from domain.model import PendingEvent, TargetRef
from domain.rules.closure import MAX_RECHECKS, awaited_by, is_older, is_outdated, is_thin
from domain.store import timers
from domain.store.session import Connection

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Wish).decode

#: Different things awaited of one object: more than its events can announce within three rechecks.
MOST_AWAITED = 20


class Recheck(Struct, frozen=True, kw_only=True):
    object_kind: str
    object_id: str
    wish: Wish


def lagging(events: Sequence[PendingEvent], fetched: Fetched) -> list[Recheck]:
    """Objects whose read is older than an event of theirs, or that Stripe does not show (yet)."""
    by_object: dict[ObjectKey, list[PendingEvent]] = {}
    for event in events:
        by_object.setdefault((event.object_kind, event.object_id), []).append(event)
    for key in list(by_object):
        for part in fetched.parts_of(key):
            if part in fetched.missing or part in fetched.unlinked:
                by_object.setdefault(part, by_object[key])
    found = (_recheck(key, named, fetched) for key, named in sorted(by_object.items()))
    return [recheck for recheck in found if recheck is not None]


def unconfirmed(events: Sequence[PendingEvent], customer_id: str, ref: str) -> list[Recheck]:
    """The customer does not carry the reference an event showed: Stripe may be behind its own event."""
    count = min(wish_of(event).count for event in events)
    recheck = _again("customer", customer_id, Wish(count=count + 1, ref=ref))
    return [] if recheck is None else [recheck]


async def set_rechecks(
    context: Context, connection: Connection, target: TargetRef, rechecks: Sequence[Recheck]
) -> None:
    """Upsert the timers, in COMMIT's transaction."""
    for recheck in rechecks:
        waiting = await timers.lock_recheck(connection, recheck.object_kind, recheck.object_id)
        wish = recheck.wish if waiting is None else _both(_decode(waiting), recheck.wish)
        await timers.set_recheck(
            connection,
            target=target,
            object_kind=recheck.object_kind,
            object_id=recheck.object_id,
            payload=_encode(wish),
            in_s=context.settings.recheck_s,
        )


def _both(waiting: Wish, new: Wish) -> Wish:
    """What either awaits, tried as often as the one tried less: neither read may be forgotten."""
    awaited = {_encode(fields): fields for fields in (*waiting.awaited, *new.awaited)}
    return Wish(
        count=min(waiting.count, new.count),
        awaited=tuple(awaited.values())[:MOST_AWAITED],
        ref=new.ref or waiting.ref,
    )


def _recheck(key: ObjectKey, events: Sequence[PendingEvent], fetched: Fetched) -> Recheck | None:
    if key in fetched.broken:
        return None
    kind, stripe_id = key
    # A moment that comes counts its own looks.
    wishes = [wish for event in events if (wish := wish_of(event)).still is None]
    count = min((wish.count for wish in wishes), default=0) + 1
    if key in fetched.missing:
        return _again(kind, stripe_id, Wish(count=count))
    read = fetched.watched.get(key, {})
    awaited = [announced for event in events for announced in _announced(kind, event)]
    open_ = tuple(
        announced
        for announced in awaited
        if is_older(announced, read) and not is_outdated(kind, announced, read)
    )
    if not open_ and any(_is_thin(event) for event in events):
        # Nothing to compare the read with: it is repeated once.
        return Recheck(object_kind=kind, object_id=stripe_id, wish=Wish(count=MAX_RECHECKS))
    if not open_ and key in fetched.unlinked:
        # A list may be behind: only after the last try there is no invoice and no session.
        return _again(kind, stripe_id, Wish(count=count))
    if not open_:
        return None
    return _again(kind, stripe_id, Wish(count=count, awaited=open_))


def _again(kind: str, stripe_id: str, wish: Wish) -> Recheck | None:
    return None if wish.count > MAX_RECHECKS else Recheck(object_kind=kind, object_id=stripe_id, wish=wish)


def _is_thin(event: PendingEvent) -> bool:
    return event.source != "timer" and event.payload is not None and is_thin(zlib.decompress(event.payload))


def _announced(kind: str, event: PendingEvent) -> list[dict[str, Any]]:
    if event.source == "timer":
        return list(wish_of(event).awaited)
    if event.payload is None:
        return []
    watched = awaited_by(kind, zlib.decompress(event.payload))
    return [watched] if watched else []
