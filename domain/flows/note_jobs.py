"""Note what the schedulers' jobs did: the newest turn of each, and the runs that are worth a row.

Most turns find nothing to do, some every second. Such a turn is only counted in memory, and what is newest
of each job is written four times a minute. A turn that did something, failed, was asked for or took seconds
is a run, and is written within a second; turns that end alike within a minute are one run. While Postgres is
away they wait here.

A turn of the leader's that takes seconds is written while it is under way, and told of again four times a
minute. When it dies with its process, or its scheduler cannot tell its end, the next leader ends that row; it
stays as that leader has left it, whatever comes later from whom it was taken.
"""

import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec import Struct, field

from domain.context import Context
from domain.jobs import BY_NAME
from domain.store import job_runs, jobs
from domain.store.job_runs import Kept
from domain.store.jobs import Noted
from domain.telemetry import get_logger

log = get_logger()

#: How often what went well is written; `domain.rules.jobs.LATE_S` allows for several.
AGAIN_S = 15.0
#: Turns that end alike within so long are one run.
RUN_S = 60.0
#: A turn that takes so long is a run whatever it does, and is written before it ends: rare, and long enough
#: for somebody to look for it. Where TOLLHOUSE_SWEEP_INTERVAL_S is 1; times that setting, as turns are.
RUN_SHOWN_S = 5.0
#: Runs that wait for Postgres; more than these are told by the log alone.
MOST_WAITING = 100
#: Of a run's error.
MOST_ERROR = 500
#: Runs are kept so long.
KEPT_DAYS = 14.0
#: Runs deleted in one go.
BATCH = 1_000


#: The errors of runs whose turn did not end: by their own scheduler, and by the leader that found them.
BROKEN_OFF = (
    "broken off: this scheduler lost the lead in the middle (`lead_lost` in its log). Nothing is to be done: "
    "what was stored counts, and the job's next turn, by whoever leads, goes on"
)
LEFT = (
    "broken off: this scheduler ended, or was silent for so long that another leads, in the middle; its log "
    "says more. Nothing is to be done: what was stored counts, and the job's next turn goes on"
)


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
    #: As `JobNotes.begin` answered; None: nobody was told that it began.
    run_id: uuid.UUID | None = None


class _Run(Struct, kw_only=True):
    job: str
    asked_at: datetime | None
    asked_by: str | None
    error: str | None
    began_at: float
    #: None: under way.
    ended_at: float | None = None
    #: It has a row, or soon will, before it has ended.
    is_shown: bool = False
    turns: int = 0
    done: int = 0
    duration_s: float = 0.0
    run_id: uuid.UUID = field(default_factory=uuid.uuid4)


class _Latest(Struct, kw_only=True):
    turn: Turn
    failures: int
    succeeded_at: float | None


class JobNotes:
    """What one scheduler has to tell. `now`: monotonic seconds. `shown_s`: as RUN_SHOWN_S."""

    def __init__(
        self,
        context: Context,
        name: str,
        *,
        now: Callable[[], float] = time.monotonic,
        shown_s: float = RUN_SHOWN_S,
    ) -> None:
        self._context = context
        self._name = name
        self._now = now
        self._shown_s = shown_s
        self._latest: dict[str, _Latest] = {}
        self._open: dict[str, _Run] = {}
        self._under_way: dict[uuid.UUID, _Run] = {}
        self._unwritten: dict[uuid.UUID, _Run] = {}
        self._served: dict[str, datetime] = {}
        self._is_urgent = False
        self._written_at = float("-inf")

    def begin(
        self, job: str, *, began_at: float, asked_at: datetime | None = None, asked_by: str | None = None
    ) -> uuid.UUID:
        """A turn has begun; `add` or `break_off` says that it is over. Nothing is written yet.

        What every scheduler does is not shown under way: nobody could tell which of their rows are left.
        """
        run = _Run(job=job, asked_at=asked_at, asked_by=asked_by, error=None, began_at=began_at)
        if BY_NAME[job].who == "leader":
            self._under_way[run.run_id] = run
        return run.run_id

    def break_off(self, run_id: uuid.UUID) -> None:
        """The turn did not end, because another may lead from now on. That is no failure.

        A run it is where somebody waits for it, or after seconds: a process that was stopped may begin every
        job before it learns that it leads no more.
        """
        run, now = self._under_way.pop(run_id, None), self._now()
        if run is None:
            return
        if run.is_shown or run.asked_at is not None or self._is_long(run.began_at, now):
            run.error = BROKEN_OFF
            self._grow(run, run.began_at, now, done=0)
            self._is_urgent = True

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
        begun = None if turn.run_id is None else self._under_way.pop(turn.run_id, None)
        is_long = self._is_long(turn.began_at, turn.ended_at)
        if turn.done or is_long or turn.error is not None or turn.asked_at is not None:
            run = self._run_of(job, turn, begun)
            self._grow(run, turn.began_at, turn.ended_at, done=turn.done)

    def has_served(self, job: str, asked_at: datetime) -> bool:
        """Whether a turn has answered this wish, although the database may not know it yet."""
        return self._served.get(job) == asked_at

    async def write(self) -> None:
        """Write what somebody waits for; the rest when it is time.

        Raises:
            Unavailable: Postgres is away; what was to be written is, the next time.
        """
        now = self._now()
        self._show(now)
        if self._is_urgent or (now - self._written_at >= AGAIN_S and (self._latest or self._under_way)):
            await self._write_all(now)
            self._written_at = now

    async def write_all(self) -> None:
        """As `write`, now: the process ends."""
        if self._latest or self._unwritten:
            await self._write_all(self._now())

    async def end_left(self, backend_pid: int) -> None:
        """End the runs that earlier leaders have left. `backend_pid`: our session, which must lead.

        Again and again: a scheduler that was stopped may write such a row long after we lead.

        Raises:
            Unavailable: Postgres is away.
        """
        own = {*self._under_way, *self._unwritten}
        async with self._context.database.connection() as connection:
            ended = await job_runs.end_left_runs(connection, self._name, backend_pid, own, LEFT)
        for one in ended:
            log.warning("job_left", job=one.job, ran_by=one.ran_by)

    def _show(self, now: float) -> None:
        """What has been under way for long enough is to have a row."""
        for run in self._under_way.values():
            if not run.is_shown and self._is_long(run.began_at, now):
                run.is_shown = self._is_urgent = True

    def _is_long(self, began_at: float, at: float) -> bool:
        return at - began_at >= self._shown_s

    async def _write_all(self, now: float) -> None:
        noted = [self._noted(job, latest, now) for job, latest in self._latest.items()]
        shown = {run_id: run for run_id, run in self._under_way.items() if run.is_shown}
        runs = {run_id: _kept(run, now) for run_id, run in (self._unwritten | shown).items()}
        self._is_urgent = False
        try:
            async with self._context.database.transaction() as connection:
                await jobs.note_turns(connection, self._name, noted)
                for one in noted:
                    if one.served is not None:
                        await jobs.answer_order(connection, one.job, one.served)
                for run in runs.values():
                    await job_runs.keep_run(connection, self._name, run)
        except BaseException:
            # A stopping process too: what was not written is written by `write_all`, or at the next turn.
            self._is_urgent = True
            raise
        self._forget_written(runs)

    def _forget_written(self, runs: Mapping[uuid.UUID, Kept]) -> None:
        """What grew or ended meanwhile is written again."""
        for run_id, kept in runs.items():
            run = self._unwritten.get(run_id)
            if run is not None and run.turns == kept.turns:
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

    def _run_of(self, job: str, turn: Turn, begun: _Run | None) -> _Run:
        """The run that a turn is part of: the one that is shown already, the last one, or a new one."""
        last = self._open.get(job)
        is_shown = begun is not None and begun.is_shown
        if not is_shown and last is not None and _is_alike(last, turn):
            return last
        run = begun or _Run(
            job=job, asked_at=turn.asked_at, asked_by=turn.asked_by, error=None, began_at=turn.began_at
        )
        run.error = turn.error
        self._open[job] = run
        self._is_urgent = True
        return run

    def _grow(self, run: _Run, began_at: float, ended_at: float, *, done: int) -> None:
        """By a turn that is over."""
        run.ended_at = ended_at
        run.turns += 1
        run.done += done
        run.duration_s += ended_at - began_at
        # A row that is there must get its end, however many wait.
        if run.is_shown or run.run_id in self._unwritten or len(self._unwritten) < MOST_WAITING:
            self._unwritten[run.run_id] = run


async def prune_job_runs(context: Context) -> int:
    """Delete old runs, a bounded number at a time; answers how many."""
    async with context.database.connection() as connection:
        return await job_runs.prune_runs(connection, days=KEPT_DAYS, limit=BATCH)


def _is_alike(run: _Run, turn: Turn) -> bool:
    is_soon = turn.began_at - run.began_at < RUN_S
    return is_soon and (run.error, run.asked_at) == (turn.error, turn.asked_at)


def _kept(run: _Run, now: float) -> Kept:
    return Kept(
        run_id=run.run_id,
        job=run.job,
        asked_by=run.asked_by,
        started_s=now - run.began_at,
        ended_s=None if run.ended_at is None else now - run.ended_at,
        turns=run.turns,
        duration_s=now - run.began_at if run.ended_at is None else run.duration_s,
        done=run.done,
        error=_shortened(run.error),
    )


def _shortened(error: str | None) -> str | None:
    return None if error is None else error[:MOST_ERROR]
