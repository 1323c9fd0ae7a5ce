"""Grants: what operators gave or took. A row ends by its revocation and is never deleted.

    scheduled ── starts_at ──▶ active ── expires_at ──▶ expired
        └──────── revoke ────────┴──▶ revoked

A state is never stored: it is a question to the row and the user's present moment.
"""

from datetime import datetime, timedelta
from typing import Literal

import msgspec
from msgspec import Struct

from domain.model import FeatureValue, Grant, GrantEffect, GrantTarget
from domain.store.session import Connection, Record

GrantState = Literal["active", "scheduled", "expired", "revoked"]

_decode_value = msgspec.json.Decoder(FeatureValue).decode
_encode = msgspec.json.Encoder().encode


class GrantRow(Struct, frozen=True, kw_only=True):
    """A grant with what only operators see of it."""

    grant: Grant
    user_key: int
    user_id: str
    reason: str
    actor: str
    revoked_by: str | None
    revoke_reason: str | None
    state: GrantState


class NewGrant(Struct, frozen=True, kw_only=True):
    grant: Grant
    project: str
    user_key: int
    reason: str
    actor: str
    #: The caller's; None: it sent none.
    idempotency_key: str | None
    #: Of the request under that key.
    request_sha256: bytes | None


class KeyedGrant(Struct, frozen=True, kw_only=True):
    """The grant that an idempotency key already made."""

    row: GrantRow
    request_sha256: bytes


#: `$1` is the present moment of users on real time; a user on a test clock has its clock's.
_STATE = """
    CASE WHEN g.revoked_at IS NOT NULL THEN 'revoked'
         WHEN g.expires_at <= coalesce(u.clock_at, $1) THEN 'expired'
         WHEN g.starts_at > coalesce(u.clock_at, $1) THEN 'scheduled'
         ELSE 'active' END
"""
_ROWS = f"""
    SELECT g.grant_id, g.effect, g.target_kind, g.target, g.value::text AS value, g.created_at, g.starts_at,
           g.expires_at, g.revoked_at, g.user_key, u.user_id, g.reason, g.actor, g.revoked_by,
           g.revoke_reason, {_STATE} AS state, g.idempotency_key, g.request_sha256
    FROM grants g JOIN users u USING (user_key)
"""


async def insert_grant(connection: Connection, new: NewGrant) -> bool:
    """Write a grant; False (and nothing written) where its idempotency key has made another one.

    Waits for a transaction that is about to use the same key.
    """
    grant = new.grant
    status = await connection.execute(
        """
        INSERT INTO grants
            (grant_id, project, user_key, effect, target_kind, target, value, reason, actor, created_at,
             starts_at, expires_at, idempotency_key, request_sha256)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        ON CONFLICT (project, idempotency_key) DO NOTHING
        """,
        grant.grant_id,
        new.project,
        new.user_key,
        grant.effect,
        grant.target_kind,
        grant.target,
        None if grant.value is None else _encode(grant.value).decode(),
        new.reason,
        new.actor,
        grant.created_at,
        grant.starts_at,
        grant.expires_at,
        new.idempotency_key,
        new.request_sha256,
    )
    return bool(status != "INSERT 0 0")


async def find_keyed(
    connection: Connection, project: str, idempotency_key: str, now: datetime
) -> KeyedGrant | None:
    """The grant made under a caller's idempotency key; None: the key is new."""
    row = await connection.fetchrow(
        f"{_ROWS} WHERE g.project = $2 AND g.idempotency_key = $3", now, project, idempotency_key
    )
    return None if row is None else KeyedGrant(row=_row(row), request_sha256=row["request_sha256"])


async def list_keyed(
    connection: Connection, project: str, idempotency_keys: list[str], now: datetime
) -> dict[str, KeyedGrant]:
    """The grants that these keys have made, by key."""
    rows = await connection.fetch(
        f"{_ROWS} WHERE g.project = $2 AND g.idempotency_key = ANY($3::text[])",
        now,
        project,
        idempotency_keys,
    )
    return {
        row["idempotency_key"]: KeyedGrant(row=_row(row), request_sha256=row["request_sha256"])
        for row in rows
    }


async def find_holder(connection: Connection, project: str, grant_id: str) -> int | None:
    """The user_key of a grant's user; None: there is no such grant, or it is another project's."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        "SELECT user_key FROM grants WHERE project = $1 AND grant_id = $2", project, grant_id
    )


async def find_grant(connection: Connection, project: str, grant_id: str, now: datetime) -> GrantRow | None:
    """None: there is none with this id, or it is another project's."""
    row = await connection.fetchrow(
        f"{_ROWS} WHERE g.project = $2 AND g.grant_id = $3", now, project, grant_id
    )
    return None if row is None else _row(row)


async def list_of_target(
    connection: Connection,
    project: str,
    user_key: int,
    now: datetime,
    *,
    target_kind: GrantTarget,
    target: str,
    effect: GrantEffect | None,
) -> list[GrantRow]:
    """All grants of a user on one target, whatever their state; `effect` None: of every effect."""
    rows = await connection.fetch(
        f"""
        {_ROWS}
        WHERE g.project = $2 AND g.user_key = $3 AND g.target_kind = $4 AND g.target = $5
          AND ($6::text IS NULL OR g.effect = $6)
        ORDER BY g.created_at, g.grant_id
        """,
        now,
        project,
        user_key,
        target_kind,
        target,
        effect,
    )
    return [_row(row) for row in rows]


async def list_page(
    connection: Connection,
    project: str,
    now: datetime,
    *,
    user_id: str | None = None,
    state: GrantState | None = None,
    before: tuple[datetime, str] | None = None,
    limit: int = 50,
) -> list[GrantRow]:
    """Grants, newest first; `before` is (created_at, grant_id) of the last row of the page before."""
    rows = await connection.fetch(
        f"""
        {_ROWS}
        WHERE g.project = $2 AND ($3::text IS NULL OR u.user_id = $3) AND ($4::text IS NULL OR {_STATE} = $4)
          AND ($5::timestamptz IS NULL OR (g.created_at, g.grant_id) < ($5, $6))
        ORDER BY g.created_at DESC, g.grant_id DESC LIMIT $7
        """,
        now,
        project,
        user_id,
        state,
        before[0] if before else None,
        before[1] if before else None,
        limit,
    )
    return [_row(row) for row in rows]


async def list_expiring(
    connection: Connection,
    project: str,
    now: datetime,
    *,
    within: timedelta,
    user_id: str | None = None,
    state: GrantState | None = None,
    after: tuple[datetime, str] | None = None,
    limit: int = 50,
) -> list[GrantRow]:
    """Grants whose end comes within that time from now, the next one first.

    `after` is (expires_at, grant_id) of the last row of the page before.
    """
    rows = await connection.fetch(
        f"""
        {_ROWS}
        WHERE g.project = $2 AND g.revoked_at IS NULL
          AND g.expires_at > coalesce(u.clock_at, $1) AND g.expires_at <= coalesce(u.clock_at, $1) + $3
          AND ($4::text IS NULL OR u.user_id = $4) AND ($5::text IS NULL OR {_STATE} = $5)
          AND ($6::timestamptz IS NULL OR (g.expires_at, g.grant_id) > ($6, $7))
        ORDER BY g.expires_at, g.grant_id LIMIT $8
        """,
        now,
        project,
        within,
        user_id,
        state,
        after[0] if after else None,
        after[1] if after else None,
        limit,
    )
    return [_row(row) for row in rows]


async def revoke_grants(
    connection: Connection,
    project: str,
    grant_ids: list[str],
    *,
    at: datetime,
    by: str,
    reason: str,
) -> list[str]:
    """End grants that are not revoked yet; answers the ids of those, in the order of the ids."""
    rows = await connection.fetch(
        """
        WITH ended AS (
            UPDATE grants SET revoked_at = $3, revoked_by = $4, revoke_reason = $5
            WHERE project = $1 AND grant_id = ANY($2::text[]) AND revoked_at IS NULL RETURNING grant_id)
        SELECT grant_id FROM ended ORDER BY grant_id
        """,
        project,
        grant_ids,
        at,
        by,
        reason,
    )
    return [row["grant_id"] for row in rows]


async def load_grants(connection: Connection, project: str, user_key: int) -> tuple[Grant, ...]:
    """Every grant of a user, ended ones too: as the rules take them, in a fixed order."""
    rows = await connection.fetch(
        """
        SELECT grant_id, effect, target_kind, target, value::text AS value, created_at, starts_at, expires_at,
               revoked_at
        FROM grants WHERE project = $1 AND user_key = $2 ORDER BY created_at, grant_id
        """,
        project,
        user_key,
    )
    return tuple(_grant(row) for row in rows)


def _row(row: Record) -> GrantRow:
    return GrantRow(
        grant=_grant(row),
        user_key=row["user_key"],
        user_id=row["user_id"],
        reason=row["reason"],
        actor=row["actor"],
        revoked_by=row["revoked_by"],
        revoke_reason=row["revoke_reason"],
        state=row["state"],
    )


def _grant(row: Record) -> Grant:
    value: FeatureValue = None if row["value"] is None else _decode_value(row["value"])
    return Grant(
        grant_id=row["grant_id"],
        effect=row["effect"],
        target_kind=row["target_kind"],
        target=row["target"],
        value=value,
        created_at=row["created_at"],
        starts_at=row["starts_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
    )
