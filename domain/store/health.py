"""How a deployment is doing, as counts and ages of what stands in Postgres. Reads only, by its clock."""

from datetime import datetime

from msgspec import Struct

from domain.store.session import Connection


class Backlog(Struct, frozen=True, kw_only=True):
    #: Active targets that are owed a sync.
    owed: int
    #: Of those: a worker holds the lease; a lease ran out, so its holder died or stalls.
    leased: int
    expired: int
    #: Of those: waiting after an error, and what the one with the most errors in a row says.
    backing_off: int
    worst_attempts: int
    worst_error: str | None
    #: Of those: due, unleased, and not rung for longer than the sweeper ever waits.
    unswept: int
    #: Pending events of active targets, and the age of the oldest; None: there is none.
    pending: int
    oldest_s: float | None
    #: The age of the oldest that nobody has tried yet; None: there is none.
    untried_s: float | None


class GaveUp(Struct, frozen=True, kw_only=True):
    dead: int
    failed: int


class Lag(Struct, frozen=True, kw_only=True):
    """From the door to the commit, in seconds; None where nothing was processed."""

    events: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    max_s: float | None


class Budget(Struct, frozen=True, kw_only=True):
    #: Seconds until the next free slot; 0: at once.
    next_slot_s: float
    #: Until when the rate is halved after a 429; None: it is not.
    slow_until: datetime | None


class Overdue(Struct, frozen=True, kw_only=True):
    """What a scheduler would have done by now: how many, and for how long the oldest waits."""

    count: int
    oldest_s: float


async def read_backlog(connection: Connection, *, unswept_s: float) -> Backlog:
    row = await connection.fetchrow(
        """
        WITH owed AS (
            SELECT *, coalesce(lease_until > clock_timestamp(), false) AS is_leased FROM sync_targets
            WHERE dirty_seq > synced_seq AND state = 'active'
        ), worst AS (
            SELECT attempts, last_error FROM owed ORDER BY attempts DESC, id LIMIT 1
        ), waiting AS (
            SELECT e.received_at, e.tries + t.attempts AS tries FROM webhook_events e
            JOIN sync_targets t ON (t.kind, t.stripe_id) = (e.target_kind, e.target_ref)
            WHERE e.state = 'pending' AND t.state = 'active'
        )
        SELECT count(*) AS owed, count(*) FILTER (WHERE is_leased) AS leased,
               count(*) FILTER (WHERE lease_until <= clock_timestamp()) AS expired,
               count(*) FILTER (WHERE attempts > 0 AND NOT is_leased) AS backing_off,
               coalesce((SELECT attempts FROM worst), 0) AS worst_attempts,
               (SELECT last_error FROM worst) AS worst_error,
               count(*) FILTER (
                   WHERE NOT is_leased AND due_at <= clock_timestamp() - make_interval(secs => $1)
                     AND rung_at <= clock_timestamp() - make_interval(secs => $1)) AS unswept,
               (SELECT count(*) FROM waiting) AS pending,
               (SELECT extract(epoch FROM clock_timestamp() - min(received_at)) FROM waiting)::float8
                   AS oldest_s,
               (SELECT extract(epoch FROM clock_timestamp() - min(received_at)) FROM waiting
                WHERE tries = 0)::float8 AS untried_s
        FROM owed
        """,
        unswept_s,
    )
    return Backlog(**row)


async def count_given_up(connection: Connection) -> GaveUp:
    row = await connection.fetchrow(
        """
        SELECT (SELECT count(*) FROM sync_targets WHERE state = 'dead') AS dead,
               (SELECT count(*) FROM webhook_events WHERE state = 'failed') AS failed
        """
    )
    return GaveUp(**row)


async def measure_lag(connection: Connection, *, minutes: int) -> Lag:
    """Of what was received in the last `minutes` and is processed."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS events, percentile_cont(0.5) WITHIN GROUP (ORDER BY lag_s) AS p50_s,
               percentile_cont(0.95) WITHIN GROUP (ORDER BY lag_s) AS p95_s,
               percentile_cont(0.99) WITHIN GROUP (ORDER BY lag_s) AS p99_s, max(lag_s) AS max_s
        FROM (SELECT extract(epoch FROM done_at - received_at)::float8 AS lag_s FROM webhook_events
              WHERE received_at >= clock_timestamp() - make_interval(mins => $1)
                AND state = 'processed') lags
        """,
        minutes,
    )
    return Lag(**row)


async def read_budget(connection: Connection) -> Budget:
    row = await connection.fetchrow(
        """
        SELECT CASE WHEN next_at > clock_timestamp()
                    THEN extract(epoch FROM next_at - clock_timestamp())::float8 ELSE 0 END AS next_slot_s,
               CASE WHEN slow_until > clock_timestamp() THEN slow_until END AS slow_until
        FROM stripe_budget
        """
    )
    return Budget(**row)


async def count_overdue_timers(connection: Connection) -> Overdue:
    """Timers whose moment has passed; one that rests is due at infinity."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS count,
               coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0)::float8 AS oldest_s
        FROM timers WHERE due_at <= clock_timestamp()
        """
    )
    return Overdue(**row)


async def count_overdue_boundaries(connection: Connection, now: datetime) -> Overdue:
    """Users whose answer changed by itself before `now` while history does not know; without test clocks."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS count,
               coalesce(extract(epoch FROM $1 - min(next_boundary_at)), 0)::float8 AS oldest_s
        FROM users WHERE next_boundary_at <= $1 AND clock_at IS NULL
        """,
        now,
    )
    return Overdue(**row)


async def count_sessions(connection: Connection) -> dict[str, int]:
    """Connections to this database by kind of process (`worker`, `scheduler`, …).

    A process that has had nothing to do for ten minutes may have none; a scheduler always has.
    """
    rows = await connection.fetch(
        """
        SELECT substr(application_name, 11) AS process, count(*) AS sessions FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'tollhouse-%' GROUP BY 1 ORDER BY 1
        """
    )
    return {row["process"]: row["sessions"] for row in rows}


class LastPassRow(Struct, frozen=True, kw_only=True):
    """A reconciliation as an operator must know of it."""

    run_id: str
    project: str | None
    state: str
    is_check: bool
    drifts: int
    #: Confirmed, critical, and nothing of ours heals it: a check, or only a person can.
    unhealed: int
    error: str | None
    started_at: datetime
    ended_at: datetime | None
    #: Seconds since it began; None: it has ended.
    running_s: float | None


async def find_last_pass(connection: Connection, *, stuck_s: float) -> LastPassRow | None:
    """One that runs for longer than `stuck_s`; else the newest of everything, else of a project or user."""
    row = await connection.fetchrow(
        """
        SELECT r.run_id, r.project, r.state, r.is_check, r.error, r.started_at, r.ended_at,
               CASE WHEN r.state = 'running' THEN r.age_s END AS running_s,
               count(d.id) AS drifts,
               count(d.id) FILTER (WHERE d.severity = 'critical' AND d.repair IS NULL) AS unhealed
        FROM (SELECT *, extract(epoch FROM clock_timestamp() - started_at)::float8 AS age_s
              FROM reconciliation_runs
              ORDER BY state = 'running' AND started_at < clock_timestamp() - make_interval(secs => $1) DESC,
                       project IS NULL DESC, started_at DESC, run_id DESC LIMIT 1) r
        LEFT JOIN drifts d ON d.run_id = r.run_id AND d.state = 'confirmed'
        GROUP BY r.run_id, r.project, r.state, r.is_check, r.error, r.started_at, r.ended_at,
                 r.age_s
        """,
        stuck_s,
    )
    return None if row is None else LastPassRow(**row)
