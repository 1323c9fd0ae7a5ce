"""The inbox as operators look through it: filtered, with whose each event is. Reads only."""

from datetime import datetime

from msgspec import Struct

from domain.store.inbox import EVENT_COLUMNS, EventRow
from domain.store.owned import OWNER_OF_TARGET, TARGETS_OF_USER
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
#: Field of `EventFilter` → its condition. Only what is wanted is asked, so that each question has its index.
_CONDITIONS = {
    "state": "state = {0}",
    "type": "type = {0}",
    "source": "source = {0}",
    "object_id": "(object_id = {0} OR target_ref = {0})",
    # The first half is of the event's own row: whose each of a million others is need not be asked.
    "project": """target_kind IS NOT NULL AND (target_kind <> 'customer' OR EXISTS (
                      SELECT 1 FROM stripe_customers c
                      WHERE c.stripe_customer_id = target_ref AND c.project = {0}))
                  AND o.project = {0}""",
    "user_key": f"(target_kind, target_ref) IN ({TARGETS_OF_USER.format(user='{0}')})",
    "app": """EXISTS (SELECT 1 FROM checkout_sessions c
                      WHERE c.user_key = o.user_key AND c.project = o.project AND c.app = {0})""",
    "since": "received_at >= {0}",
    "until": "received_at < {0}",
}


async def list_filtered(
    connection: Connection, wanted: EventFilter, *, before: tuple[datetime, str] | None, limit: int
) -> list[ListedEvent]:
    """Newest first; `before` is (received_at, event_id) of the last row of the page before."""
    where, values = _filtered(wanted)
    if before is not None:
        values += before
        where += f" AND (received_at, event_id) < (${len(values) - 1}, ${len(values)})"
    rows = await connection.fetch(
        f"{_LISTED} WHERE {where} ORDER BY received_at DESC, event_id DESC LIMIT ${len(values) + 1}",
        *values,
        limit,
    )
    return [ListedEvent(**row) for row in rows]


async def list_received_after(
    connection: Connection, wanted: EventFilter, after: tuple[datetime, str], *, limit: int
) -> list[ListedEvent]:
    """Oldest first; `after` is (received_at, event_id) of the last row that was taken."""
    where, values = _filtered(wanted)
    rows = await connection.fetch(
        f"""
        {_LISTED} WHERE {where} AND (received_at, event_id) > (${len(values) + 1}, ${len(values) + 2})
        ORDER BY received_at, event_id LIMIT ${len(values) + 3}
        """,
        *values,
        *after,
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


def _filtered(wanted: EventFilter) -> tuple[str, tuple[object, ...]]:
    """The conditions of what is wanted, and their values, numbered from $1."""
    asked = {name: value for name in _CONDITIONS if (value := getattr(wanted, name)) is not None}
    conditions = [_CONDITIONS[name].format(f"${number}") for number, name in enumerate(asked, start=1)]
    return " AND ".join(["true", *conditions]), tuple(asked.values())
