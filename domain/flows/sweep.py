"""Sweep: what is owed and was not rung, and timers whose moment has come. Any number of processes may."""

import uuid
import zlib
from collections.abc import Sequence

from domain.context import Context
from domain.rules.events import internal_event
from domain.store import inbox, targets, timers
from domain.store.timers import Timer

#: Targets per sweep and timers per round: bounded, so that one round never takes long.
MOST = 500


async def sweep_targets(context: Context) -> Sequence[int]:
    """Targets that are owed a sync and nobody is on: the caller rings, or syncs them itself."""
    async with context.database.connection() as connection:
        return await targets.sweep(connection, again_s=context.settings.ring_again_s, limit=MOST)


async def forget_rings(context: Context, target_ids: Sequence[int]) -> None:
    """The caller could not ring for these: the next sweep begins with them, whoever makes it."""
    async with context.database.connection() as connection:
        await targets.forget_rings(connection, target_ids)


async def fire_timers(context: Context) -> Sequence[int]:
    """Due timers become events, each in its own transaction; answers the targets that may be rung."""
    async with context.database.connection() as connection:
        due = await timers.list_due(connection, MOST)
    owed: list[int] = []
    for timer in due:
        owed.extend(await _fire(context, timer))
    return owed


class _Taken(Exception):
    """Another process fired or moved the timer."""


async def _fire(context: Context, timer: Timer) -> tuple[int, ...]:
    event = internal_event(
        f"th_{uuid.uuid4().hex}",
        "timer",
        timer.object_kind,
        timer.object_id,
        timer.target,
        cause=timer.cause,
        payload=zlib.compress(timer.payload),
    )
    try:
        # MARK first, then delete: a target's lock is always taken before any other.
        async with context.database.transaction() as connection:
            marked = await inbox.mark(connection, [event])
            await context.faults.reach("timers.marked", timer.object_id)
            if not await timers.delete_timer(connection, timer):
                raise _Taken
    except _Taken:
        return ()
    return marked.target_ids
