"""Measure for Prometheus: what is owed, how old it is, what gave up, and how the schedulers' jobs do."""

import time

from domain import metrics
from domain.context import Context
from domain.jobs import JobSeen
from domain.store import health, jobs


async def measure_backlog(context: Context) -> None:
    """Set the gauges of the backlog.

    Raises:
        Unavailable: Postgres is away; the gauges keep what they had, and their time says how old that is.
    """
    async with context.database.connection() as connection:
        backlog = await health.read_backlog(connection, unswept_s=0.0)
        gave_up = await health.count_given_up(connection)
        seen = await jobs.list_jobs(connection)
    metrics.owed.set(backlog.owed)
    metrics.oldest.set(backlog.oldest_s or 0.0)
    metrics.dead.set(gave_up.dead)
    metrics.failed.set(gave_up.failed)
    metrics.backlog_read_at.set(time.time())
    for job in seen:
        _set_job(job)


def _set_job(job: JobSeen) -> None:
    """Every scheduler tells of all jobs, whoever ran them: a former leader has nothing old to tell."""
    is_paused = job.paused_at is not None
    metrics.job_paused.labels(job.job).set(is_paused)
    # A pause has a metric of its own, and must not look like a failure.
    succeeded_s = 0.0 if is_paused else job.succeeded_s
    if succeeded_s is not None:
        metrics.job_succeeded_at.labels(job.job).set(time.time() - succeeded_s)
