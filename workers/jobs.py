"""The jobs of a scheduler, each one turn; which there are and when they run is the table of `domain.jobs`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from msgspec import Struct

from domain.context import Context
from domain.errors import Unavailable
from domain.flows.changes import number_changes
from domain.flows.expire_payloads import Retention
from domain.flows.fill_gaps import fill_gaps_due
from domain.flows.idempotency import BATCH as KEYS_BATCH
from domain.flows.idempotency import prune_keys
from domain.flows.measure_backlog import measure_backlog
from domain.flows.note_jobs import BATCH as RUNS_BATCH
from domain.flows.note_jobs import prune_job_runs
from domain.flows.prune_changes import BATCH as CHANGES_BATCH
from domain.flows.prune_changes import prune_changes
from domain.flows.recompute_due import BATCH, Backlog
from domain.flows.reconcile import run_once as reconcile_once
from domain.flows.sweep import fire_timers, forget_rings, sweep_targets
from domain.flows.sync import Syncer, sync_all
from domain.telemetry import get_logger
from workers.bell import Bell

log = get_logger()

#: Syncs at once while the queue is away and the scheduler works by itself.
DIRECT_AT_ONCE = 8


class Scheduler:
    """The jobs of one process, and whether the bell works."""

    def __init__(self, context: Context, bell: Bell, syncer: Syncer) -> None:
        self._context = context
        self._bell = bell
        self._syncer = syncer
        self._backlog = Backlog(context)
        self._retention = Retention(context)
        self._failing_since: float | None = None
        self._is_stopping = False
        self._long: set[asyncio.Task[tuple[int, ...]]] = set()

    def stop(self) -> None:
        """Work that takes a while is broken off: what it has done counts, and the next process goes on."""
        self._is_stopping = True
        for task in self._long:
            task.cancel()

    async def sweep(self) -> int:
        """Ring what is owed; if ringing has failed for long enough, sync it here. Answers how many."""
        owed = await sweep_targets(self._context)
        await self._ring_or_sync(owed)
        return len(owed)

    async def fire_timers(self) -> int:
        """Turn due timers into events and ring for them. Answers how many targets."""
        owed = await fire_timers(self._context)
        await self._ring_or_sync(owed)
        return len(owed)

    async def recompute_due(self) -> int:
        """Bring answers up that changed by themselves, or whose catalog has. Answers how many users."""
        return await self._backlog.work()

    async def number_changes(self) -> int:
        """Give positions in the feed to changes that nobody has read yet. Answers how many."""
        return await number_changes(self._context)

    async def prune_idempotency_keys(self) -> int:
        """Forget answers that were kept for a day. Answers how many."""
        return await prune_keys(self._context)

    async def expire_payloads(self) -> int:
        """Delete bodies of deliveries that were kept long enough. Answers how many."""
        return await self._retention.work()

    async def prune_changes(self) -> int:
        """Delete changes that were in the feed for long enough. Answers how many."""
        return await prune_changes(self._context)

    async def prune_job_runs(self) -> int:
        """Delete old runs of these jobs. Answers how many."""
        return await prune_job_runs(self._context)

    async def fill_gaps(self, asked_by: str | None = None) -> int:
        """Take events that were never delivered from Stripe's list. Answers how many targets are owed.

        `asked_by`: an operator wants it now; None: when it is time.
        """
        owed = await self._until_stopped(fill_gaps_due(self._context, is_asked=asked_by is not None))
        await self._ring_or_sync(owed)
        return len(owed)

    async def reconcile(self, asked_by: str | None = None) -> int:
        """Move a pass on, or begin the nightly one. Answers how many targets are owed.

        `asked_by`: an operator wants one now.
        """
        owed = await self._until_stopped(reconcile_once(self._context, asked_by=asked_by))
        await self._ring_or_sync(owed)
        return len(owed)

    async def measure_backlog(self) -> int:
        """Tell Prometheus what is owed."""
        await measure_backlog(self._context)
        return 0

    async def _until_stopped(self, work: Coroutine[Any, Any, tuple[int, ...]]) -> tuple[int, ...]:
        task = asyncio.create_task(work)
        self._long.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if self._is_stopping:
                return ()
            raise
        finally:
            self._long.discard(task)

    async def _ring_or_sync(self, owed: Sequence[int]) -> None:
        if not owed:
            return
        try:
            await self._bell.ring_now(owed)
            self._failing_since = None
        except Unavailable as error:
            now = time.monotonic()
            self._failing_since = self._failing_since or now
            failing_s = now - self._failing_since
            log.warning("bell_failed", error=error.detail, failing_s=round(failing_s, 1), owed=len(owed))
            if failing_s >= self._context.settings.direct_after_s:
                runs = await sync_all(self._syncer, owed, at_once=DIRECT_AT_ONCE)
                log.info("synced_without_queue", targets=len(owed), runs=runs)
            # What is left was noted as rung and nobody heard it: it must not wait as if somebody had.
            await forget_rings(self._context, owed)


class Work(Struct, frozen=True):
    """What a job is here."""

    run_once: Callable[[Scheduler], Awaitable[int]]
    #: A turn that did so many has more to do, and is followed by the next at once; None: never.
    full: int | None = None
    #: The turn that an operator asks for, by name; None: as any other.
    asked: Callable[[Scheduler, str], Awaitable[int]] | None = None


WORK = {
    "sweep": Work(Scheduler.sweep),
    "fire_timers": Work(Scheduler.fire_timers),
    "recompute_due": Work(Scheduler.recompute_due, full=BATCH),
    "measure_backlog": Work(Scheduler.measure_backlog),
    "number_changes": Work(Scheduler.number_changes),
    "fill_gaps": Work(Scheduler.fill_gaps, asked=Scheduler.fill_gaps),
    "reconcile": Work(Scheduler.reconcile, asked=Scheduler.reconcile),
    "expire_payloads": Work(Scheduler.expire_payloads),
    "prune_changes": Work(Scheduler.prune_changes, full=CHANGES_BATCH),
    "prune_idempotency_keys": Work(Scheduler.prune_idempotency_keys, full=KEYS_BATCH),
    "prune_job_runs": Work(Scheduler.prune_job_runs, full=RUNS_BATCH),
}
