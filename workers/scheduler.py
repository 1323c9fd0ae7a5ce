"""The clock: `python -m workers.scheduler`. Any number of copies may run.

What the promise needs, each of them does; the timed jobs are the leader's (`domain.jobs` is the table). A job
that fails is noted, logged and tried at its next turn.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable

from domain.context import Context, open_context
from domain.errors import TollhouseError, Unavailable
from domain.flows.fix_deployment import WrongDeployment
from domain.flows.lead import Leadership, name_process
from domain.flows.note_jobs import RUN_SHOWN_S, JobNotes
from domain.flows.sync import Syncer
from domain.flows.wait_for_schema import wait_for_schema
from domain.jobs import JOBS
from domain.metrics.listener import listening
from domain.settings import Settings, load_settings
from domain.telemetry import configure_logging, get_logger
from workers.bell import Bell
from workers.jobs import Scheduler
from workers.timed import TimedJobs
from workers.turns import Turns

log = get_logger()

#: How often a scheduler looks whether it leads, at the least: Postgres ends a session that says nothing for
#: `domain.flows.lead.SILENT_S`.
LOOK_EVERY_S = 1.0
#: Nobody looks meanwhile: two of these and a pause are less than `domain.flows.lead.SILENT_S`.
NOTED_WITHIN_S = 4.0


async def run(settings: Settings) -> None:
    """Run the jobs until SIGTERM or SIGINT; a job in progress is finished first."""
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
            log.info("scheduler_ready", pid=os.getpid(), jobs=[job.name for job in JOBS])
            await _run_jobs(context, Scheduler(context, bell, syncer), syncer, stopping)
        finally:
            await bell.stop()


async def _run_jobs(context: Context, scheduler: Scheduler, syncer: Syncer, stopping: asyncio.Event) -> None:
    interval_s = context.settings.sweep_interval_s
    notes = JobNotes(context, name_process(), shown_s=RUN_SHOWN_S * interval_s)
    turns = Turns(scheduler, notes)
    timed = TimedJobs(turns, notes, interval_s)
    leadership = Leadership(context, name_process(), lost=timed.cut)
    await asyncio.gather(
        _stop_long_work(syncer, scheduler, stopping),
        lead(leadership, timed, notes, stopping, every_s=min(interval_s, LOOK_EVERY_S)),
        *(turns.repeat(job.name, job.every_s * interval_s, stopping) for job in JOBS if job.who == "all"),
    )
    await _note(notes.write_all())


async def lead(
    leadership: Leadership, timed: TimedJobs, notes: JobNotes, stopping: asyncio.Event, *, every_s: float
) -> None:
    """Have the timed jobs run while this process leads, until told to stop."""
    while not stopping.is_set():
        await _note(notes.write())
        orders = await leadership.look()
        leading = leadership.backend_pid
        if leading is not None and not stopping.is_set():
            timed.go_on(orders)
            await _note(notes.end_left(leading))
        try:
            await asyncio.wait_for(stopping.wait(), timeout=every_s)
        except TimeoutError:
            continue
    await timed.finish()
    await leadership.resign()


async def _note(writing: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(NOTED_WITHIN_S):
            await writing
    except TollhouseError as error:
        log.warning("jobs_not_noted", error=error.detail)
    except TimeoutError:
        log.warning("jobs_not_noted", error=f"Postgres did not answer in {NOTED_WITHIN_S:g} s")


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


def main() -> None:
    settings = load_settings("scheduler")
    configure_logging(settings, "scheduler")
    try:
        asyncio.run(run(settings))
    except WrongDeployment as error:
        raise SystemExit(error.detail) from error


if __name__ == "__main__":
    main()
