"""Stored answers: one timeline per user and app, and the history of what was answered."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from domain.model import StoredSegment, StoredSet
from domain.store.session import Connection, Record

_decode_segments = msgspec.json.Decoder(tuple[StoredSegment, ...]).decode


class HistoryRow(Struct, frozen=True, kw_only=True):
    """One version that was answered, and what it was computed from."""

    version: int
    #: Business time from which it was answered.
    begins_at: datetime
    #: Known then as its end; None: none was known.
    ends_at: datetime | None
    cause: str
    catalog_version: int
    #: JSON of `Facts`.
    facts: bytes
    #: JSON of the `EntitlementSet`, byte for byte.
    body: bytes


async def find_set(connection: Connection, project: str, user_id: str, app: str) -> StoredSet | None:
    """The stored answers of one user for one app; None: there are none, or the app was removed.

    The answers of an app that the catalog no longer lists are not recomputed, so they must not be served.
    """
    row = await connection.fetchrow(
        """
        SELECT e.user_key, e.app, e.project, e.first_version, e.last_version, e.catalog_version,
               e.computed_at, e.timeline, u.clock_at
        FROM users u JOIN entitlements e USING (user_key)
        JOIN apps a ON (a.project, a.app) = (e.project, e.app) AND a.removed_at IS NULL
        WHERE u.project = $1 AND u.user_id = $2 AND e.app = $3
        """,
        project,
        user_id,
        app,
    )
    return None if row is None else _stored_set(row)


async def find_sets(
    connection: Connection, project: str, user_ids: Sequence[str], app: str
) -> dict[str, StoredSet]:
    """As `find_set` for many users, by user id; who has none is not in it."""
    rows = await connection.fetch(
        """
        SELECT u.user_id, e.user_key, e.app, e.project, e.first_version, e.last_version, e.catalog_version,
               e.computed_at, e.timeline, u.clock_at
        FROM users u JOIN entitlements e USING (user_key)
        JOIN apps a ON (a.project, a.app) = (e.project, e.app) AND a.removed_at IS NULL
        WHERE u.project = $1 AND u.user_id = ANY($2::text[]) AND e.app = $3
        """,
        project,
        user_ids,
        app,
    )
    return {row["user_id"]: _stored_set(row) for row in rows}


async def list_sets(connection: Connection, project: str, user_key: int) -> list[StoredSet]:
    """The stored answers of one user for every app that has one, by app."""
    rows = await connection.fetch(
        """
        SELECT e.user_key, e.app, e.project, e.first_version, e.last_version, e.catalog_version,
               e.computed_at, e.timeline, u.clock_at
        FROM users u JOIN entitlements e USING (user_key)
        WHERE u.project = $1 AND u.user_key = $2 ORDER BY e.app
        """,
        project,
        user_key,
    )
    return [_stored_set(row) for row in rows]


async def save_set(connection: Connection, stored: StoredSet, timeline: bytes) -> bool:
    """Write one app's answers; False (and nothing written) where a higher catalog version wrote before."""
    status = await connection.execute(
        """
        INSERT INTO entitlements AS e
            (user_key, app, project, first_version, last_version, catalog_version, computed_at, timeline)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (user_key, app) DO UPDATE SET
            first_version = excluded.first_version, last_version = excluded.last_version,
            catalog_version = excluded.catalog_version, computed_at = excluded.computed_at,
            timeline = excluded.timeline
        WHERE e.catalog_version <= excluded.catalog_version AND e.last_version < excluded.first_version
        """,
        stored.user_key,
        stored.app,
        stored.project,
        stored.first_version,
        stored.last_version,
        stored.catalog_version,
        stored.computed_at,
        timeline.decode(),
    )
    return bool(status != "INSERT 0 0")


async def append_history(
    connection: Connection,
    stored: StoredSet,
    segments: Sequence[tuple[int, StoredSegment]],
    *,
    cause: str,
    facts: bytes,
) -> None:
    """Keep what was answered: (version, segment) pairs; a version already kept stays as it is."""
    await connection.execute(
        """
        INSERT INTO entitlement_history
            (user_key, app, project, version, begins_at, ends_at, cause, catalog_version, facts, body)
        SELECT $1, $2, $3, s.version, s.begins_at, s.ends_at, $4, $5, $6::json, s.body::json
        FROM unnest($7::bigint[], $8::timestamptz[], $9::timestamptz[], $10::text[])
             AS s(version, begins_at, ends_at, body)
        ON CONFLICT (user_key, app, version) DO NOTHING
        """,
        stored.user_key,
        stored.app,
        stored.project,
        cause,
        stored.catalog_version,
        facts.decode(),
        [version for version, _ in segments],
        [segment.begins_at for _, segment in segments],
        [segment.ends_at for _, segment in segments],
        [bytes(segment.entitlements).decode() for _, segment in segments],
    )


async def last_facts(connection: Connection, user_key: int, app: str) -> tuple[int, bytes] | None:
    """(version, facts) of the newest history row of this user and app: what its stored timeline came from."""
    row = await connection.fetchrow(
        """
        SELECT version, facts::text FROM entitlement_history
        WHERE user_key = $1 AND app = $2 ORDER BY version DESC LIMIT 1
        """,
        user_key,
        app,
    )
    return None if row is None else (row["version"], row["facts"].encode())


async def find_answered(
    connection: Connection, project: str, user_key: int, app: str, at: datetime
) -> HistoryRow | None:
    """The newest version in history that had begun at `at`; None: nothing was answered yet.

    Versions and their beginnings rise together, so this is what was answered then, unless a later segment
    of the stored timeline had begun: those come into history with the next recompute.
    """
    row = await connection.fetchrow(
        """
        SELECT version, begins_at, ends_at, cause, catalog_version, facts::text AS facts, body::text AS body
        FROM entitlement_history
        WHERE project = $1 AND user_key = $2 AND app = $3 AND begins_at <= $4
        ORDER BY version DESC LIMIT 1
        """,
        project,
        user_key,
        app,
        at,
    )
    if row is None:
        return None
    return HistoryRow(**{**row, "facts": row["facts"].encode(), "body": row["body"].encode()})


async def find_first_answer(connection: Connection, project: str, user_key: int, app: str) -> datetime | None:
    """Since when there are stored answers; None: there are none."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        """
        SELECT begins_at FROM entitlement_history
        WHERE project = $1 AND user_key = $2 AND app = $3 ORDER BY version LIMIT 1
        """,
        project,
        user_key,
        app,
    )


def _stored_set(row: Record) -> StoredSet:
    return StoredSet(
        project=row["project"],
        app=row["app"],
        user_key=row["user_key"],
        first_version=row["first_version"],
        last_version=row["last_version"],
        catalog_version=row["catalog_version"],
        computed_at=row["computed_at"],
        clock_at=row["clock_at"],
        segments=_decode_segments(row["timeline"]),
    )
