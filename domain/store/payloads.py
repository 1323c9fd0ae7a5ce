"""Bodies of deliveries, which hold personal data, and their end."""

from datetime import datetime
from typing import TypeAlias

from msgspec import Struct

from domain.store.session import Connection

#: (received_at, event_id): the order in which events came, and a place in it.
Place: TypeAlias = tuple[datetime, str]


class Expired(Struct, frozen=True):
    #: Events looked at, and those of them that lost their body.
    seen: int
    expired: int
    #: The last one looked at; None: there was none.
    last: Place | None


async def expire(connection: Connection, after: Place | None, *, days: float, limit: int) -> Expired:
    """Delete the bodies of up to `limit` events received after `after` and more than `days` days ago.

    A pending event keeps its body, because whoever works it off still looks at it.
    """
    row = await connection.fetchrow(
        """
        WITH old AS (
            SELECT received_at, event_id, payload IS NOT NULL AND state <> 'pending' AS is_over
            FROM webhook_events
            WHERE received_at < clock_timestamp() - make_interval(secs => $1)
              AND ($2::timestamptz IS NULL OR (received_at, event_id) > ($2, $3))
            ORDER BY received_at, event_id LIMIT $4
        ), expired AS (
            UPDATE webhook_events e SET payload = NULL FROM old
            WHERE e.event_id = old.event_id AND old.is_over AND e.state <> 'pending'
            RETURNING 1
        ), last AS (
            SELECT received_at, event_id FROM old ORDER BY received_at DESC, event_id DESC LIMIT 1
        )
        SELECT (SELECT count(*) FROM old) AS seen, (SELECT count(*) FROM expired) AS expired,
               (SELECT received_at FROM last) AS received_at, (SELECT event_id FROM last) AS event_id
        """,
        days * 86_400,
        after[0] if after else None,
        after[1] if after else None,
        limit,
    )
    last = (row["received_at"], row["event_id"]) if row["seen"] else None
    return Expired(seen=row["seen"], expired=row["expired"], last=last)
