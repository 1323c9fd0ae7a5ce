"""API keys as rows: everything but the secret, of which only an HMAC is kept."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from domain.store.session import Connection

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
) -> None:
    await connection.execute(
        """
        INSERT INTO api_keys
            (key_id, kind, project, app, name, scopes, secret_hmac, pepper_version, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
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
    )


async def find_key(connection: Connection, key_id: str) -> StoredKey | None:
    """The key with this id, ended ones too. The one statement that has no project: the key says which."""
    row = await connection.fetchrow(
        """
        SELECT key_id, kind, project, app, name, scopes, secret_hmac, pepper_version, expires_at, revoked_at
        FROM api_keys WHERE key_id = $1
        """,
        key_id,
    )
    return None if row is None else StoredKey(**{**row, "scopes": tuple(row["scopes"])})


async def revoke_key(connection: Connection, key_id: str) -> bool:
    """End a key now; False where there is none or it was ended before."""
    status = await connection.execute(
        "UPDATE api_keys SET revoked_at = clock_timestamp() WHERE key_id = $1 AND revoked_at IS NULL", key_id
    )
    return bool(status != "UPDATE 0")


async def list_apps(connection: Connection) -> list[tuple[str, str]]:
    """(project, app) of every app a key can name, sorted."""
    rows = await connection.fetch(
        "SELECT project, app FROM apps WHERE removed_at IS NULL ORDER BY project, app"
    )
    return [(row["project"], row["app"]) for row in rows]
