"""Runs of the schedulers' jobs: those that ended, those under way, and those that died under way."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from domain.store.jobs import LEADER_LOCK
from domain.store.session import Connection, rows_changed


class Kept(Struct, frozen=True, kw_only=True):
    """A run as it is kept so far; ages in seconds. `ended_s` None: it is under way."""

    run_id: UUID
    job: str
    asked_by: str | None
    started_s: float
    ended_s: float | None
    turns: int
    duration_s: float
    done: int
    error: str | None


class JobRun(Struct, frozen=True, kw_only=True):
    """Turns of a job that ended alike within a minute, or one that is under way."""

    run_id: UUID
    job: str
    ran_by: str
    asked_by: str | None
    started_at: datetime
    #: None: it is under way. Of a run that a later leader ended: when its own scheduler last told of it.
    ended_at: datetime | None
    #: That have ended.
    turns: int
    #: Of a run under way: until its scheduler last told of it, which it does four times a minute.
    duration_s: float
    done: int
    error: str | None
    #: The leader that found it left by another; None: who ran it ended it.
    ended_by: str | None
    #: Seconds since it began, by the database's clock; None: it has ended.
    running_s: float | None
    #: Seconds since its scheduler last told of it, such as 15; None: it has ended.
    unheard_s: float | None


class Left(Struct, frozen=True, kw_only=True):
    """A run that its scheduler left under way."""

    job: str
    ran_by: str


async def keep_run(connection: Connection, ran_by: str, run: Kept) -> None:
    """Keep a run, or what it has become since; not one that a later leader has ended."""
    await connection.execute(
        """
        INSERT INTO job_runs AS r
            (run_id, job, ran_by, asked_by, started_at, ended_at, turns, duration_s, done, error)
        VALUES ($1, $2, $3, $4, clock_timestamp() - make_interval(secs => $5),
                clock_timestamp() - make_interval(secs => $6), $7, $8, $9, $10)
        ON CONFLICT (run_id) DO UPDATE SET ended_at = excluded.ended_at, turns = excluded.turns,
            duration_s = excluded.duration_s, done = excluded.done, error = excluded.error
        WHERE r.ended_by IS NULL AND (r.ended_at IS NULL OR excluded.ended_at IS NOT NULL)
        """,
        run.run_id,
        run.job,
        ran_by,
        run.asked_by,
        run.started_s,
        run.ended_s,
        run.turns,
        run.duration_s,
        run.done,
        run.error,
    )


async def end_left_runs(
    connection: Connection, name: str, backend_pid: int, own: Collection[UUID], error: str
) -> list[Left]:
    """End what others left under way, as of when they last told of it: all runs but our `own`.

    Only while the session `backend_pid` leads. Looked at after this statement's snapshot was taken: whatever
    that shows is of earlier leaders. A row that somebody holds is left for next time.
    """
    rows = await connection.fetch(
        """
        UPDATE job_runs SET ended_at = started_at + make_interval(secs => duration_s), turns = 1, error = $4,
               ended_by = $1
        WHERE run_id IN (
            SELECT run_id FROM job_runs WHERE ended_at IS NULL AND run_id <> ALL($3::uuid[])
            AND EXISTS (
                SELECT FROM pg_locks k
                WHERE k.pid = $2 AND k.locktype = 'advisory' AND k.granted AND k.objsubid = 1
                  AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND (k.classid::bigint << 32 | k.objid::bigint) = $5)
            FOR UPDATE SKIP LOCKED)
        RETURNING job, ran_by
        """,
        name,
        backend_pid,
        list(own),
        error,
        LEADER_LOCK,
    )
    return [Left(**row) for row in rows]


async def list_runs(
    connection: Connection, job: str | None, before: tuple[datetime, UUID] | None, limit: int
) -> list[JobRun]:
    """Runs of a job, or of all, newest first, from before a place on."""
    rows = await connection.fetch(
        """
        SELECT run_id, job, ran_by, asked_by, started_at, ended_at, turns, duration_s, done, error, ended_by,
               running_s, running_s - duration_s AS unheard_s
        FROM job_runs, LATERAL (
            SELECT CASE WHEN ended_at IS NULL
                   THEN extract(epoch FROM clock_timestamp() - started_at)::float8 END AS running_s) r
        WHERE ($1::text IS NULL OR job = $1)
          AND ($2::timestamptz IS NULL OR (started_at, run_id) < ($2, $3::uuid))
        ORDER BY started_at DESC, run_id DESC LIMIT $4
        """,
        job,
        before[0] if before else None,
        before[1] if before else None,
        limit,
    )
    return [JobRun(**row) for row in rows]


async def prune_runs(connection: Connection, *, days: float, limit: int) -> int:
    """Delete the oldest runs that began more than `days` days ago, at most `limit`; answers how many."""
    deleted = await connection.execute(
        """
        DELETE FROM job_runs WHERE run_id IN (
            SELECT run_id FROM job_runs
            WHERE started_at < clock_timestamp() - make_interval(secs => $1 * 86400)
            ORDER BY started_at LIMIT $2 FOR UPDATE SKIP LOCKED)
        """,
        days,
        limit,
    )
    return rows_changed(deleted)
