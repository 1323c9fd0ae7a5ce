"""What operators see of the inbox."""

import zlib
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import Rejected, Unknown
from domain.model import EventState
from domain.rules.events import OLD_NAMES, USED
from domain.store import event_counts, inbox
from domain.store.event_counts import EventCount
from domain.store.inbox import EventRow

MOST = 100


class EventDetail(Struct, frozen=True, kw_only=True):
    event: EventRow
    #: As Stripe sent it; None where it has expired, or the event is our own.
    payload: Any


class EventPage(Struct, frozen=True, kw_only=True):
    data: list[EventRow]
    next_cursor: str | None


class UsedType(Struct, frozen=True, kw_only=True):
    type: str
    #: The kind of object a worker reads.
    object_kind: str
    why: str
    #: Still understood; a new endpoint at Stripe need not send it.
    is_old_name: bool


def used_types() -> list[UsedType]:
    """Every type that is a hint for us, in the order of the table."""
    return [
        UsedType(type=name, object_kind=use.object_kind, why=use.why, is_old_name=name in OLD_NAMES)
        for name, use in USED.items()
    ]


async def list_events(
    context: Context,
    *,
    state: str | None = None,
    type_: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> EventPage:
    """Events, newest first. `cursor` is the `next_cursor` of the page before.

    Raises:
        Rejected: an unknown state, a limit outside 1 to 100, a cursor that is none of ours.
    """
    if state is not None and state not in set(EventState):
        raise Rejected(f"There is no state {state!r}: one of {', '.join(EventState)}.")
    if not 1 <= limit <= MOST:
        raise Rejected(f"The limit is 1 to {MOST}, not {limit}.")
    before = _read_cursor(cursor) if cursor else None
    async with context.database.connection() as connection:
        rows = await inbox.list_events(connection, state=state, type_=type_, before=before, limit=limit + 1)
    page = rows[:limit]
    last = page[-1] if len(rows) > limit else None
    return EventPage(
        data=page, next_cursor=f"{last.received_at.isoformat()}_{last.event_id}" if last else None
    )


async def count_events(context: Context) -> list[EventCount]:
    """How many events ended how; an error of one event as its reason is one row of its own."""
    async with context.database.connection() as connection:
        return await event_counts.count_events(connection)


async def show_event(context: Context, event_id: str) -> EventDetail:
    """One event with its payload.

    Raises:
        Unknown: it is not in the inbox.
    """
    async with context.database.connection() as connection:
        found = await inbox.find_event(connection, event_id)
    if found is None:
        raise Unknown(
            f"There is no event {event_id}: `tollhouse events list` shows the newest ones.",
            code="unknown_event",
        )
    event, payload = found
    return EventDetail(event=event, payload=None if payload is None else _readable(payload))


def _readable(compressed: bytes) -> Any:
    """The payload as JSON; as text where what the door did not look at is none."""
    payload = zlib.decompress(compressed)
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return payload.decode("utf-8", "replace")


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    received_at, _, event_id = cursor.partition("_")
    try:
        return datetime.fromisoformat(received_at), event_id
    except ValueError as error:
        raise Rejected("The cursor is not one that a list has given.") from error
