"""Status: how the whole deployment is doing, and what to do about what is not well."""

from collections.abc import Awaitable
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from domain.context import Context, database_now
from domain.errors import Unavailable
from domain.flows.show_jobs import look_at_scheduler
from domain.rules.health import Figures, Health, Part, judge_figures, overall
from domain.rules.last_pass import PASS_WITHIN_S, LastPass
from domain.settings import rate_of
from domain.store import catalogs, due, health, imports, revision
from domain.store import deployment as deployments
from domain.store import watermark as watermarks
from domain.store.deployment import DeploymentRow
from domain.store.health import LastPassRow
from domain.store.session import Connection

__all__ = ["Health", "Part", "Status", "read_status"]

#: The sweeper rings again after at most 12 times `ring_again_s`; half as long again is late.
UNSWEPT_RINGS = 18


class Status(Struct, frozen=True, kw_only=True):
    status: Health
    at: datetime
    parts: tuple[Part, ...]
    #: None: Postgres could not be asked, or has another schema.
    figures: Figures | None


async def read_status(context: Context, *, bells: Awaitable[int] | None, minutes: int = 10) -> Status:
    """Everything an operator looks at first. Never raises for what is away: that is its answer.

    `bells`: how many wait in the queue (raises Unavailable where it is away), asked by the caller because
    flows have no queue; None: no queue is set here. `minutes`: how far back the lag looks.
    """
    queue, cache = await _look_at_queue(bells), await _look_at_cache(context)
    try:
        async with context.database.snapshot() as connection:
            schema = await _look_at_schema(connection)
            is_readable = schema.health == "healthy"
            figures = await _read_figures(context, connection, minutes) if is_readable else None
            awaited = [await _look_at_imports(connection)] if is_readable else []
    except Unavailable as error:
        return _status([_away(error), queue, cache], None)
    database = Part(name="database", health="healthy", finding="answers")
    judged = [] if figures is None else judge_figures(figures)
    return _status([database, schema, queue, cache, *judged, *awaited], figures)


def _status(parts: list[Part], figures: Figures | None) -> Status:
    return Status(status=overall(parts), at=datetime.now(UTC), parts=tuple(parts), figures=figures)


def _away(error: Unavailable) -> Part:
    return Part(
        name="database",
        health="down",
        finding=f"{error.detail}: no event is accepted, readers answer from their copies for 15 min",
        next="bring Postgres back, or correct TOLLHOUSE_DATABASE_URL; Stripe delivers again for three days",
    )


async def _look_at_schema(connection: Connection) -> Part:
    current, needed = await revision.find_revision(connection), revision.shipped_revisions()[-1]
    if revision.is_enough(current):
        return Part(name="schema", health="healthy", finding=f"at {current}, this build needs {needed}")
    finding = f"at {current or 'nothing'}, this build needs {needed}"
    return Part(name="schema", health="down", finding=finding, next="run `tollhouse migrate`")


async def _look_at_imports(connection: Connection) -> Part:
    waiting = ", ".join(await imports.list_awaiting(connection))
    if not waiting:
        finding = "no project waits for customers of an older system"
        return Part(name="import", health="healthy", finding=finding)
    return Part(
        name="import",
        health="healthy",
        finding=f"{waiting}: checkouts for users without a customer are refused until the import is complete",
        next="tollhouse backfill complete --project … once everybody is linked (docs/migrate.md)",
    )


async def _look_at_queue(bells: Awaitable[int] | None) -> Part:
    if bells is None:
        finding = "TOLLHOUSE_REDIS_URL is not set here: not looked at"
        return Part(name="queue", health="healthy", finding=finding)
    try:
        waiting = await bells
    except Unavailable as error:
        return Part(
            name="queue",
            health="degraded",
            finding=f"{error.detail}: schedulers sync by themselves, a few at a time; nothing is lost",
            next="bring Redis of TOLLHOUSE_REDIS_URL back; what is owed is then rung by itself",
        )
    return Part(name="queue", health="healthy", finding=f"answers, {waiting} bells wait")


async def _look_at_cache(context: Context) -> Part:
    if context.cache is None:
        finding = "TOLLHOUSE_CACHE_URL is not set here: not looked at"
        return Part(name="cache", health="healthy", finding=finding)
    try:
        await context.cache.ping()
    except Unavailable as error:
        return Part(
            name="cache",
            health="degraded",
            finding=f"{error.detail}: readers ask Postgres, and see changes within 10 s",
            next="bring Redis of TOLLHOUSE_CACHE_URL back; it may come back empty",
        )
    return Part(name="cache", health="healthy", finding="answers")


async def _read_figures(context: Context, connection: Connection, minutes: int) -> Figures:
    backlog = await health.read_backlog(connection, unswept_s=UNSWEPT_RINGS * context.settings.ring_again_s)
    gave_up = await health.count_given_up(connection)
    lag = await health.measure_lag(connection, minutes=minutes)
    budget = await health.read_budget(connection)
    deployment = await deployments.find_deployment(connection)
    timers = await health.count_overdue_timers(connection)
    boundaries = await health.count_overdue_boundaries(connection, await context.now(connection))
    behind, behind_s = await _read_behind(connection)
    watermark = await watermarks.read_watermark(connection)
    read_until = watermark.read_until or watermark.fixed_at
    return Figures(
        owed_targets=backlog.owed,
        leased_targets=backlog.leased,
        expired_leases=backlog.expired,
        backing_off=backlog.backing_off,
        worst_attempts=backlog.worst_attempts,
        worst_error=backlog.worst_error,
        unswept=backlog.unswept,
        pending_events=backlog.pending,
        oldest_pending_s=backlog.oldest_s,
        untried_s=backlog.untried_s,
        dead_targets=gave_up.dead,
        failed_events=gave_up.failed,
        lag_minutes=minutes,
        lag_events=lag.events,
        lag_p50_s=lag.p50_s,
        lag_p95_s=lag.p95_s,
        lag_p99_s=lag.p99_s,
        lag_max_s=lag.max_s,
        stripe_rate=_rate(context, deployment),
        next_slot_s=budget.next_slot_s,
        slow_until=budget.slow_until,
        deployment=_name(deployment),
        sessions=await health.count_sessions(connection),
        overdue_timers=timers.count,
        overdue_timers_s=timers.oldest_s,
        overdue_boundaries=boundaries.count,
        overdue_boundaries_s=boundaries.oldest_s,
        users_behind=behind,
        behind_s=behind_s,
        is_reconciling=context.settings.reconcile_enabled,
        events_read_until=watermark.read_until,
        events_unread_s=None if read_until is None else (watermark.now - read_until).total_seconds(),
        last_pass=_last_pass(await health.find_last_pass(connection, stuck_s=PASS_WITHIN_S)),
        scheduler=await look_at_scheduler(connection, context.settings.sweep_interval_s),
    )


def _last_pass(row: LastPassRow | None) -> LastPass | None:
    return None if row is None else LastPass(**msgspec.structs.asdict(row))


async def _read_behind(connection: Connection) -> tuple[int, float | None]:
    """Users behind their catalog, and the seconds since the oldest head that has some was applied."""
    behind = await due.count_behind(connection)
    if behind == 0:
        return 0, None
    rows = [row for row in await catalogs.list_status(connection) if row.behind]
    if not rows:
        return 0, None
    now = await database_now(connection)
    return behind, max((now - row.applied_at).total_seconds() for row in rows)


def _rate(context: Context, deployment: DeploymentRow | None) -> float | None:
    """By this process's settings: the other processes should have the same."""
    if deployment is None or deployment.mode not in {"live", "test"}:
        return context.settings.stripe_rate if context.settings.stripe_rate >= 0 else None
    return rate_of(context.settings, "live" if deployment.mode == "live" else "test")


def _name(deployment: DeploymentRow | None) -> str | None:
    if deployment is None:
        return None
    return f"Stripe account {deployment.account_id}, {deployment.mode} mode, {deployment.env}"
