"""The leader's jobs, by APScheduler: it says when each has its turn, and never gives one two at once."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.base import STATE_RUNNING

from domain.flows.lead import Order
from domain.flows.note_jobs import JobNotes
from domain.jobs import JOBS
from workers.turns import Turns

#: What has waited for longer than its interval runs once, however late, and not once per turn missed.
DEFAULTS = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}


class TimedJobs:
    """Run while this process leads: begun by `go_on`, ended by `cut` (at once) or `finish`."""

    def __init__(self, turns: Turns, notes: JobNotes, interval_s: float) -> None:
        self._turns = turns
        self._notes = notes
        self._interval_s = interval_s
        self._orders: Mapping[str, Order] = {}
        self._clock: AsyncIOScheduler | None = None
        self._running: dict[str, asyncio.Task[object]] = {}

    def go_on(self, orders: Mapping[str, Order]) -> None:
        """Begin, unless that has been done; and follow the operators from now on."""
        self._orders = orders
        if self._clock is None:
            self._clock = self._begin()
            return
        for job, order in orders.items():
            is_due = self._is_asked(order) and job not in self._running
            if is_due and self._clock.get_job(job) is not None:
                self._clock.modify_job(job, next_run_time=datetime.now(UTC))

    def cut(self) -> None:
        """Another may lead from now on: no further turn, and those under way are broken off."""
        clock, self._clock = self._clock, None
        if clock is not None:
            clock.shutdown(wait=False)
            for task in tuple(self._running.values()):
                task.cancel()

    async def finish(self) -> None:
        """No further turn, and wait for those under way."""
        if self._clock is None:
            return
        self._clock.pause()
        while self._running:
            await asyncio.wait(tuple(self._running.values()))
        self.cut()

    def _begin(self) -> AsyncIOScheduler:
        clock = AsyncIOScheduler(timezone=UTC, job_defaults=DEFAULTS)
        clock.start()
        for job in JOBS:
            if job.who == "leader":
                clock.add_job(
                    self._run,
                    "interval",
                    seconds=job.every_s * self._interval_s,
                    args=(clock, job.name),
                    id=job.name,
                    next_run_time=datetime.now(UTC),
                )
        return clock

    async def _run(self, clock: AsyncIOScheduler, job: str) -> None:
        task = asyncio.current_task()
        if task is None or not self._goes_on(clock):
            return
        self._running[job] = task
        try:
            await self._take_turns(clock, job)
        except asyncio.CancelledError:
            # By `cut`: the end of this task is not the end of the process.
            if self._clock is clock:
                raise
        finally:
            if self._running.get(job) is task:
                del self._running[job]

    def _goes_on(self, clock: AsyncIOScheduler) -> bool:
        return bool(clock.state == STATE_RUNNING) and self._clock is clock

    async def _take_turns(self, clock: AsyncIOScheduler, job: str) -> None:
        """One, and those that follow it at once; what an operator asks for is done although it is paused."""
        order = self._orders.get(job)
        if order is not None and self._is_asked(order):
            asked_at, asked_by = order.asked_at, order.asked_by
        elif order is not None and order.is_paused:
            return
        else:
            asked_at, asked_by = None, None
        while await self._turns.take(job, asked_at=asked_at, asked_by=asked_by) and self._goes_on(clock):
            continue

    def _is_asked(self, order: Order) -> bool:
        return order.asked_at is not None and not self._notes.has_served(order.job, order.asked_at)
