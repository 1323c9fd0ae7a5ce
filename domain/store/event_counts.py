"""How the events of the inbox ended, counted."""

from datetime import datetime

from msgspec import Struct

from domain.store.session import Connection


class EventCount(Struct, frozen=True, kw_only=True):
    state: str
    reason: str | None
    type: str
    events: int
    newest_at: datetime


async def count_events(connection: Connection) -> list[EventCount]:
    """How many events ended how, by state, reason and type; the most frequent first."""
    rows = await connection.fetch(
        """
        SELECT state, reason, type, count(*) AS events, max(received_at) AS newest_at FROM webhook_events
        GROUP BY state, reason, type ORDER BY events DESC, state, reason, type
        """
    )
    return [EventCount(**row) for row in rows]
