"""Timers: moments at which Stripe is to be read again; the scheduler turns each into an event."""

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
