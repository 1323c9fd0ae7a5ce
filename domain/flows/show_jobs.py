"""Show the schedulers: who leads, how each job does, and what was run."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from msgspec import Struct

from domain.context import Context
from domain.errors import FieldError, Invalid
from domain.flows.order_jobs import require_job
from domain.rules.jobs import SchedulerShown, ShownJob, describe_scheduler, is_silent
from domain.store import job_runs, jobs
from domain.store.job_runs import JobRun
from domain.store.session import Connection

__all__ = [
    "JobRun",
    "JobRunPage",
    "SchedulerShown",
    "ShownJob",
    "is_silent",
    "list_job_runs",
    "show_scheduler",
]

#: Rows of one page.
MOST = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class JobRunPage(Struct, frozen=True, kw_only=True):
    #: Newest first. Quick turns without anything to do have no row; those that ended alike in a minute share
    #: one.
    data: list[JobRun]
    next_cursor: str | None


async def show_scheduler(context: Context) -> SchedulerShown:
    """Who leads, and every job.

    Raises:
        Unavailable: Postgres is away.
    """
    async with context.database.snapshot() as connection:
        return await look_at_scheduler(connection, context.settings.sweep_interval_s)


async def look_at_scheduler(connection: Connection, interval_s: float) -> SchedulerShown:
    """As `show_scheduler`. `interval_s`: TOLLHOUSE_SWEEP_INTERVAL_S, by this process's settings."""
    leader = await jobs.find_leader(connection)
    return describe_scheduler(await jobs.list_jobs(connection), leader, interval_s=interval_s)


async def list_job_runs(
    context: Context, job: str | None = None, *, cursor: str | None = None, limit: int = MOST
) -> JobRunPage:
    """Runs of one job, or of all, newest first, those under way too. Kept for 14 days.

    Raises:
        Unknown: there is no such job.
        Invalid: the cursor is none.
        Unavailable: Postgres is away.
    """
    name = None if job is None else require_job(job).name
    before = None if cursor is None else _parse_cursor(cursor)
    async with context.database.connection() as connection:
        found = await job_runs.list_runs(connection, name, before, limit + 1)
    page = found[:limit]
    return JobRunPage(data=page, next_cursor=_cursor(page[-1]) if len(found) > limit else None)


def _cursor(last: JobRun) -> str:
    """Microseconds and id: nothing that a URL would have to escape."""
    return f"{(last.started_at - _EPOCH) // timedelta(microseconds=1)}.{last.run_id.hex}"


def _parse_cursor(cursor: str) -> tuple[datetime, UUID]:
    micros, _, run_id = cursor.partition(".")
    try:
        if not (micros.isascii() and micros.isdigit()):
            raise ValueError
        return _EPOCH + timedelta(microseconds=int(micros)), UUID(hex=run_id)
    except (ValueError, OverflowError) as error:
        what = "take the next_cursor of the page before, or leave it out"
        raise Invalid("This is no cursor of this list.", errors=(FieldError("cursor", what),)) from error
