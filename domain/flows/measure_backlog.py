"""Measure the backlog for Prometheus: what is owed, how old it is, and what gave up."""

import time

from domain import metrics
from domain.context import Context
from domain.store import health


async def measure_backlog(context: Context) -> None:
    """Set the gauges of the backlog.

    Raises:
        Unavailable: Postgres is away; the gauges keep what they had, and their time says how old that is.
    """
    async with context.database.connection() as connection:
        backlog = await health.read_backlog(connection, unswept_s=0.0)
        gave_up = await health.count_given_up(connection)
    metrics.owed.set(backlog.owed)
    metrics.oldest.set(backlog.oldest_s or 0.0)
    metrics.dead.set(gave_up.dead)
    metrics.failed.set(gave_up.failed)
    metrics.backlog_read_at.set(time.time())
