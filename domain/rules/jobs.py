"""How the jobs of the schedulers do: which stand still for too long, and what is said of each."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from msgspec import Struct

from domain.jobs import JOBS, Job, JobSeen, Leader, Who

State = Literal["ok", "paused", "failing", "late"]

#: A job is late when its last success is older than three of its turns and this: a turn may take a while, and
#: schedulers note what went well four times a minute.
LATE_S = 120.0
#: Whoever has not told of its turn for so long is not at it any more: schedulers do four times a minute.
UNHEARD_S = 60.0
#: Fewer failures in a row are a moment in which something was away.
FAILING = 3


class LastTurn(Struct, frozen=True, kw_only=True):
    ended_at: datetime
    duration_s: float
    done: int
    #: None: it went well.
    error: str | None
    #: Turns in a row that failed, this one last.
    failures: int
    #: Host and process.
    ran_by: str


class Running(Struct, frozen=True, kw_only=True):
    """A turn that has been under way for seconds."""

    since: datetime
    for_s: float
    #: Host and process.
    on: str


class Paused(Struct, frozen=True, kw_only=True):
    at: datetime
    by: str
    reason: str


class ShownJob(Struct, frozen=True, kw_only=True):
    job: str
    #: What it does.
    says: str
    #: Seconds between two turns.
    every_s: float
    #: Every scheduler does it, or the one that leads.
    who: Who
    #: late: its last success is older than it should be; failing: three turns in a row.
    state: State
    #: What its turns count as done, such as users; empty: nothing.
    counts: str
    #: The newest turn that was noted (what went well is noted four times a minute); None: there was none.
    last: LastTurn | None
    #: A turn that has been under way for seconds; None: none is, or its scheduler was silent for a minute.
    running: Running | None
    succeeded_at: datetime | None
    paused: Paused | None
    #: An operator asked for a turn that has not ended yet; None: nobody did.
    asked_at: datetime | None
    asked_by: str | None


class SchedulerShown(Struct, frozen=True, kw_only=True):
    #: None: no scheduler leads, and the timed jobs stand still.
    leader: Leader | None
    #: What is not well first; else in the order of the table.
    data: list[ShownJob]


def describe_scheduler(
    seen: Iterable[JobSeen], leader: Leader | None, *, interval_s: float
) -> SchedulerShown:
    """Who leads, and every job of the table, from what the database knows."""
    by_name = {one.job: one for one in seen}
    shown = [_show(job, by_name.get(job.name), leader, interval_s) for job in JOBS]
    return SchedulerShown(leader=leader, data=sorted(shown, key=lambda one: one.state == "ok"))


def judge_job(job: Job, seen: JobSeen | None, leader: Leader | None, *, interval_s: float) -> State:
    """How a job does. `seen` None: it has never been noted. `interval_s`: TOLLHOUSE_SWEEP_INTERVAL_S."""
    if seen is not None and seen.paused_at is not None:
        return "paused"
    if seen is not None and seen.failures >= FAILING:
        return "failing"
    if seen is not None and seen.succeeded_s is not None:
        return "late" if seen.succeeded_s > LATE_S + 3 * job.every_s * interval_s else "ok"
    # A deployment's first leader needs a moment until everything has had its first turn.
    return "ok" if leader is not None and leader.leads_s <= LATE_S else "late"


def _show(job: Job, seen: JobSeen | None, leader: Leader | None, interval_s: float) -> ShownJob:
    return ShownJob(
        job=job.name,
        says=job.says,
        every_s=job.every_s * interval_s,
        who=job.who,
        state=judge_job(job, seen, leader, interval_s=interval_s),
        counts=job.counts,
        last=None if seen is None else _last(seen),
        running=None if seen is None else _running(seen),
        succeeded_at=None if seen is None else seen.succeeded_at,
        paused=None if seen is None else _paused(seen),
        asked_at=None if seen is None else seen.asked_at,
        asked_by=None if seen is None else seen.asked_by,
    )


def _last(seen: JobSeen) -> LastTurn | None:
    if seen.ran_at is None or seen.ran_by is None:
        return None
    return LastTurn(
        ended_at=seen.ran_at,
        duration_s=seen.duration_s or 0.0,
        done=seen.done or 0,
        error=seen.error,
        failures=seen.failures,
        ran_by=seen.ran_by,
    )


def _running(seen: JobSeen) -> Running | None:
    if seen.runs_since is None or seen.running_s is None or seen.runs_on is None:
        return None
    if is_silent(seen.unheard_s):
        return None
    return Running(since=seen.runs_since, for_s=seen.running_s, on=seen.runs_on)


def is_silent(unheard_s: float | None) -> bool:
    """Whether a run under way was left by its scheduler, for all one can tell. None: it has ended."""
    return unheard_s is not None and unheard_s > UNHEARD_S


def _paused(seen: JobSeen) -> Paused | None:
    if seen.paused_at is None or seen.paused_by is None or seen.pause_reason is None:
        return None
    return Paused(at=seen.paused_at, by=seen.paused_by, reason=seen.pause_reason)
