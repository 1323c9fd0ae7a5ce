"""What gave up: dead targets with everything that waits on them, and failed events of living ones.

A discarded event is `ignored` with a reason that begins with `discarded: `, and no longer names a target:
nothing reopens it by itself, and what its target was stands in the audit log.
"""

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from domain.model import EventState, TargetRef
from domain.store.owned import OWNER_OF_TARGET
from domain.store.session import Connection, Record

DeadKind = Literal["target", "event"]


class DeadRow(Struct, frozen=True, kw_only=True):
    """A dead target, or a failed event."""

    #: The target's Stripe id, or the event's id.
    id: str
    kind: DeadKind
    #: What is synced: of an event, what it belongs to.
    target: TargetRef
    #: The object an event names; None of a target.
    object_id: str | None
    #: None of a target.
    event_type: str | None
    error: str | None
    #: Failures in a row, or claims without an outcome.
    tries: int
    #: Unfinished events that go on when this is retried.
    waiting: int
    #: When the oldest of them was received; None: there is none.
    since: datetime | None
    age_s: float | None
    #: Whose it is, as far as our own rows tell; None: nobody knows.
    project: str | None
    user_key: int | None
    user_id: str | None


class WaitingEvent(Struct, frozen=True, kw_only=True):
    event_id: str
    type: str
    state: str
    reason: str | None
    tries: int
    received_at: datetime


#: Both lists in one shape. Events of a dead target wait on it and are counted there.
_LISTED = f"""
    WITH failed AS MATERIALIZED (
        SELECT event_id, type, object_id, target_kind, target_ref, reason, tries, received_at
        FROM webhook_events WHERE state = 'failed'
    ), listed AS (
        SELECT t.stripe_id AS id, 'target' AS kind, t.kind AS target_kind, t.stripe_id AS target_ref,
               NULL AS object_id, NULL AS event_type, t.last_error AS error,
               greatest(t.claims, t.failures) AS tries, count(w.received_at) AS waiting,
               min(w.received_at) AS since
        FROM sync_targets t
        LEFT JOIN LATERAL (
            SELECT received_at FROM webhook_events e
            WHERE e.target_kind = t.kind AND e.target_ref = t.stripe_id AND e.state = 'pending'
            UNION ALL
            SELECT received_at FROM failed f WHERE f.target_kind = t.kind AND f.target_ref = t.stripe_id
        ) w ON true
        WHERE t.state = 'dead' GROUP BY t.id
        UNION ALL
        SELECT f.event_id, 'event', f.target_kind, f.target_ref, f.object_id, f.type, f.reason, f.tries, 1,
               f.received_at
        FROM failed f
        WHERE f.event_id = $1 OR NOT EXISTS (
            SELECT 1 FROM sync_targets t
            WHERE t.kind = f.target_kind AND t.stripe_id = f.target_ref AND t.state = 'dead'
        )
    ), owned AS (
        SELECT listed.*, o.project, u.user_key, u.user_id, coalesce(listed.since, 'epoch') AS place,
               extract(epoch FROM clock_timestamp() - listed.since)::float8 AS age_s
        FROM listed
        {OWNER_OF_TARGET}
        LEFT JOIN users u ON u.user_key = o.user_key AND u.project = o.project
    )
    SELECT id, kind, target_kind, target_ref, object_id, event_type, error, tries, waiting, since, age_s,
           project, user_key, user_id
    FROM owned WHERE ($2::text IS NULL OR project = $2)
"""


async def list_page(
    connection: Connection, *, project: str | None, after: tuple[datetime, str] | None, limit: int
) -> list[DeadRow]:
    """The longest waiting first. `project` None: of all of them, and what is nobody's.

    `after` is (`since`, or 1970 where there is none; `id`) of the last row of the page before.
    """
    rows = await connection.fetch(
        f"{_LISTED} AND ($3::timestamptz IS NULL OR (place, id) > ($3, $4)) ORDER BY place, id LIMIT $5",
        None,
        project,
        after[0] if after else None,
        after[1] if after else None,
        limit,
    )
    return [_row(row) for row in rows]


async def find_dead(connection: Connection, project: str | None, dead_id: str) -> DeadRow | None:
    """By the Stripe id of a dead target or the id of a failed event; None: nothing of that name gave up."""
    row = await connection.fetchrow(f"{_LISTED} AND id = $1 ORDER BY kind DESC LIMIT 1", dead_id, project)
    return None if row is None else _row(row)


async def list_waiting(connection: Connection, target: TargetRef, limit: int) -> list[WaitingEvent]:
    """Unfinished events of a target, oldest first."""
    rows = await connection.fetch(
        """
        SELECT event_id, type, state, reason, tries, received_at FROM webhook_events
        WHERE target_kind = $1 AND target_ref = $2 AND state IN ('pending', 'failed')
        ORDER BY received_at, event_id LIMIT $3
        """,
        target.kind,
        target.stripe_id,
        limit,
    )
    return [WaitingEvent(**row) for row in rows]


async def lock_target(connection: Connection, target: TargetRef) -> str | None:
    """The target's lock, taken before any of its events; answers its state. None: there is no such target."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        "SELECT state FROM sync_targets WHERE kind = $1 AND stripe_id = $2 FOR UPDATE",
        target.kind,
        target.stripe_id,
    )


async def list_failed(connection: Connection, target: TargetRef) -> list[str]:
    """Ids of a target's failed events."""
    rows = await connection.fetch(
        """
        SELECT event_id FROM webhook_events
        WHERE target_kind = $1 AND target_ref = $2 AND state = 'failed' ORDER BY event_id
        """,
        target.kind,
        target.stripe_id,
    )
    return [row["event_id"] for row in rows]


async def discard_events(
    connection: Connection, target: TargetRef, reason: str, *, only: str | None = None
) -> list[str]:
    """Every unfinished event of the (locked) target is ignored from now on; `only`: this failed one.

    Answers their ids.
    """
    rows = await connection.fetch(
        """
        UPDATE webhook_events
        SET state = $4, reason = $3, target_kind = NULL, target_ref = NULL, done_at = clock_timestamp()
        WHERE target_kind = $1 AND target_ref = $2
          AND CASE WHEN $5::text IS NULL THEN state IN ('pending', 'failed')
                   ELSE state = 'failed' AND event_id = $5 END
        RETURNING event_id
        """,
        target.kind,
        target.stripe_id,
        reason,
        EventState.IGNORED.value,
        only,
    )
    return sorted(row["event_id"] for row in rows)


async def settle_dead(connection: Connection, target: TargetRef) -> None:
    """A dead target owes nothing any more and lives again; its next event gets every try."""
    await connection.execute(
        """
        UPDATE sync_targets SET state = 'active', synced_seq = dirty_seq, claims = 0, failures = 0,
            attempts = 0, rings = 0, due_at = '-infinity', last_error = NULL
        WHERE kind = $1 AND stripe_id = $2 AND state = 'dead'
        """,
        target.kind,
        target.stripe_id,
    )


def _row(row: Record) -> DeadRow:
    values: dict[str, Any] = dict(row)
    target = TargetRef(values.pop("target_kind"), values.pop("target_ref"))
    return DeadRow(target=target, **values)


class DeadTarget(Struct, frozen=True, kw_only=True):
    kind: str
    stripe_id: str
    error: str | None
    #: None: nobody of ours is known to own it.
    project: str | None
    user_key: int | None


async def list_dead_targets(
    connection: Connection,
    *,
    after: tuple[str, str],
    project: str | None,
    user_key: int | None,
    limit: int,
) -> list[DeadTarget]:
    """Those that gave up, ordered by kind and id, after (kind, id); never those of others on the account."""
    rows = await connection.fetch(
        f"""
        SELECT kind, stripe_id, last_error AS error, o.project, o.user_key
        FROM (SELECT *, kind AS target_kind, stripe_id AS target_ref FROM sync_targets
              WHERE state = 'dead' AND owner <> 'foreign') t {OWNER_OF_TARGET}
        WHERE (kind, stripe_id) > ($1, $2) AND ($3::text IS NULL OR o.project = $3)
          AND ($4::bigint IS NULL OR o.user_key = $4)
        ORDER BY kind, stripe_id LIMIT $5
        """,
        *after,
        project,
        user_key,
        limit,
    )
    return [DeadTarget(**row) for row in rows]
