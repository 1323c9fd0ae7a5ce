"""The inbox: events as hints, and MARK, the one way to say that an object must be read again."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from domain.model import Claim, EventState, NewEvent, PendingEvent, TargetRef
from domain.store.session import Connection, rows_changed

#: A new event revives a dead target for one try: with these counts the next failure kills it again.
LAST_CLAIMS = 9
LAST_FAILURES = 7


class Marked(Struct, frozen=True):
    #: Ids of the events that were new.
    event_ids: frozenset[str]
    #: Their targets with the ids that may be rung once the transaction is committed.
    targets: dict[TargetRef, int]

    @property
    def target_ids(self) -> tuple[int, ...]:
        return tuple(self.targets.values())


class EventRow(Struct, frozen=True, kw_only=True):
    """An event as lists and details show it."""

    event_id: str
    source: str
    type: str
    state: str
    reason: str | None
    object_kind: str | None
    object_id: str | None
    target_kind: str | None
    target_ref: str | None
    tries: int
    received_at: datetime
    done_at: datetime | None
    created_at: datetime | None
    api_version: str | None
    request_id: str | None
    has_payload: bool


EVENT_COLUMNS = """event_id, source, type, state, reason, object_kind, object_id, target_kind, target_ref,
    tries, received_at, done_at, created_at, api_version, request_id, payload IS NOT NULL AS has_payload"""


async def mark(
    connection: Connection, events: Sequence[NewEvent], sha256: Sequence[bytes | None] = ()
) -> Marked:
    """MARK: insert events and raise `dirty_seq` of their targets, in one statement.

    Events are inserted in order of their id and targets are raised customers last, so that two batches
    never wait for each other in a circle. Known events change nothing.
    """
    hashes = list(sha256) or [None] * len(events)
    targets = [event.target or _NO_TARGET for event in events]
    row = await connection.fetchrow(
        f"""
        WITH e AS (
            INSERT INTO webhook_events
                (event_id, source, type, state, reason, object_kind, object_id, target_kind, target_ref,
                 created_at, api_version, request_id, payload, payload_sha256, done_at)
            SELECT g.*, CASE WHEN g.state = 'pending' THEN NULL ELSE clock_timestamp() END
            FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                        $8::text[], $9::text[], $10::timestamptz[], $11::text[], $12::text[], $13::bytea[],
                        $14::bytea[])
                 AS g(event_id, source, type, state, reason, object_kind, object_id, target_kind, target_ref,
                      created_at, api_version, request_id, payload, payload_sha256)
            ORDER BY g.event_id
            ON CONFLICT (event_id) DO NOTHING
            RETURNING event_id, target_kind, target_ref
        ), t AS (
            INSERT INTO sync_targets AS t (kind, stripe_id, dirty_seq, rung_at)
            SELECT target_kind, target_ref, count(*), clock_timestamp() FROM e
            WHERE target_ref IS NOT NULL
            GROUP BY 1, 2 ORDER BY (target_kind = 'customer'), 1, 2
            {_ON_DIRTY_TARGET}
            RETURNING t.id, t.kind, t.stripe_id
        )
        SELECT (SELECT array_agg(event_id) FROM e) AS event_ids,
               (SELECT array_agg(id ORDER BY id) FROM t) AS ids,
               (SELECT array_agg(kind ORDER BY id) FROM t) AS kinds,
               (SELECT array_agg(stripe_id ORDER BY id) FROM t) AS stripe_ids
        """,
        [event.event_id for event in events],
        [event.source for event in events],
        [event.type for event in events],
        [event.state.value for event in events],
        [event.reason for event in events],
        [event.object_kind for event in events],
        [event.object_id for event in events],
        [target.kind for target in targets],
        [target.stripe_id for target in targets],
        [event.created_at for event in events],
        [event.api_version for event in events],
        [event.request_id for event in events],
        [event.payload for event in events],
        hashes,
    )
    raised = zip(row["kinds"] or (), row["stripe_ids"] or (), row["ids"] or (), strict=True)
    return Marked(
        frozenset(row["event_ids"] or ()),
        {TargetRef(kind, ref): target_id for kind, ref, target_id in raised},
    )


async def find_owed_targets(connection: Connection, event_ids: Sequence[str]) -> dict[str, int]:
    """Known events whose target is still owed a sync, with its id: their bells may have been lost."""
    rows = await connection.fetch(
        """
        SELECT e.event_id, t.id FROM webhook_events e
        JOIN sync_targets t ON (t.kind, t.stripe_id) = (e.target_kind, e.target_ref)
        WHERE e.event_id = ANY($1::text[]) AND t.dirty_seq > t.synced_seq AND t.state = 'active'
        """,
        list(event_ids),
    )
    return {row["event_id"]: row["id"] for row in rows}


async def list_pending(connection: Connection, target: TargetRef, limit: int) -> list[PendingEvent]:
    """READ: pending events of a target whose `retry_at` has passed, oldest first."""
    rows = await connection.fetch(
        """
        SELECT event_id, source, type, object_kind, object_id, tries, received_at, request_id, payload
        FROM webhook_events
        WHERE target_kind = $1 AND target_ref = $2 AND state = 'pending' AND retry_at <= clock_timestamp()
        ORDER BY received_at, event_id LIMIT $3
        """,
        target.kind,
        target.stripe_id,
        limit,
    )
    return [PendingEvent(**row) for row in rows]


async def finish(
    connection: Connection, event_ids: Sequence[str], state: EventState, reason: str | None = None
) -> None:
    """Pending events are done, as `processed` or `foreign`; others are left as they are."""
    await connection.execute(
        """
        UPDATE webhook_events SET state = $2, reason = $3, done_at = clock_timestamp()
        WHERE event_id = ANY($1::text[]) AND state = 'pending'
        """,
        list(event_ids),
        state.value,
        reason,
    )


async def set_aside(
    connection: Connection, event_ids: Sequence[str], error: str, *, retry_base_s: float, most: int
) -> list[str]:
    """Events whose object is Broken: tried again later by FAIL's back-off, `failed` at the `most`-th try.

    Returns the ids that became `failed`.
    """
    rows = await connection.fetch(
        """
        UPDATE webhook_events SET tries = tries + 1, reason = $2,
            retry_at = clock_timestamp()
                + make_interval(secs => least(300, $3 * 2 ^ least(tries, 10)) * (0.5 + random() / 2)),
            state = CASE WHEN tries + 1 >= $4 THEN 'failed' ELSE 'pending' END,
            done_at = CASE WHEN tries + 1 >= $4 THEN clock_timestamp() END
        WHERE event_id = ANY($1::text[]) AND state = 'pending'
        RETURNING event_id, state
        """,
        list(event_ids),
        error,
        retry_base_s,
        most,
    )
    return [row["event_id"] for row in rows if row["state"] == EventState.FAILED]


async def move(connection: Connection, claim: Claim, customer_id: str) -> tuple[int, int]:
    """FORWARD: raise the customer's target, then give it every pending event of this object target.

    Answers (id of the customer's target, number of events moved).
    """
    moved = await connection.fetchval(
        """
        SELECT count(*) FROM webhook_events
        WHERE target_kind = $1 AND target_ref = $2 AND state = 'pending'
        """,
        claim.target.kind,
        claim.target.stripe_id,
    )
    target_id = await raise_target(connection, TargetRef("customer", customer_id), by=max(moved, 1))
    status = await connection.execute(
        """
        UPDATE webhook_events SET target_kind = 'customer', target_ref = $3
        WHERE target_kind = $1 AND target_ref = $2 AND state = 'pending'
        """,
        claim.target.kind,
        claim.target.stripe_id,
        customer_id,
    )
    return target_id, rows_changed(status)


async def raise_target(connection: Connection, target: TargetRef, *, by: int = 1) -> int:
    """Create the target if need be and raise its `dirty_seq`, as MARK does; locks its row. Answers its id."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        f"""
        INSERT INTO sync_targets AS t (kind, stripe_id, dirty_seq, rung_at)
        VALUES ($1, $2, $3, clock_timestamp())
        {_ON_DIRTY_TARGET}
        RETURNING t.id
        """,
        target.kind,
        target.stripe_id,
        by,
    )


async def reopen(connection: Connection, event_ids: Sequence[str], target: TargetRef) -> int:
    """REPLAY: back to pending, only rows that still belong to the (locked) target. Answers how many."""
    status = await connection.execute(
        """
        UPDATE webhook_events
        SET state = 'pending', tries = 0, retry_at = '-infinity', reason = NULL, done_at = NULL
        WHERE event_id = ANY($1::text[]) AND target_kind = $2 AND target_ref = $3
        """,
        list(event_ids),
        target.kind,
        target.stripe_id,
    )
    return rows_changed(status)


async def give_target(
    connection: Connection, event_id: str, object_kind: str, object_id: str, target: TargetRef
) -> bool:
    """Give a row that never had a target the one today's type table finds, and make it pending."""
    status = await connection.execute(
        """
        UPDATE webhook_events
        SET object_kind = $2, object_id = $3, target_kind = $4, target_ref = $5,
            state = 'pending', tries = 0, retry_at = '-infinity', reason = NULL, done_at = NULL
        WHERE event_id = $1 AND target_ref IS NULL
        """,
        event_id,
        object_kind,
        object_id,
        target.kind,
        target.stripe_id,
    )
    return rows_changed(status) == 1


async def find_event(connection: Connection, event_id: str) -> tuple[EventRow, bytes | None] | None:
    """One event and its compressed payload (None: expired, or internal)."""
    row = await connection.fetchrow(
        f"SELECT {EVENT_COLUMNS}, payload FROM webhook_events WHERE event_id = $1", event_id
    )
    if row is None:
        return None
    values: dict[str, Any] = dict(row)
    payload = values.pop("payload")
    return EventRow(**values), payload


async def list_unprocessed(
    connection: Connection, states: Sequence[str], after: str, limit: int
) -> list[EventRow]:
    """Events in one of the states, by id, after the id `after`: a resumable walk."""
    rows = await connection.fetch(
        f"""
        SELECT {EVENT_COLUMNS} FROM webhook_events
        WHERE state = ANY($1::text[]) AND event_id > $2 ORDER BY event_id LIMIT $3
        """,
        list(states),
        after,
        limit,
    )
    return [EventRow(**row) for row in rows]


async def age_ms(connection: Connection, event_ids: Sequence[str]) -> float | None:
    """Milliseconds since the oldest of these events was received, by the database's clock."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        """
        SELECT (extract(epoch FROM clock_timestamp() - min(received_at)) * 1000)::float8
        FROM webhook_events WHERE event_id = ANY($1::text[])
        """,
        list(event_ids),
    )


class _NoTarget(Struct, frozen=True):
    kind: str | None = None
    stripe_id: str | None = None


_NO_TARGET = _NoTarget()

#: Shared by everything that makes a target owe a sync: MARK, FORWARD, REPLAY, LINK.
_ON_DIRTY_TARGET = f"""
    ON CONFLICT (kind, stripe_id) DO UPDATE SET
        dirty_seq = t.dirty_seq + excluded.dirty_seq,
        rung_at = CASE WHEN t.dirty_seq = t.synced_seq THEN clock_timestamp() ELSE t.rung_at END,
        claims = CASE t.state WHEN 'dead' THEN {LAST_CLAIMS} ELSE t.claims END,
        failures = CASE t.state WHEN 'dead' THEN {LAST_FAILURES} ELSE t.failures END,
        due_at = CASE WHEN t.state = 'dead' OR t.attempts = 0 THEN clock_timestamp() ELSE t.due_at END,
        state = 'active'
"""
