"""What operators see of the inbox."""

import asyncio
import zlib
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from domain.context import Context, database_now
from domain.errors import FieldError, Invalid, Unknown
from domain.flows.event_outcome import told
from domain.flows.grant import require_head
from domain.model import EventState, TargetRef
from domain.rules.events import OLD_NAMES, USED
from domain.store import customers, event_counts, event_lists, inbox, traces
from domain.store.event_counts import EventCount
from domain.store.event_lists import EventFilter, ListedEvent
from domain.store.inbox import EventRow
from domain.store.session import Connection
from domain.store.traces import SeenTarget

__all__ = [
    "EventDetail",
    "EventPage",
    "EventQuery",
    "ListedEvent",
    "count_events",
    "follow_events",
    "list_events",
    "show_event",
    "used_types",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_SIBLINGS = 20
#: What one look of a follower takes, and how far back it looks for what was committed late.
TAIL_AT_ONCE = 500
TAIL_OVERLAP = timedelta(seconds=10)
MOST = 100


class EventDetail(Struct, frozen=True, kw_only=True):
    event: ListedEvent
    #: What is synced with it; None: it never had a target.
    target: SeenTarget | None
    #: Other events of that target, received about when it was, oldest first.
    siblings: list[EventRow]
    #: What became of it, in a sentence.
    outcome: str
    #: What an operator does now.
    next: str
    #: As Stripe sent it; None where it has expired, or the event is our own.
    payload: Any


class EventPage(Struct, frozen=True, kw_only=True):
    data: list[ListedEvent]
    next_cursor: str | None


class EventQuery(Struct, frozen=True, kw_only=True):
    """Which events; None: any. `user_id` and `app` are of `project`, which they need."""

    state: str | None = None
    type: str | None = None
    source: str | None = None
    #: The object it names, or the customer it is synced with.
    object_id: str | None = None
    project: str | None = None
    user_id: str | None = None
    #: Of users who checked out through this app.
    app: str | None = None
    #: Received from then on, and before then.
    since: datetime | None = None
    until: datetime | None = None


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
    context: Context, query: EventQuery, *, cursor: str | None = None, limit: int = 50
) -> EventPage:
    """Events, newest first. `cursor` is the `next_cursor` of the page before.

    Raises:
        Invalid: an unknown state, a limit outside 1 to 100, a cursor that is none of ours.
        Unknown: there is no such project or user.
    """
    if not 1 <= limit <= MOST:
        raise Invalid("This page cannot be.", errors=(FieldError("limit", f"1 to {MOST}"),))
    before = read_cursor(cursor) if cursor is not None else None
    async with context.database.snapshot() as connection:
        wanted = await resolve_query(connection, query)
        rows = await event_lists.list_filtered(connection, wanted, before=before, limit=limit + 1)
    page = rows[:limit]
    return EventPage(data=page, next_cursor=write_cursor(page[-1]) if len(rows) > limit else None)


async def resolve_query(connection: Connection, query: EventQuery) -> EventFilter:
    """The query as the store takes it. Raises: Invalid, Unknown, as `list_events`."""
    if query.state is not None and query.state not in set(EventState):
        what = f"one of {', '.join(EventState)}"
        raise Invalid("There is no such state.", errors=(FieldError("state", what),))
    for name in ("user_id", "app"):
        if getattr(query, name) is not None and query.project is None:
            raise Invalid("Say of which project.", errors=(FieldError("project", f"needed with {name}"),))
    user_key = None
    if query.project is not None:
        await require_head(connection, query.project)
        if query.user_id is not None:
            user_key = await customers.find_user_key(connection, query.project, query.user_id)
            if user_key is None:
                raise Unknown(
                    f"Nobody knows a user {query.user_id!r} in project {query.project}: "
                    "tollhouse find looks in every project.",
                    code="unknown_user",
                )
    values = {name: getattr(query, name) for name in EventFilter.__struct_fields__ if name != "user_key"}
    return EventFilter(user_key=user_key, **values)


async def follow_events(
    context: Context, query: EventQuery, *, every_s: float = 1.0
) -> AsyncGenerator[ListedEvent]:
    """Events as they arrive, from now on, each once, for ever; whoever follows ends it.

    An event whose transaction took long appears among younger ones: the last TAIL_OVERLAP are read again.
    """
    seen: dict[str, datetime] = {}
    async with context.database.connection() as connection:
        wanted = await resolve_query(connection, query)
        newest = await database_now(connection)
    began = newest
    while True:
        after = (max(began, newest - TAIL_OVERLAP), "")
        while True:
            async with context.database.connection() as connection:
                rows = await event_lists.list_received_after(connection, wanted, after, limit=TAIL_AT_ONCE)
            for row in rows:
                if row.event_id not in seen:
                    yield row
                seen[row.event_id] = row.received_at
                newest = max(newest, row.received_at)
            if len(rows) < TAIL_AT_ONCE:
                break
            # Of a burst, the overlap alone is more than one look takes: go on where this one ended.
            after = (rows[-1].received_at, rows[-1].event_id)
        seen = {key: at for key, at in seen.items() if at >= newest - 2 * TAIL_OVERLAP}
        await asyncio.sleep(every_s)


async def count_events(context: Context) -> list[EventCount]:
    """How many events ended how; an error of one event as its reason is one row of its own."""
    async with context.database.connection() as connection:
        return await event_counts.count_events(connection)


async def show_event(context: Context, event_id: str, project: str | None = None) -> EventDetail:
    """One event with its payload, and what became of it. `project` None: whoever's it is.

    Raises:
        Unknown: it is not in the inbox, or not this project's.
    """
    async with context.database.snapshot() as connection:
        event = await event_lists.find_listed(connection, event_id, project) if "\0" not in event_id else None
        found = await inbox.find_event(connection, event_id) if event is not None else None
        if event is None or found is None:
            raise unknown_event(event_id)
        target, siblings = await _around(connection, event)
    outcome, then = told(event, target)
    return EventDetail(
        event=event,
        target=target,
        siblings=siblings,
        outcome=outcome,
        next=then,
        payload=None if found[1] is None else _readable(found[1]),
    )


def unknown_event(event_id: str) -> Unknown:
    return Unknown(
        f"There is no event {event_id}: `tollhouse events list` shows the newest ones.", code="unknown_event"
    )


async def _around(connection: Connection, event: ListedEvent) -> tuple[SeenTarget | None, list[EventRow]]:
    if event.target_kind is None or event.target_ref is None:
        return None, []
    found = await traces.list_targets(connection, [TargetRef(event.target_kind, event.target_ref)])
    siblings = await event_lists.list_siblings(connection, event, MOST_SIBLINGS)
    return (found[0] if found else None), siblings


def _readable(compressed: bytes) -> Any:
    """The payload as JSON; as text where what the door did not look at is none."""
    payload = zlib.decompress(compressed)
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return payload.decode("utf-8", "replace")


def write_cursor(row: EventRow) -> str:
    """Microseconds and id: nothing that a URL would have to escape."""
    return f"{(row.received_at - _EPOCH) // timedelta(microseconds=1)}.{row.event_id}"


def read_cursor(cursor: str) -> tuple[datetime, str]:
    """Raises: Invalid, where no list has given it."""
    micros, _, event_id = cursor.partition(".")
    try:
        if not (micros.isascii() and micros.isdigit() and event_id and "\0" not in event_id):
            raise ValueError
        return _EPOCH + timedelta(microseconds=int(micros)), event_id
    except (ValueError, OverflowError) as error:
        what = "take the next_cursor of the page before, or leave it out"
        raise Invalid("This is no cursor of this list.", errors=(FieldError("cursor", what),)) from error
