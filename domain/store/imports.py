"""Imports: where each backfill of an existing Stripe account stands, and who is at it.

running ──▶ done | failed | abandoned        one is running per project: a unique index says so
A running one is moved by whoever holds its lease; when that process dies, another goes on at the cursor.
"""

from datetime import datetime

import msgspec
from msgspec import Struct

from domain.store.session import Connection, Record, rows_changed


class ImportCounts(Struct, frozen=True, kw_only=True):
    """What an import has done so far."""

    #: Calls to Stripe.
    reads: int = 0
    #: Customers of the account that were looked at.
    customers: int = 0
    #: Linked by this import.
    linked: int = 0
    #: Of those that are mapped: were their user's before.
    already: int = 0
    #: Nothing maps them, or they cannot be linked: the file of the unmapped says why.
    unmapped: int = 0
    #: Objects of linked customers that were taken from Stripe's lists.
    objects: int = 0
    #: Customers left to a sync, each once, because something of theirs changed meanwhile, cannot be read, or
    #: is on no list. As of a stage's end.
    left_to_sync: int = 0
    #: Unix seconds: the oldest customer of the account; None: not known yet.
    oldest: int | None = None


class ImportRow(Struct, frozen=True, kw_only=True):
    import_id: str
    project: str
    #: sha256 of the map, or metadata.KEY.
    mapping: str
    state: str
    stage: str
    cursor: str | None
    counts: ImportCounts
    actor: str
    error: str | None
    started_at: datetime
    ended_at: datetime | None
    is_leased: bool


_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(ImportCounts).decode

_IMPORT = """import_id, project, mapping, state, stage, cursor, counts::text AS counts, actor, error,
    started_at, ended_at, coalesce(lease_until > clock_timestamp(), false) AS is_leased"""


async def insert_import(
    connection: Connection, import_id: str, project: str, mapping: str, *, stage: str, actor: str
) -> bool:
    """False: one is running for this project."""
    status = await connection.execute(
        """
        INSERT INTO imports (import_id, project, mapping, stage, actor) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (project) WHERE state = 'running' DO NOTHING
        """,
        import_id,
        project,
        mapping,
        stage,
        actor,
    )
    return rows_changed(status) == 1


async def find_running(connection: Connection, project: str) -> ImportRow | None:
    row = await connection.fetchrow(
        f"SELECT {_IMPORT} FROM imports WHERE project = $1 AND state = 'running'", project
    )
    return None if row is None else _import(row)


async def find_import(connection: Connection, project: str, import_id: str) -> ImportRow | None:
    row = await connection.fetchrow(
        f"SELECT {_IMPORT} FROM imports WHERE project = $1 AND import_id = $2", project, import_id
    )
    return None if row is None else _import(row)


async def claim_import(
    connection: Connection, project: str, import_id: str, token: str, lease_s: float
) -> ImportRow | None:
    """Take the lease of a running import, or renew it. None: another holds it, or it has ended."""
    row = await connection.fetchrow(
        f"""
        UPDATE imports SET lease_token = $3, lease_until = clock_timestamp() + make_interval(secs => $4)
        WHERE project = $1 AND import_id = $2 AND state = 'running'
          AND (lease_until IS NULL OR lease_until < clock_timestamp() OR lease_token = $3)
        RETURNING {_IMPORT}
        """,
        project,
        import_id,
        token,
        lease_s,
    )
    return None if row is None else _import(row)


async def is_held(connection: Connection, project: str, import_id: str, token: str) -> bool:
    """Whether the lease is still ours, kept so until this transaction ends."""
    row = await connection.fetchval(
        """
        SELECT 1 FROM imports
        WHERE project = $1 AND import_id = $2 AND lease_token = $3 AND state = 'running' FOR SHARE
        """,
        project,
        import_id,
        token,
    )
    return row is not None


async def move_import(
    connection: Connection,
    project: str,
    import_id: str,
    token: str,
    *,
    stage: str,
    cursor: str | None,
    counts: ImportCounts,
) -> bool:
    """Where it goes on. False: the lease was lost, and another is at it."""
    status = await connection.execute(
        """
        UPDATE imports SET stage = $4, cursor = $5, counts = $6
        WHERE project = $1 AND import_id = $2 AND lease_token = $3 AND state = 'running'
        """,
        project,
        import_id,
        token,
        stage,
        cursor,
        _encode(counts).decode(),
    )
    return rows_changed(status) == 1


async def count_linked(connection: Connection, project: str, import_id: str, token: str, linked: int) -> bool:
    """Add to the customers linked, in the transaction that links them: a process that dies forgets none.

    False: the lease was lost, and another is at it.
    """
    status = await connection.execute(
        """
        UPDATE imports SET counts = (counts::jsonb || jsonb_build_object(
            'linked', coalesce((counts ->> 'linked')::int, 0) + $4::int))::json
        WHERE project = $1 AND import_id = $2 AND lease_token = $3 AND state = 'running'
        """,
        project,
        import_id,
        token,
        linked,
    )
    return rows_changed(status) == 1


async def release_import(connection: Connection, project: str, import_id: str, token: str) -> None:
    """Whoever comes next goes on with it."""
    await connection.execute(
        """
        UPDATE imports SET lease_token = NULL, lease_until = NULL
        WHERE project = $1 AND import_id = $2 AND lease_token = $3
        """,
        project,
        import_id,
        token,
    )


async def end_import(
    connection: Connection, project: str, import_id: str, state: str, error: str | None = None
) -> bool:
    """`done`, `failed` or `abandoned`; False: it had ended before."""
    status = await connection.execute(
        """
        UPDATE imports SET state = $3, error = $4, ended_at = clock_timestamp(), lease_token = NULL,
            lease_until = NULL
        WHERE project = $1 AND import_id = $2 AND state = 'running'
        """,
        project,
        import_id,
        state,
        error,
    )
    return rows_changed(status) == 1


async def read_pending(connection: Connection, project: str) -> tuple[datetime | None, bool]:
    """(since when customers of another system are to come, whether checkouts may make new ones)."""
    row = await connection.fetchrow(
        "SELECT import_pending_since, import_allows_new FROM projects WHERE project = $1", project
    )
    return (None, True) if row is None else (row["import_pending_since"], row["import_allows_new"])


async def list_awaiting(connection: Connection) -> list[str]:
    """Projects whose checkouts make no customers, because those of another system are to come."""
    rows = await connection.fetch(
        """
        SELECT project FROM projects WHERE import_pending_since IS NOT NULL AND NOT import_allows_new
        ORDER BY project
        """
    )
    return [row["project"] for row in rows]


async def await_import(connection: Connection, project: str, *, allows_new: bool | None) -> None:
    """From now on customers of another system are to come; `allows_new` None keeps what was said before."""
    await connection.execute(
        """
        UPDATE projects SET
            import_allows_new = coalesce($2, import_pending_since IS NOT NULL AND import_allows_new),
            import_pending_since = coalesce(import_pending_since, clock_timestamp())
        WHERE project = $1
        """,
        project,
        allows_new,
    )


async def complete_import(connection: Connection, project: str) -> bool:
    """No more are to come; False: none were."""
    status = await connection.execute(
        """
        UPDATE projects SET import_pending_since = NULL, import_allows_new = false
        WHERE project = $1 AND import_pending_since IS NOT NULL
        """,
        project,
    )
    return rows_changed(status) == 1


def _import(row: Record) -> ImportRow:
    return ImportRow(**{**dict(row), "counts": _decode(row["counts"])})
