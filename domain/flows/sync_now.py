"""Sync now: what a call of ours has changed at Stripe is read back before its caller is answered."""

import asyncio
import time
import uuid
from collections.abc import Sequence

from domain.context import Context
from domain.flows.sync import Synced, Syncer
from domain.model import TargetRef
from domain.rules.events import internal_event
from domain.store import inbox
from domain.store.inbox import Marked

#: Between two looks while another process works on the same customer.
LOOK_S = 0.1

#: The loop keeps tasks by weak references only.
_unfinished: set[asyncio.Task[Synced]] = set()


async def sync_now(
    context: Context,
    syncer: Syncer,
    customer_id: str,
    objects: Sequence[tuple[str, str]],
    *,
    cause: str,
    within_s: float,
) -> tuple[int, ...]:
    """Wish that these objects `(kind, id)` of a customer are read, and read them.

    Answers the targets that still owe it after `within_s`, for whoever may ring them; empty: all was read.
    Otherwise a worker reads them: the wish is durable.

    Raises:
        Unavailable: Postgres is away.
    """
    marked = await wish_sync(context, customer_id, objects, cause=cause)
    is_read = await read_back(context, syncer, marked, within_s=within_s)
    return () if is_read else marked.target_ids


async def wish_sync(
    context: Context, customer_id: str, objects: Sequence[tuple[str, str]], *, cause: str
) -> Marked:
    """Only wish that these objects `(kind, id)` of a customer are read.

    Raises:
        Unavailable: Postgres is away.
    """
    target = TargetRef("customer", customer_id)
    events = [
        internal_event(f"th_{uuid.uuid4().hex}", "sync", kind, stripe_id, target, cause=cause)
        for kind, stripe_id in objects
    ]
    events.sort(key=lambda event: event.event_id)
    async with context.database.connection() as connection:
        return await inbox.mark(connection, events)


async def read_back(context: Context, syncer: Syncer, marked: Marked, *, within_s: float) -> bool:
    """Work off what was marked and committed; whether nothing of it is owed within `within_s`."""
    until = time.monotonic() + within_s
    while True:
        for target_id in marked.target_ids:
            await sync_within(syncer, target_id, until - time.monotonic())
        async with context.database.connection() as connection:
            if not await inbox.find_owed_targets(connection, sorted(marked.event_ids)):
                return True
        if time.monotonic() > until:
            return False
        await asyncio.sleep(LOOK_S)


async def sync_within(syncer: Syncer, target_id: int, left_s: float) -> Synced | None:
    """None: the time is over; a run that has begun goes on, because it holds the target's lease.

    Raises:
        Unavailable: Postgres is away.
    """
    if left_s <= 0:
        return None
    task = asyncio.create_task(syncer.sync_target(target_id))
    _unfinished.add(task)
    task.add_done_callback(_forget)
    done, _ = await asyncio.wait([task], timeout=left_s)
    return task.result() if done else None


def _forget(task: asyncio.Task[Synced]) -> None:
    _unfinished.discard(task)
    if not task.cancelled():
        # Nobody may be left to hear of it, and the sweeper has the target rung again.
        task.exception()
