"""Note what the schedulers' jobs did: the newest turn of each, and the runs that are worth a row.

Most turns find nothing to do, some every second. Such a turn is only counted in memory, and what is newest
of each job is written four times a minute. A turn that did something, failed, or was asked for is a run, and
is written within a second; turns that end alike within a minute are one run. While Postgres is away they
wait here. A turn that dies with its process leaves nothing: the next one's does.
"""

import time
import uuid
from collections.abc import Callable
from datetime import datetime

from msgspec import Struct, field

from domain.context import Context
from domain.store import jobs
from domain.store.jobs import Kept, Noted

#: How often what went well is written; `domain.rules.jobs.LATE_S` allows for several.
AGAIN_S = 15.0
#: Turns that end alike within so long are one run.
RUN_S = 60.0
#: Runs that wait for Postgres; more than these are told by the log alone.
MOST_WAITING = 100
#: Of a run's error.
MOST_ERROR = 500
#: Runs are kept so long.
KEPT_DAYS = 14.0
#: Runs deleted in one go.
BATCH = 1_000


class Turn(Struct, frozen=True, kw_only=True):
    """One turn of a job that has ended; instants of the clock that `JobNotes` has."""

    began_at: float
    ended_at: float
    done: int
    #: None: it went well.
    error: str | None = None
    #: The wish that it answered; None: the clock's turn.
    asked_at: datetime | None = None
    asked_by: str | None = None
    #: The next turn follows at once, and is part of what was asked for.
    has_more: bool = False


class _Run(Struct, kw_only=True):
    job: str
    asked_at: datetime | None
    asked_by: str | None
    error: str | None
    began_at: float
    ended_at: float
    turns: int = 0
    done: int = 0
    duration_s: float = 0.0
    run_id: uuid.UUID = field(default_factory=uuid.uuid4)


class _Latest(Struct, kw_only=True):
    turn: Turn
    failures: int
    succeeded_at: float | None


class JobNotes:
    """What one scheduler has to tell. `now`: monotonic seconds."""

    def __init__(self, context: Context, name: str, *, now: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._name = name
        self._now = now
        self._latest: dict[str, _Latest] = {}
        self._open: dict[str, _Run] = {}
        self._unwritten: dict[uuid.UUID, _Run] = {}
        self._served: dict[str, datetime] = {}
        self._is_urgent = False
        self._written_at = float("-inf")

    def add(self, job: str, turn: Turn) -> None:
        """A turn has ended. Nothing is written yet."""
        before = self._latest.get(job)
        failed = before.failures if before is not None else 0
        succeeded_at = before.succeeded_at if before is not None else None
        self._latest[job] = _Latest(
            turn=turn,
            failures=0 if turn.error is None else failed + 1,
            succeeded_at=turn.ended_at if turn.error is None else succeeded_at,
        )
        if before is None or before.turn.error != turn.error:
            self._is_urgent = True
        if turn.asked_at is not None and not turn.has_more:
            self._served[job] = turn.asked_at
            self._is_urgent = True
        if turn.done or turn.error is not None or turn.asked_at is not None:
            self._add_to_run(job, turn)

    def has_served(self, job: str, asked_at: datetime) -> bool:
        """Whether a turn has answered this wish, although the database may not know it yet."""
        return self._served.get(job) == asked_at

    async def write(self) -> None:
        """Write what somebody waits for; the rest when it is time.

        Raises:
            Unavailable: Postgres is away; what was to be written is, the next time.
        """
        now = self._now()
        if self._latest and (self._is_urgent or now - self._written_at >= AGAIN_S):
            await self._write_all(now)
            self._written_at = now

    async def write_all(self) -> None:
        """As `write`, now: the process ends."""
        if self._latest:
            await self._write_all(self._now())

    async def _write_all(self, now: float) -> None:
        noted = [self._noted(job, latest, now) for job, latest in self._latest.items()]
        runs = {run_id: _kept(run, now) for run_id, run in self._unwritten.items()}
        self._is_urgent = False
        try:
            async with self._context.database.transaction() as connection:
                await jobs.note_turns(connection, self._name, noted)
                for one in noted:
                    if one.served is not None:
                        await jobs.answer_order(connection, one.job, one.served)
                for run in runs.values():
                    await jobs.keep_run(connection, self._name, run)
        except BaseException:
            # A stopping process too: what was not written is written by `write_all`, or at the next turn.
            self._is_urgent = True
            raise
        # What grew meanwhile is written again.
        for run_id, run in runs.items():
            if self._unwritten[run_id].turns == run.turns:
                del self._unwritten[run_id]

    def _noted(self, job: str, latest: _Latest, now: float) -> Noted:
        turn, succeeded_at = latest.turn, latest.succeeded_at
        return Noted(
            job=job,
            age_s=now - turn.ended_at,
            duration_s=turn.ended_at - turn.began_at,
            done=turn.done,
            error=_shortened(turn.error),
            failures=latest.failures,
            succeeded_s=None if succeeded_at is None else now - succeeded_at,
            served=self._served.get(job),
        )

    def _add_to_run(self, job: str, turn: Turn) -> None:
        run = self._open.get(job)
        if run is None or not _is_alike(run, turn):
            run = self._open[job] = _Run(
                job=job,
                asked_at=turn.asked_at,
                asked_by=turn.asked_by,
                error=turn.error,
                began_at=turn.began_at,
                ended_at=turn.ended_at,
            )
            self._is_urgent = True
        run.ended_at = turn.ended_at
        run.turns += 1
        run.done += turn.done
        run.duration_s += turn.ended_at - turn.began_at
        if run.run_id in self._unwritten or len(self._unwritten) < MOST_WAITING:
            self._unwritten[run.run_id] = run


async def prune_job_runs(context: Context) -> int:
    """Delete old runs, a bounded number at a time; answers how many."""
    async with context.database.connection() as connection:
        return await jobs.prune_runs(connection, days=KEPT_DAYS, limit=BATCH)


def _is_alike(run: _Run, turn: Turn) -> bool:
    is_soon = turn.began_at - run.began_at < RUN_S
    return is_soon and (run.error, run.asked_at) == (turn.error, turn.asked_at)


def _kept(run: _Run, now: float) -> Kept:
    return Kept(
        run_id=run.run_id,
        job=run.job,
        asked_by=run.asked_by,
        started_s=now - run.began_at,
        ended_s=now - run.ended_at,
        turns=run.turns,
        duration_s=run.duration_s,
        done=run.done,
        error=_shortened(run.error),
    )


def _shortened(error: str | None) -> str | None:
    return None if error is None else error[:MOST_ERROR]
