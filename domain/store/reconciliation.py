"""Runs of the reconciler: where each stands, who is at it, and what it has named.

running ──▶ done | failed | abandoned        one is running at a time: a unique index says so
A running one is moved by whoever holds its lease; when that process dies, another goes on at the cursor.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from domain.model import Counts, Suspect
from domain.store.session import Connection, Record, rows_changed

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Counts).decode


class RunRow(Struct, frozen=True, kw_only=True):
    run_id: str
    project: str | None
    user_key: int | None
    is_check: bool
    is_full: bool
    state: str
    stage: str
    cursor: str | None
    counts: Counts
    actor: str
    error: str | None
    started_at: datetime
    ended_at: datetime | None
    is_leased: bool


class NewRun(Struct, frozen=True, kw_only=True):
    run_id: str
    project: str | None
    user_key: int | None
    is_check: bool
    is_full: bool
    stage: str
    actor: str


class DriftRow(Struct, frozen=True, kw_only=True):
    id: int
    type: str
    severity: str
    project: str | None
    user_key: int | None
    #: None: of nobody known.
    user_id: str | None
    object_kind: str
    object_id: str
    stripe_customer_id: str | None
    found: str
    next: str | None
    repair: str | None
    seen_at: datetime
    confirmed_at: datetime | None


_RUN = """run_id, project, user_key, is_check, is_full, state, stage, cursor, counts::text AS counts, actor,
    error, started_at, ended_at, coalesce(lease_until > clock_timestamp(), false) AS is_leased"""


async def insert_run(connection: Connection, run: NewRun) -> bool:
    """False, and nothing written: one is running."""
    status = await connection.execute(
        """
        INSERT INTO reconciliation_runs (run_id, project, user_key, is_check, is_full, stage, actor)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (state) WHERE state = 'running' DO NOTHING
        """,
        run.run_id,
        run.project,
        run.user_key,
        run.is_check,
        run.is_full,
        run.stage,
        run.actor,
    )
    return rows_changed(status) == 1


async def find_running(connection: Connection) -> RunRow | None:
    row = await connection.fetchrow(f"SELECT {_RUN} FROM reconciliation_runs WHERE state = 'running'")
    return None if row is None else _run(row)


async def find_run(connection: Connection, run_id: str, project: str | None) -> RunRow | None:
    """One of a project, or of any where `project` is None."""
    row = await connection.fetchrow(
        f"""
        SELECT {_RUN} FROM reconciliation_runs
        WHERE run_id = $1 AND ($2::text IS NULL OR project = $2)
        """,
        run_id,
        project,
    )
    return None if row is None else _run(row)


async def list_runs(
    connection: Connection, project: str | None, before: tuple[datetime, str] | None, limit: int
) -> list[RunRow]:
    """Newest first; `before` is (started_at, run_id) of the last row of the page before."""
    rows = await connection.fetch(
        f"""
        SELECT {_RUN} FROM reconciliation_runs
        WHERE ($1::text IS NULL OR project = $1)
          AND ($2::timestamptz IS NULL OR (started_at, run_id) < ($2, $3))
        ORDER BY started_at DESC, run_id DESC LIMIT $4
        """,
        project,
        before[0] if before else None,
        before[1] if before else None,
        limit,
    )
    return [_run(row) for row in rows]


async def last_full_start(connection: Connection) -> datetime | None:
    """When the newest full pass over everything that repairs began; None: there was none.

    One that was given up counts: begun anew at once, it would come to what it was given up for.
    """
    return await connection.fetchval(  # type: ignore[no-any-return]
        """
        SELECT max(started_at) FROM reconciliation_runs
        WHERE project IS NULL AND is_full AND NOT is_check
        """
    )


async def claim_run(connection: Connection, run_id: str, token: str, lease_s: float) -> RunRow | None:
    """Take the lease of a running run. None: another holds it, or it has ended."""
    row = await connection.fetchrow(
        f"""
        UPDATE reconciliation_runs
        SET lease_token = $2, lease_until = clock_timestamp() + make_interval(secs => $3)
        WHERE run_id = $1 AND state = 'running'
          AND (lease_until IS NULL OR lease_until < clock_timestamp() OR lease_token = $2)
        RETURNING {_RUN}
        """,
        run_id,
        token,
        lease_s,
    )
    return None if row is None else _run(row)


async def move_run(
    connection: Connection, run_id: str, token: str, *, stage: str, cursor: str | None, counts: Counts
) -> bool:
    """Where it goes on. False: the lease was lost, and another is at it."""
    status = await connection.execute(
        """
        UPDATE reconciliation_runs SET stage = $3, cursor = $4, counts = $5
        WHERE run_id = $1 AND lease_token = $2 AND state = 'running'
        """,
        run_id,
        token,
        stage,
        cursor,
        _encode(counts).decode(),
    )
    return rows_changed(status) == 1


async def release_run(connection: Connection, run_id: str, token: str) -> None:
    """Whoever comes next goes on with it."""
    await connection.execute(
        """
        UPDATE reconciliation_runs SET lease_token = NULL, lease_until = NULL
        WHERE run_id = $1 AND lease_token = $2
        """,
        run_id,
        token,
    )


async def end_run(
    connection: Connection, run_id: str, token: str, state: str, error: str | None = None
) -> bool:
    """`done` or `failed`; what it has seen is forgotten. False: the lease was lost, and another is at it."""
    status = await connection.execute(
        """
        UPDATE reconciliation_runs SET state = $3, error = $4, ended_at = clock_timestamp(),
            lease_token = NULL, lease_until = NULL
        WHERE run_id = $1 AND lease_token = $2 AND state = 'running'
        """,
        run_id,
        token,
        state,
        error,
    )
    return await _forget_unended(connection, run_id, status)


async def abandon_run(connection: Connection, run_id: str, error: str) -> bool:
    """Ended whoever is at it, who can move it no more. False: it was not running."""
    status = await connection.execute(
        """
        UPDATE reconciliation_runs SET state = 'abandoned', error = $2, ended_at = clock_timestamp(),
            lease_token = NULL, lease_until = NULL
        WHERE run_id = $1 AND state = 'running'
        """,
        run_id,
        error,
    )
    return await _forget_unended(connection, run_id, status)


async def _forget_unended(connection: Connection, run_id: str, status: str) -> bool:
    """What a run that was ended had seen, and had not looked at twice."""
    if rows_changed(status) == 0:
        return False
    await connection.execute("DELETE FROM reconciliation_seen WHERE run_id = $1", run_id)
    await connection.execute("DELETE FROM drifts WHERE run_id = $1 AND state = 'suspected'", run_id)
    return True


async def prune_runs(connection: Connection, *, days: int) -> int:
    """Forget runs, and what they named, that ended so long ago."""
    status = await connection.execute(
        """
        DELETE FROM reconciliation_runs WHERE ended_at < clock_timestamp() - make_interval(days => $1)
        """,
        days,
    )
    return rows_changed(status)


async def add_seen(connection: Connection, run_id: str, keys: Sequence[tuple[str, str]]) -> None:
    """(kind, id) that a list of Stripe's has shown."""
    await connection.execute(
        """
        INSERT INTO reconciliation_seen (run_id, object_kind, object_id)
        SELECT $1, * FROM unnest($2::text[], $3::text[]) ON CONFLICT DO NOTHING
        """,
        run_id,
        [kind for kind, _ in keys],
        [object_id for _, object_id in keys],
    )


async def add_suspects(
    connection: Connection, run_id: str, suspects: Sequence[tuple[Suspect, str, str | None]]
) -> None:
    """Each with its severity and the operator's command; what the run has named already stays as it is."""
    await connection.executemany(
        """
        INSERT INTO drifts (run_id, type, severity, project, user_key, object_kind, object_id,
                            stripe_customer_id, found, next)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ON CONFLICT (run_id, type, object_kind, object_id) DO NOTHING
        """,
        [
            (
                *(run_id, one.type, severity, one.project, one.user_key, one.object_kind),
                *(one.object_id, one.customer_id, one.found, next_),
            )
            for one, severity, next_ in suspects
        ],
    )


class Suspected(Struct, frozen=True, kw_only=True):
    id: int
    suspect: Suspect
    #: Seconds since it was seen.
    age_s: float


async def next_suspected(connection: Connection, run_id: str) -> Suspected | None:
    """The oldest that waits for its second look."""
    row = await connection.fetchrow(
        """
        SELECT id, type, object_kind, object_id, stripe_customer_id, project, user_key, found,
               extract(epoch FROM clock_timestamp() - seen_at)::float8 AS age_s
        FROM drifts WHERE run_id = $1 AND state = 'suspected' ORDER BY id LIMIT 1
        """,
        run_id,
    )
    if row is None:
        return None
    return Suspected(
        id=row["id"],
        age_s=row["age_s"],
        suspect=Suspect(
            type=row["type"],
            object_kind=row["object_kind"],
            object_id=row["object_id"],
            customer_id=row["stripe_customer_id"],
            project=row["project"],
            user_key=row["user_key"],
            found=row["found"],
        ),
    )


async def confirm_drift(connection: Connection, drift_id: int, *, found: str, repair: str | None) -> None:
    await connection.execute(
        """
        UPDATE drifts SET state = 'confirmed', found = $2, repair = $3, confirmed_at = clock_timestamp()
        WHERE id = $1
        """,
        drift_id,
        found,
        repair,
    )


async def drop_suspect(connection: Connection, drift_id: int) -> None:
    """It was gone at the second look."""
    await connection.execute("DELETE FROM drifts WHERE id = $1 AND state = 'suspected'", drift_id)


async def list_drifts(
    connection: Connection, run_id: str, *, after: int = 0, limit: int = 1000
) -> list[DriftRow]:
    """Confirmed ones in the order in which they were seen, after the id `after`."""
    rows = await connection.fetch(
        """
        SELECT d.id, d.type, d.severity, d.project, d.user_key, u.user_id, d.object_kind, d.object_id,
               d.stripe_customer_id, d.found, d.next, d.repair, d.seen_at, d.confirmed_at
        FROM drifts d LEFT JOIN users u ON u.user_key = d.user_key
        WHERE d.run_id = $1 AND d.state = 'confirmed' AND d.id > $2 ORDER BY d.id LIMIT $3
        """,
        run_id,
        after,
        limit,
    )
    return [DriftRow(**row) for row in rows]


def _run(row: Record) -> RunRow:
    return RunRow(**{**row, "counts": _decode(row["counts"])})


async def name_users(connection: Connection, user_keys: Sequence[int]) -> dict[int, str]:
    """The projects' own ids of users, for the commands that an operator is told."""
    rows = await connection.fetch(
        "SELECT user_key, user_id FROM users WHERE user_key = ANY($1::bigint[])", list(user_keys)
    )
    return {row["user_key"]: row["user_id"] for row in rows}
