"""API keys as rows: everything but the secret, of which only an HMAC is kept."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from domain.errors import Broken
from domain.store.session import Connection, Record, rows_changed

KeyKind = Literal["app", "project", "operator"]


class StoredKey(Struct, frozen=True, kw_only=True):
    key_id: str
    kind: KeyKind
    #: None: an operator's key for every project.
    project: str | None
    #: None but for kind `app`.
    app: str | None
    name: str
    scopes: tuple[str, ...]
    secret_hmac: bytes
    #: Which pepper the HMAC was made with.
    pepper_version: int
    #: None: no end.
    expires_at: datetime | None
    revoked_at: datetime | None


#: `ending`: still live, and a rotation made another one for it.
KeyState = Literal["live", "ending", "expired", "revoked"]


class ListedKey(Struct, frozen=True, kw_only=True):
    """What an operator may see of a key: everything but its secret."""

    key_id: str
    kind: KeyKind
    project: str | None
    app: str | None
    name: str
    scopes: tuple[str, ...]
    state: KeyState
    created_at: datetime
    #: None: made before this was kept.
    created_by: str | None
    #: None: no end.
    expires_at: datetime | None
    revoked_at: datetime | None
    ended_by: str | None
    #: The key that a rotation made for it.
    replaced_by: str | None
    #: Up to a minute or two late; None: never.
    last_used_at: datetime | None


_LISTED = """
    key_id, kind, project, app, name, scopes, created_at, created_by, expires_at, revoked_at, ended_by,
    replaced_by, last_used_at,
    CASE WHEN revoked_at IS NOT NULL THEN 'revoked'
         WHEN expires_at <= clock_timestamp() THEN 'expired'
         WHEN replaced_by IS NOT NULL THEN 'ending'
         ELSE 'live' END AS state
"""


async def insert_key(
    connection: Connection,
    *,
    key_id: str,
    kind: KeyKind,
    project: str | None,
    app: str | None,
    name: str,
    scopes: Sequence[str],
    secret_hmac: bytes,
    pepper_version: int,
    expires_at: datetime | None,
    created_by: str,
) -> None:
    await connection.execute(
        """
        INSERT INTO api_keys
            (key_id, kind, project, app, name, scopes, secret_hmac, pepper_version, expires_at, created_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        """,
        key_id,
        kind,
        project,
        app,
        name,
        list(scopes),
        secret_hmac,
        pepper_version,
        expires_at,
        created_by,
    )


async def find_key(connection: Connection, key_id: str) -> StoredKey | None:
    """The key with this id, ended ones too. A statement without a project: the key says which.

    There is always one row to send and to read, or an unknown id would be answered measurably sooner.
    """
    row = await connection.fetchrow(
        """
        SELECT * FROM (
            SELECT key_id, kind, project, app, name, scopes, secret_hmac, pepper_version, expires_at,
                   revoked_at, 0 AS turn
            FROM api_keys WHERE key_id = $1
            UNION ALL
            SELECT '', 'app', 'project', 'app', 'nobody', ARRAY['none', 'none', 'none', 'none', 'none'],
                   decode(repeat('00', 32), 'hex'), 0, NULL, NULL, 1
        ) AS found ORDER BY turn LIMIT 1
        """,
        key_id,
    )
    if row is None:
        raise Broken("A statement that always has a row had none.")
    named = {name: row[name] for name in StoredKey.__struct_fields__}
    stored = StoredKey(**{**named, "scopes": tuple(row["scopes"])})
    return stored if stored.key_id == key_id else None


async def lock_key(connection: Connection, key_id: str) -> ListedKey | None:
    """The key with this id, ended ones too, kept from other changes until the transaction ends."""
    row = await connection.fetchrow(
        f"""
        SELECT {_LISTED}
        FROM api_keys WHERE key_id = $1 FOR NO KEY UPDATE
        """,
        key_id,
    )
    return None if row is None else _listed(row)


async def revoke_key(connection: Connection, key_id: str, ended_by: str) -> bool:
    """End a key now; False where there is none or it was revoked before."""
    status = await connection.execute(
        """
        UPDATE api_keys SET revoked_at = clock_timestamp(), ended_by = $2
        WHERE key_id = $1 AND revoked_at IS NULL
        """,
        key_id,
        ended_by,
    )
    return rows_changed(status) > 0


async def replace_key(
    connection: Connection, key_id: str, *, replaced_by: str, overlap: timedelta, ended_by: str
) -> datetime:
    """Give a key an end, `overlap` from now or its own if that is sooner; answers which."""
    ends_at: datetime = await connection.fetchval(
        """
        UPDATE api_keys SET replaced_by = $2, ended_by = $4,
               expires_at = least(expires_at, clock_timestamp() + $3::interval)
        WHERE key_id = $1 RETURNING expires_at
        """,
        key_id,
        replaced_by,
        overlap,
        ended_by,
    )
    return ends_at


async def lock_app(connection: Connection, project: str, app: str) -> None:
    """Keep others from making keys of this app until the transaction ends."""
    await connection.execute(
        "SELECT FROM apps WHERE project = $1 AND app = $2 FOR NO KEY UPDATE", project, app
    )


async def list_live(connection: Connection, project: str, app: str) -> list[str]:
    """Ids of an app's keys that are let in now, oldest first."""
    rows = await connection.fetch(
        """
        SELECT key_id FROM api_keys
        WHERE kind = 'app' AND project = $1 AND app = $2 AND revoked_at IS NULL
          AND (expires_at IS NULL OR expires_at > clock_timestamp())
        ORDER BY created_at, key_id
        """,
        project,
        app,
    )
    return [row["key_id"] for row in rows]


async def list_page(
    connection: Connection,
    project: str | None,
    app: str | None,
    *,
    with_ended: bool,
    before: tuple[datetime, str] | None,
    limit: int,
) -> list[ListedKey]:
    """Keys, newest first. `project` and `app` None: of all, operators' keys too.

    `before`: (created_at, key_id) of the last row of the page before.
    """
    rows = await connection.fetch(
        f"""
        SELECT {_LISTED}
        FROM api_keys
        WHERE ($1::text IS NULL OR project = $1) AND ($2::text IS NULL OR app = $2)
          AND ($3 OR revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp()))
          AND ($4::timestamptz IS NULL OR (created_at, key_id) < ($4, $5))
        ORDER BY created_at DESC, key_id DESC LIMIT $6
        """,
        project,
        app,
        with_ended,
        *(before or (None, None)),
        limit,
    )
    return [_listed(row) for row in rows]


async def note_use(connection: Connection, used: Sequence[tuple[str, datetime]], spacing: timedelta) -> int:
    """Move `last_used_at` of these keys forward where it is `spacing` behind; answers how many moved.

    A row that somebody else holds is left for the next time: nobody waits for a note.
    """
    status = await connection.execute(
        """
        WITH used AS (
            SELECT * FROM unnest($1::text[], $2::timestamptz[]) AS u (key_id, used_at)
        ), free AS (
            SELECT k.key_id, u.used_at FROM api_keys k JOIN used u USING (key_id)
            WHERE k.last_used_at IS NULL OR k.last_used_at <= u.used_at - $3::interval
            FOR NO KEY UPDATE OF k SKIP LOCKED
        )
        UPDATE api_keys k SET last_used_at = free.used_at FROM free WHERE k.key_id = free.key_id
        """,
        [key_id for key_id, _ in used],
        [used_at for _, used_at in used],
        spacing,
    )
    return rows_changed(status)


async def list_apps(connection: Connection) -> list[tuple[str, str]]:
    """(project, app) of every app a key can name, sorted."""
    rows = await connection.fetch(
        "SELECT project, app FROM apps WHERE removed_at IS NULL ORDER BY project, app"
    )
    return [(row["project"], row["app"]) for row in rows]


def _listed(row: Record) -> ListedKey:
    return ListedKey(**{**row, "scopes": tuple(row["scopes"])})


async def count_by_pepper(connection: Connection) -> dict[int, int]:
    """Keys that still open a door, by the version of the pepper that they were made under."""
    rows = await connection.fetch(
        """
        SELECT pepper_version, count(*) AS keys FROM api_keys
        WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())
        GROUP BY pepper_version
        """
    )
    return {row["pepper_version"]: row["keys"] for row in rows}
