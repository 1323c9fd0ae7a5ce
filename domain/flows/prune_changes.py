"""Prune the change feed: changes older than `changes_retention_days` are deleted, the oldest first.

What was deleted raises its app's floor in the same transaction, and a cursor below the floor is refused from
then on (`cursor_expired`): a follower that comes too late is told so and never passes a gap. A follower of a
quiet app keeps its cursor however old it is, because floors are of each app.
"""

from domain.context import Context
from domain.store import changes
from domain.telemetry import get_logger

log = get_logger()

#: Rows deleted in one transaction: some 10 ms of the lock under which positions are given.
BATCH = 1_000


async def prune_changes(context: Context, *, limit: int = BATCH) -> int:
    """One step. Answers how many were deleted: fewer than `limit`, and there is no more for now.

    Raises:
        Unavailable: Postgres is away.
    """
    days = context.settings.changes_retention_days
    async with context.database.transaction() as connection:
        await changes.lock_feed(connection)
        pruned = await changes.prune_changes(connection, days=days, limit=limit)
        if pruned:
            await context.faults.reach("changes.pruned")
    if pruned:
        log.info("changes_pruned", changes=pruned)
    return pruned
