"""Wait for the schema: a process without probes begins its work when the database can serve this build."""

import asyncio

from domain.context import Context
from domain.errors import Unavailable
from domain.store import revision
from domain.telemetry import get_logger

log = get_logger()

#: Between two looks. A migration takes seconds; asking more often would not end it sooner.
PAUSE_S = 1.0


async def wait_for_schema(context: Context, *, pause_s: float = PAUSE_S) -> None:
    """Return once the schema is at or ahead of what this build needs; says each time why it still waits."""
    while (fault := await _find_fault(context)) is not None:
        log.warning("waiting_for_schema", error=fault)
        await asyncio.sleep(pause_s)


async def _find_fault(context: Context) -> str | None:
    try:
        async with context.database.connection() as connection:
            current = await revision.find_revision(connection)
    except Unavailable as error:
        return error.detail
    if revision.is_enough(current):
        return None
    needed = revision.shipped_revisions()[-1]
    return f"the schema is at {current or 'nothing'}, this build needs {needed}: run `tollhouse migrate`"
