"""The clock: `python -m workers.scheduler`. Any number of copies may run; each job is safe to run twice.

What runs when is the table `JOBS`. A job that fails is logged and tried at its next turn.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from msgspec import Struct

from domain.context import Context, open_context
from domain.errors import TollhouseError, Unavailable
from domain.flows.changes import number_changes
from domain.flows.expire_payloads import Retention
from domain.flows.fill_gaps import fill_gaps_due
from domain.flows.fix_deployment import WrongDeployment
from domain.flows.idempotency import BATCH as KEYS_BATCH
from domain.flows.idempotency import prune_keys
from domain.flows.measure_backlog import measure_backlog
from domain.flows.recompute_due import BATCH, Backlog
from domain.flows.reconcile import run_once as reconcile_once
from domain.flows.sweep import fire_timers, forget_rings, sweep_targets
from domain.flows.sync import Syncer, sync_all
from domain.flows.wait_for_schema import wait_for_schema
from domain.metrics.listener import listening
from domain.settings import Settings, load_settings
from domain.telemetry import configure_logging, get_logger
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

    async def fill_gaps(self) -> int:
        """Take events that were never delivered from Stripe's list. Answers how many targets are owed."""
        owed = await self._until_stopped(fill_gaps_due(self._context))
        await self._ring_or_sync(owed)
        return len(owed)

    async def reconcile(self) -> int:
        """Move a pass on, or begin the nightly one. Answers how many targets are owed."""
        owed = await self._until_stopped(reconcile_once(self._context))
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


class Job(Struct, frozen=True):
    """One line of the table: what, and how often in seconds (the sweep's interval times `every`)."""

    name: str
    run_once: Callable[[Scheduler], Awaitable[int]]
    every: float
    #: A turn that did so many has more to do, and is followed by the next at once; None: never.
    full: int | None = None


JOBS = (
    Job("sweep", Scheduler.sweep, 1.0),
    Job("fire_timers", Scheduler.fire_timers, 1.0),
    Job("recompute_due", Scheduler.recompute_due, 1.0, full=BATCH),
    Job("number_changes", Scheduler.number_changes, 1.0),
    Job("expire_payloads", Scheduler.expire_payloads, 5.0),
    Job("fill_gaps", Scheduler.fill_gaps, 15.0),
    Job("reconcile", Scheduler.reconcile, 5.0),
    Job("measure_backlog", Scheduler.measure_backlog, 15.0),
    Job("prune_idempotency_keys", Scheduler.prune_idempotency_keys, 60.0, full=KEYS_BATCH),
)


async def run(settings: Settings) -> None:
    """Run every job of the table until SIGTERM or SIGINT; a job in progress is finished first."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for stop in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop, stopping.set)
    async with open_context("scheduler", settings) as context, listening(settings, "scheduler"):
        syncer = Syncer(context)
        bell = Bell.of(settings)
        try:
            if not await _is_migrated(context, stopping):
                return
            await _confirm_deployment(syncer)
            scheduler = Scheduler(context, bell, syncer)
            log.info("scheduler_ready", pid=os.getpid(), jobs=[job.name for job in JOBS])
            interval_s = settings.sweep_interval_s
            await asyncio.gather(
                _stop_long_work(syncer, scheduler, stopping),
                *(_repeat(scheduler, job, job.every * interval_s, stopping) for job in JOBS),
            )
        finally:
            await bell.stop()


async def _is_migrated(context: Context, stopping: asyncio.Event) -> bool:
    """Wait for the schema; False: told to stop before it was there."""
    waiting = asyncio.create_task(wait_for_schema(context))
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    is_migrated = waiting.done()
    for task in (waiting, stopped):
        task.cancel()
    await asyncio.gather(waiting, stopped, return_exceptions=True)
    return is_migrated


async def _confirm_deployment(syncer: Syncer) -> None:
    try:
        await syncer.ensure_deployment()
    except WrongDeployment:
        raise
    except Unavailable as error:
        # The start order is free: the first sync asks again.
        log.warning("deployment_unconfirmed", error=error.detail)


async def _stop_long_work(syncer: Syncer, scheduler: Scheduler, stopping: asyncio.Event) -> None:
    """While the queue is away a sweep may have 500 targets to sync by itself: it ends with those it is at."""
    await stopping.wait()
    syncer.stop()
    scheduler.stop()


async def _repeat(scheduler: Scheduler, job: Job, every_s: float, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        try:
            done = await job.run_once(scheduler)
            if job.full is not None and done >= job.full:
                continue
        except TollhouseError as error:
            log.warning("job_failed", job=job.name, error=error.detail)
        except Exception as error:
            log.critical("job_broken", job=job.name, exc_info=error)
        try:
            await asyncio.wait_for(stopping.wait(), timeout=every_s)
        except TimeoutError:
            continue


def main() -> None:
    settings = load_settings("scheduler")
    configure_logging(settings, "scheduler")
    try:
        asyncio.run(run(settings))
    except WrongDeployment as error:
        raise SystemExit(error.detail) from error


if __name__ == "__main__":
    main()
