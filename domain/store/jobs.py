"""The schedulers' jobs: who leads, the newest turn of each job, and what operators want."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from domain.jobs import JobSeen, Leader
from domain.store.session import Connection, rows_changed

#: Key of the advisory lock that the leader's session holds: any number, the same in every process.
LEADER_LOCK = 7_405_190_233_115


class Order(Struct, frozen=True, kw_only=True):
    """What operators want of a job."""

    job: str
    is_paused: bool
    #: A turn now; None: nobody asked.
    asked_at: datetime | None
    asked_by: str | None


class Noted(Struct, frozen=True, kw_only=True):
    """The newest turn of a job. `age_s`: seconds since its end."""

    job: str
    age_s: float
    duration_s: float
    done: int
    error: str | None
    failures: int
    #: Seconds since the newest turn that went well; None: this process has had none.
    succeeded_s: float | None
    #: The wish that it answered; None: the clock's.
    served: datetime | None


async def take_lead(connection: Connection) -> bool:
    """Whether this session leads from now on, until it ends. Not for one that leads: the lock counts."""
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", LEADER_LOCK))


async def write_leader(connection: Connection, name: str) -> int:
    """Say who leads, on the session that does; answers that session's number."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        """
        INSERT INTO scheduler_leader (name, backend_pid) VALUES ($1, pg_backend_pid())
        ON CONFLICT (id) DO UPDATE
        SET name = excluded.name, backend_pid = excluded.backend_pid, since = clock_timestamp()
        RETURNING backend_pid
        """,
        name,
    )


async def find_leader(connection: Connection) -> Leader | None:
    """Who leads now: whose session holds the lock. None: nobody."""
    row = await connection.fetchrow(
        """
        SELECT l.name, l.since, extract(epoch FROM clock_timestamp() - l.since)::float8 AS leads_s
        FROM scheduler_leader l JOIN pg_locks k ON k.pid = l.backend_pid
        WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1
          AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND (k.classid::bigint << 32 | k.objid::bigint) = $1
        """,
        LEADER_LOCK,
    )
    return None if row is None else Leader(**row)


async def list_orders(connection: Connection) -> list[Order]:
    """Of jobs that are paused or asked for."""
    rows = await connection.fetch(
        """
        SELECT job, paused_at IS NOT NULL AS is_paused, asked_at, asked_by FROM scheduler_jobs
        WHERE paused_at IS NOT NULL OR asked_at IS NOT NULL
        """
    )
    return [Order(**row) for row in rows]


async def list_jobs(connection: Connection) -> list[JobSeen]:
    """Every job that was ever noted, paused, asked for or shown under way, with its newest run under way."""
    rows = await connection.fetch(
        """
        SELECT job, j.ran_at, j.ran_by, j.duration_s, j.done, j.error, coalesce(j.failures, 0) AS failures,
               j.succeeded_at,
               extract(epoch FROM clock_timestamp() - j.succeeded_at)::float8 AS succeeded_s,
               j.paused_at, j.paused_by, j.pause_reason, j.asked_at, j.asked_by,
               r.started_at AS runs_since, r.ran_by AS runs_on, r.running_s,
               r.running_s - r.duration_s AS unheard_s
        FROM scheduler_jobs j FULL JOIN (
            SELECT DISTINCT ON (job) job, started_at, ran_by, duration_s,
                   extract(epoch FROM clock_timestamp() - started_at)::float8 AS running_s
            FROM job_runs WHERE ended_at IS NULL ORDER BY job, started_at DESC
        ) r USING (job)
        ORDER BY job
        """
    )
    return [JobSeen(**row) for row in rows]


async def note_turns(connection: Connection, ran_by: str, noted: Sequence[Noted]) -> None:
    """The newest turn of each job: one that is older than the row's leaves it, as a former leader's is.

    Rows are locked in the order of their names, because every scheduler notes the same ones.
    """
    await connection.execute(
        """
        INSERT INTO scheduler_jobs AS j
            (job, ran_at, ran_by, duration_s, done, error, failures, succeeded_at)
        SELECT n.job, clock_timestamp() - make_interval(secs => n.age_s), $1, n.duration_s, n.done, n.error,
               n.failures, clock_timestamp() - make_interval(secs => n.succeeded_s)
        FROM unnest($2::text[], $3::float8[], $4::float8[], $5::bigint[], $6::text[], $7::int[], $8::float8[])
            AS n(job, age_s, duration_s, done, error, failures, succeeded_s)
        ORDER BY n.job
        ON CONFLICT (job) DO UPDATE SET ran_at = excluded.ran_at, ran_by = excluded.ran_by,
            duration_s = excluded.duration_s, done = excluded.done, error = excluded.error,
            failures = excluded.failures, succeeded_at = greatest(j.succeeded_at, excluded.succeeded_at)
        WHERE j.ran_at IS NULL OR excluded.ran_at >= j.ran_at
        """,
        ran_by,
        [one.job for one in noted],
        [one.age_s for one in noted],
        [one.duration_s for one in noted],
        [one.done for one in noted],
        [one.error for one in noted],
        [one.failures for one in noted],
        [one.succeeded_s for one in noted],
    )


async def answer_order(connection: Connection, job: str, asked_at: datetime) -> None:
    """A turn has answered this wish; a later one stands."""
    await connection.execute(
        "UPDATE scheduler_jobs SET asked_at = NULL, asked_by = NULL WHERE job = $1 AND asked_at = $2",
        job,
        asked_at,
    )


async def pause_job(connection: Connection, job: str, actor: str, reason: str) -> bool:
    """False: it was paused already, and stays so by whoever did it."""
    status = await connection.execute(
        """
        INSERT INTO scheduler_jobs AS j (job, paused_at, paused_by, pause_reason)
        VALUES ($1, clock_timestamp(), $2, $3)
        ON CONFLICT (job) DO UPDATE
        SET paused_at = excluded.paused_at, paused_by = $2, pause_reason = $3 WHERE j.paused_at IS NULL
        """,
        job,
        actor,
        reason,
    )
    return rows_changed(status) == 1


async def resume_job(connection: Connection, job: str) -> bool:
    """False: it was not paused."""
    status = await connection.execute(
        """
        UPDATE scheduler_jobs SET paused_at = NULL, paused_by = NULL, pause_reason = NULL
        WHERE job = $1 AND paused_at IS NOT NULL
        """,
        job,
    )
    return rows_changed(status) == 1


async def is_paused(connection: Connection, job: str) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT 1 FROM scheduler_jobs WHERE job = $1 AND paused_at IS NOT NULL)", job
        )
    )


async def ask_for_turn(connection: Connection, job: str, actor: str) -> datetime:
    """Whoever leads gives the job a turn; answers the instant of the wish. An older one is part of it."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        """
        INSERT INTO scheduler_jobs (job, asked_at, asked_by) VALUES ($1, clock_timestamp(), $2)
        ON CONFLICT (job) DO UPDATE SET asked_at = excluded.asked_at, asked_by = $2
        RETURNING asked_at
        """,
        job,
        actor,
    )
