"""Calls under an Idempotency-Key. One row per caller, route and key:

(none) ── claim ──▶ leased ── keep ──▶ done ── prune, after a day ──▶ (none)
                    │    ▲
      release, or   ▼    │ claim: the same row, the same id
      lease over    free ┘      forget (a refusal) ──▶ (none)
"""

from uuid import UUID

from msgspec import Struct

from domain.store.session import Connection, rows_changed


class KeyName(Struct, frozen=True, kw_only=True):
    """Which key of whom, and what was asked for under it."""

    #: None: a call that concerns no one project.
    project: str | None
    caller: str
    #: Method and path.
    route: str
    key_sha256: bytes
    request_sha256: bytes


class KeyRow(Struct, frozen=True, kw_only=True):
    request_sha256: bytes
    #: Of the kept answer; None: the call is not done.
    status: int | None
    body: bytes | None
    #: Whether an attempt at it is under way.
    is_leased: bool


async def claim_key(
    connection: Connection, name: KeyName, *, new_id: UUID, token: str, lease_s: float, kept_s: float
) -> UUID | None:
    """The id of the call, which is now this attempt's; None: it is done, under way, or asks something else.

    A call that an earlier attempt left unfinished keeps that attempt's id.
    """
    return await connection.fetchval(  # type: ignore[no-any-return]
        """
        INSERT INTO idempotency_keys AS k
            (id, project, caller, route, key_sha256, request_sha256, lease_token, lease_until, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + make_interval(secs => $8),
                clock_timestamp() + make_interval(secs => $9))
        ON CONFLICT (caller, route, key_sha256) DO UPDATE
        SET lease_token = excluded.lease_token, lease_until = excluded.lease_until
        WHERE k.status IS NULL AND k.request_sha256 = excluded.request_sha256
          AND (k.lease_until IS NULL OR k.lease_until < clock_timestamp())
        RETURNING k.id
        """,
        new_id,
        name.project,
        name.caller,
        name.route,
        name.key_sha256,
        name.request_sha256,
        token,
        lease_s,
        kept_s,
    )


async def find_key(connection: Connection, name: KeyName) -> KeyRow | None:
    """What is known under a key; None: nothing."""
    row = await connection.fetchrow(
        """
        SELECT request_sha256, status, body, coalesce(lease_until >= clock_timestamp(), false) AS is_leased
        FROM idempotency_keys
        WHERE caller = $1 AND route = $2 AND key_sha256 = $3
        """,
        name.caller,
        name.route,
        name.key_sha256,
    )
    return None if row is None else KeyRow(**row)


async def keep_answer(connection: Connection, call_id: UUID, token: str, status: int, body: bytes) -> bool:
    """The call is done; False (and nothing written) where another attempt has taken it over."""
    changed = await connection.execute(
        """
        UPDATE idempotency_keys SET status = $3, body = $4, lease_token = NULL, lease_until = NULL
        WHERE id = $1 AND lease_token = $2
        """,
        call_id,
        token,
        status,
        body,
    )
    return rows_changed(changed) == 1


async def release_key(connection: Connection, call_id: UUID, token: str) -> None:
    """The attempt has ended without an answer: the same call may go on at once."""
    await connection.execute(
        """
        UPDATE idempotency_keys SET lease_token = NULL, lease_until = NULL
        WHERE id = $1 AND lease_token = $2
        """,
        call_id,
        token,
    )


async def forget_key(connection: Connection, call_id: UUID, token: str) -> None:
    """The call was refused and changed nothing: its key is as if it had never been used."""
    await connection.execute(
        "DELETE FROM idempotency_keys WHERE id = $1 AND lease_token = $2", call_id, token
    )


async def prune_keys(connection: Connection, limit: int) -> int:
    """Delete the oldest expired keys, at most `limit`, whosever they are; answers how many."""
    deleted = await connection.execute(
        """
        DELETE FROM idempotency_keys WHERE id IN (
            SELECT id FROM idempotency_keys WHERE expires_at < clock_timestamp()
            ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)
        """,
        limit,
    )
    return rows_changed(deleted)
