"""After the restore of an older database: numbers that must not be given twice, and what it does not know."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from domain.store.session import Connection, rows_changed


async def newest_row_at(connection: Connection) -> datetime | None:
    """The newest moment the database knows: about when its backup was made; None: it is empty."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        """
        SELECT greatest((SELECT max(received_at) FROM webhook_events), (SELECT max(at) FROM audit_log),
                        (SELECT max(created_at) FROM users))
        """
    )


async def interrupted_since(connection: Connection) -> datetime | None:
    """What the oldest recovery that did not come to its end took for the newest moment; None: all ended.

    Its own rows, and what was delivered since, are newer than the backup.
    """
    return await connection.fetchval(  # type: ignore[no-any-return]
        """
        SELECT (details->>'lost_since')::timestamptz FROM audit_log
        WHERE action = 'deployment.recover'
          AND id > coalesce((SELECT max(id) FROM audit_log WHERE action = 'deployment.recovered'), 0)
        ORDER BY id LIMIT 1
        """
    )


async def raise_positions(connection: Connection, by: int) -> None:
    """Positions of the change feed go on above every one that was ever given."""
    await connection.execute(
        """
        SELECT setval('entitlement_changes_id_seq', (SELECT last_value FROM entitlement_changes_id_seq) + $1)
        """,
        by,
    )


async def raise_versions(connection: Connection, user_key: int, by: int) -> int:
    """Answers of one user, as they are, under versions that nobody was ever told. Answers how many sets.

    History and feed get a row each, so that who follows them reads the user again. The caller holds the
    user lock.
    """
    status = await connection.execute(
        """
        WITH raised AS (
            UPDATE entitlements SET first_version = first_version + $2, last_version = last_version + $2
            WHERE user_key = $1 RETURNING *
        ), known AS (
            SELECT DISTINCT ON (h.app) h.app, h.facts FROM entitlement_history h
            WHERE h.user_key = $1 ORDER BY h.app, h.version DESC
        ), kept AS (
            INSERT INTO entitlement_history (user_key, app, project, version, begins_at, ends_at, cause,
                                             catalog_version, facts, body)
            SELECT r.user_key, r.app, r.project, r.first_version,
                   coalesce((SELECT clock_at FROM users WHERE user_key = $1), clock_timestamp()),
                   (r.timeline->0->>'ends_at')::timestamptz, 'restore', r.catalog_version, k.facts,
                   r.timeline->0->'entitlements'
            FROM raised r JOIN known k USING (app)
        )
        INSERT INTO entitlement_changes (project, app, user_key, version, cause, changed)
        SELECT r.project, r.app, r.user_key, r.first_version, 'restore',
               ARRAY(SELECT json_object_keys(r.timeline->0->'entitlements') ORDER BY 1)
        FROM raised r
        """,
        user_key,
        by,
    )
    return rows_changed(status)


async def list_user_keys(connection: Connection, after: int, limit: int) -> list[int]:
    rows = await connection.fetch(
        "SELECT user_key FROM users WHERE user_key > $1 ORDER BY user_key LIMIT $2", after, limit
    )
    return [row["user_key"] for row in rows]


async def count_users(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT count(*) FROM users"))


async def list_lost_grants(connection: Connection, grant_ids: Sequence[str]) -> set[str]:
    """Of these, the ones that the database does not have."""
    rows = await connection.fetch(
        "SELECT unnest($1::text[]) AS id EXCEPT SELECT grant_id FROM grants", list(grant_ids)
    )
    return {row["id"] for row in rows}


async def list_lost_revocations(connection: Connection, grant_ids: Sequence[str]) -> set[str]:
    """Of these, the ones that are in force again."""
    rows = await connection.fetch(
        "SELECT grant_id AS id FROM grants WHERE grant_id = ANY($1::text[]) AND revoked_at IS NULL",
        list(grant_ids),
    )
    return {row["id"] for row in rows}


async def list_lost_keys(connection: Connection, key_ids: Sequence[str]) -> set[str]:
    """Of these, the ones that the database does not have: who holds one is refused."""
    rows = await connection.fetch(
        "SELECT unnest($1::text[]) AS id EXCEPT SELECT key_id FROM api_keys", list(key_ids)
    )
    return {row["id"] for row in rows}


async def list_revived_keys(connection: Connection, key_ids: Sequence[str]) -> set[str]:
    """Of these, the ones that open doors again."""
    rows = await connection.fetch(
        "SELECT key_id AS id FROM api_keys WHERE key_id = ANY($1::text[]) AND revoked_at IS NULL",
        list(key_ids),
    )
    return {row["id"] for row in rows}


class KnownUser(Struct, frozen=True, kw_only=True):
    user_key: int
    project: str
    user_id: str
    created_at: datetime


async def list_lost_moves(
    connection: Connection, action: str, user_keys: Sequence[int], times: Sequence[datetime]
) -> list[bool]:
    """Of each user and time, whether the audit log has no such action of about then: logs' clocks differ."""
    rows = await connection.fetch(
        """
        SELECT NOT EXISTS (
                   SELECT FROM audit_log a
                   WHERE a.action = $1 AND a.subject_kind = 'user' AND a.subject_id = m.user_key::text
                     AND a.at BETWEEN m.at - interval '5 minutes' AND m.at + interval '5 minutes'
               ) AS is_lost
        FROM unnest($2::bigint[], $3::timestamptz[]) WITH ORDINALITY AS m(user_key, at, place)
        ORDER BY m.place
        """,
        action,
        list(user_keys),
        list(times),
    )
    return [row["is_lost"] for row in rows]


async def list_known_users(connection: Connection, user_keys: Sequence[int]) -> dict[int, KnownUser]:
    rows = await connection.fetch(
        "SELECT user_key, project, user_id, created_at FROM users WHERE user_key = ANY($1::bigint[])",
        list(user_keys),
    )
    return {row["user_key"]: KnownUser(**row) for row in rows}
