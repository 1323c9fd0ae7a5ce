"""A turn of a job: run it, and note how it ended."""

import asyncio
import time
from datetime import datetime

from domain.errors import TollhouseError
from domain.flows.note_jobs import JobNotes, Turn
from domain.telemetry import get_logger
from workers.jobs import WORK, Scheduler, Work

log = get_logger()


class Turns:
    """Gives jobs their turns in one scheduler."""

    def __init__(self, scheduler: Scheduler, notes: JobNotes) -> None:
        self._scheduler = scheduler
        self._notes = notes

    async def repeat(self, job: str, every_s: float, stopping: asyncio.Event) -> None:
        """Turn after turn until told to stop, with a pause where there is no more to do."""
        while not stopping.is_set():
            if await self.take(job):
                continue
            try:
                await asyncio.wait_for(stopping.wait(), timeout=every_s)
            except TimeoutError:
                continue

    async def take(self, job: str, *, asked_at: datetime | None = None, asked_by: str | None = None) -> bool:
        """One turn; whether the next follows at once. What goes wrong is noted and logged."""
        work = WORK[job]
        began_at = time.monotonic()
        run_id = self._notes.begin(job, began_at=began_at, asked_at=asked_at, asked_by=asked_by)
        try:
            done, error = await self._run(job, work, asked_by)
        except asyncio.CancelledError:
            self._notes.break_off(run_id)
            raise
        has_more = error is None and work.full is not None and done >= work.full
        turn = Turn(
            began_at=began_at,
            ended_at=time.monotonic(),
            done=done,
            error=error,
            asked_at=asked_at,
            asked_by=asked_by,
            has_more=has_more,
            run_id=run_id,
        )
        self._notes.add(job, turn)
        return has_more

    async def _run(self, job: str, work: Work, asked_by: str | None) -> tuple[int, str | None]:
        try:
            if asked_by is not None and work.asked is not None:
                return await work.asked(self._scheduler, asked_by), None
            return await work.run_once(self._scheduler), None
        except TollhouseError as error:
            log.warning("job_failed", job=job, error=error.detail)
            return 0, error.detail
        except Exception as error:
            log.critical("job_broken", job=job, exc_info=error)
            # The text of what nobody expected may say anything, a user's id too; the log has it.
            return 0, f"{type(error).__name__}: `job_broken` in the log of that scheduler says more"
