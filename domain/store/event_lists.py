"""The inbox as operators look through it: filtered, with whose each event is. Reads only."""

from datetime import datetime

from msgspec import Struct

from domain.store.inbox import EVENT_COLUMNS, EventRow
from domain.store.owned import OWNER_OF_TARGET
from domain.store.session import Connection

#: Events around one that belong together are received within this time of each other.
SIBLINGS_WITHIN = "1 hour"


class ListedEvent(EventRow, frozen=True, kw_only=True):
    #: Whose its target is; None: nobody of ours is known to own it.
    project: str | None
    user_id: str | None


class EventFilter(Struct, frozen=True, kw_only=True):
    """What an event must be to be listed; None: anything."""

    state: str | None = None
    type: str | None = None
    source: str | None = None
    #: The object it names, or the customer (or other target) it is synced with.
    object_id: str | None = None
    project: str | None = None
    user_key: int | None = None
    #: Of users who checked out through this app of `project`.
    app: str | None = None
    #: Received from then on, and before then.
    since: datetime | None = None
    until: datetime | None = None


_LISTED = f"""
    SELECT {EVENT_COLUMNS}, o.project,
           (SELECT u.user_id FROM users u WHERE u.user_key = o.user_key AND u.project = o.project) AS user_id
    FROM webhook_events {OWNER_OF_TARGET}
"""
_FILTERED = f"""
    {_LISTED}
    WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR type = $2)
      AND ($3::text IS NULL OR source = $3)
      AND ($4::text IS NULL OR object_id = $4 OR target_ref = $4)
      AND ($5::text IS NULL OR o.project = $5) AND ($6::bigint IS NULL OR o.user_key = $6)
      AND ($7::text IS NULL OR EXISTS (
          SELECT 1 FROM checkout_sessions c
          WHERE c.user_key = o.user_key AND c.project = o.project AND c.app = $7))
      AND ($8::timestamptz IS NULL OR received_at >= $8) AND ($9::timestamptz IS NULL OR received_at < $9)
"""


async def list_filtered(
    connection: Connection, wanted: EventFilter, *, before: tuple[datetime, str] | None, limit: int
) -> list[ListedEvent]:
    """Newest first; `before` is (received_at, event_id) of the last row of the page before."""
    rows = await connection.fetch(
        f"""
        {_FILTERED} AND ($10::timestamptz IS NULL OR (received_at, event_id) < ($10, $11))
        ORDER BY received_at DESC, event_id DESC LIMIT $12
        """,
        *_values(wanted),
        before[0] if before else None,
        before[1] if before else None,
        limit,
    )
    return [ListedEvent(**row) for row in rows]


async def list_received_since(
    connection: Connection, wanted: EventFilter, since: datetime, *, limit: int
) -> list[ListedEvent]:
    """Oldest first, from `since` on."""
    rows = await connection.fetch(
        f"{_FILTERED} AND received_at >= $10 ORDER BY received_at, event_id LIMIT $11",
        *_values(wanted),
        since,
        limit,
    )
    return [ListedEvent(**row) for row in rows]


async def find_listed(connection: Connection, event_id: str, project: str | None) -> ListedEvent | None:
    """One event; of `project`, where one is named."""
    row = await connection.fetchrow(
        f"{_LISTED} WHERE event_id = $1 AND ($2::text IS NULL OR o.project = $2)", event_id, project
    )
    return None if row is None else ListedEvent(**row)


async def list_siblings(connection: Connection, event: EventRow, limit: int) -> list[EventRow]:
    """Other events of its target, received about when it was, oldest first."""
    rows = await connection.fetch(
        f"""
        SELECT {EVENT_COLUMNS} FROM webhook_events
        WHERE target_kind = $1 AND target_ref = $2 AND event_id <> $3
          AND received_at BETWEEN $4::timestamptz - interval '{SIBLINGS_WITHIN}'
                              AND $4::timestamptz + interval '{SIBLINGS_WITHIN}'
        ORDER BY received_at, event_id LIMIT $5
        """,
        event.target_kind,
        event.target_ref,
        event.event_id,
        event.received_at,
        limit,
    )
    return [EventRow(**row) for row in rows]


def _values(wanted: EventFilter) -> tuple[object, ...]:
    return (
        wanted.state,
        wanted.type,
        wanted.source,
        wanted.object_id,
        wanted.project,
        wanted.user_key,
        wanted.app,
        wanted.since,
        wanted.until,
    )
