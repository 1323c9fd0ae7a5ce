"""Timers: moments at which Stripe is to be read again; the scheduler turns each into an event."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from domain.model import TargetRef
from domain.store.session import Connection, rows_changed


class Timer(Struct, frozen=True, kw_only=True):
    timer_id: int
    due_at: datetime
    target: TargetRef
    object_kind: str
    object_id: str
    cause: str
    #: JSON: what is awaited, the reference to confirm, how often it was tried.
    payload: bytes


async def set_recheck(
    connection: Connection,
    *,
    target: TargetRef,
    object_kind: str,
    object_id: str,
    payload: bytes,
    in_s: float,
) -> None:
    """Read this object again in `in_s` seconds, or when its timer is due; `payload` replaces the timer's."""
    await connection.execute(
        """
        INSERT INTO timers (due_at, target_kind, target_ref, object_kind, object_id, cause, payload)
        VALUES (clock_timestamp() + make_interval(secs => $6), $1, $2, $3, $4, 'recheck', $5)
        ON CONFLICT (object_kind, object_id, cause) DO UPDATE SET
            target_kind = excluded.target_kind, target_ref = excluded.target_ref, payload = excluded.payload
        """,
        target.kind,
        target.stripe_id,
        object_kind,
        object_id,
        payload.decode(),
        in_s,
    )


async def lock_recheck(connection: Connection, object_kind: str, object_id: str) -> bytes | None:
    """The payload of the timer an object has, locked so that it can be added to; None: it has none."""
    payload = await connection.fetchval(
        """
        SELECT payload::text FROM timers
        WHERE object_kind = $1 AND object_id = $2 AND cause = 'recheck' FOR UPDATE
        """,
        object_kind,
        object_id,
    )
    return None if payload is None else bytes(payload.encode())


class NewTimer(Struct, frozen=True, kw_only=True):
    """A moment of an object as COMMIT wishes it."""

    object_id: str
    cause: str
    due_at: datetime
    #: JSON with `still`: what must no longer be true, and `count`: how often it was looked at in vain.
    payload: bytes
    #: Looked at often enough: it waits for a change of `still`, not for a moment.
    is_exhausted: bool


async def replace_moments(
    connection: Connection,
    target: TargetRef,
    object_kind: str,
    object_ids: Sequence[str],
    moments: Sequence[NewTimer],
    *,
    causes: Sequence[str],
    again_s: float,
) -> None:
    """Make `moments` the only timers with one of the `causes` that these objects have.

    One that waits for the same as before stays as it is, due and count included. One that has passed is due
    in `again_s` seconds, so that a moment that does not come can never keep a worker busy.
    """
    await connection.execute(
        """
        WITH wished AS (
            SELECT * FROM unnest($5::text[], $6::text[], $7::timestamptz[], $8::text[], $9::boolean[])
                AS w(object_id, cause, due_at, payload, is_exhausted)
        ), gone AS (
            DELETE FROM timers t
            WHERE t.object_kind = $3 AND t.object_id = ANY($4::text[]) AND t.cause = ANY($10::text[])
              AND NOT EXISTS (SELECT 1 FROM wished w WHERE (w.object_id, w.cause) = (t.object_id, t.cause))
        )
        INSERT INTO timers AS t (due_at, target_kind, target_ref, object_kind, object_id, cause, payload)
        SELECT CASE WHEN w.is_exhausted THEN 'infinity' WHEN w.due_at > clock_timestamp() THEN w.due_at
                    ELSE clock_timestamp() + make_interval(secs => $11) END,
               $1, $2, $3, w.object_id, w.cause, w.payload::json
        FROM wished w ORDER BY w.object_id, w.cause
        ON CONFLICT (object_kind, object_id, cause) DO UPDATE SET
            target_kind = excluded.target_kind, target_ref = excluded.target_ref,
            due_at = excluded.due_at, payload = excluded.payload
        WHERE (t.payload -> 'still')::jsonb IS DISTINCT FROM (excluded.payload -> 'still')::jsonb
           OR (t.target_kind, t.target_ref) <> (excluded.target_kind, excluded.target_ref)
        """,
        target.kind,
        target.stripe_id,
        object_kind,
        list(object_ids),
        [moment.object_id for moment in moments],
        [moment.cause for moment in moments],
        [moment.due_at for moment in moments],
        [moment.payload.decode() for moment in moments],
        [moment.is_exhausted for moment in moments],
        list(causes),
        again_s,
    )


async def list_due(connection: Connection, limit: int) -> list[Timer]:
    """Timers whose moment has passed, oldest first; takes no lock."""
    rows = await connection.fetch(
        """
        SELECT id, due_at, target_kind, target_ref, object_kind, object_id, cause, payload::text AS payload
        FROM timers WHERE due_at <= clock_timestamp() ORDER BY due_at LIMIT $1
        """,
        limit,
    )
    return [
        Timer(
            timer_id=row["id"],
            due_at=row["due_at"],
            target=TargetRef(row["target_kind"], row["target_ref"]),
            object_kind=row["object_kind"],
            object_id=row["object_id"],
            cause=row["cause"],
            payload=row["payload"].encode(),
        )
        for row in rows
    ]


async def delete_timer(connection: Connection, timer: Timer) -> bool:
    """Delete the timer as it was read; False: another one took it, or something was added to it."""
    status = await connection.execute(
        "DELETE FROM timers WHERE id = $1 AND due_at = $2 AND payload::text = $3",
        timer.timer_id,
        timer.due_at,
        timer.payload.decode(),
    )
    return rows_changed(status) == 1
