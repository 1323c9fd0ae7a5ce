"""Pause a job of the leader, let it go on, or give it a turn now: by an operator, with an audit row each.

What the promise needs (`domain.jobs`) cannot be paused: whoever pauses it by mistake would take it back from
everybody. A job that is paused is degraded health until somebody lets it go on.
"""

from datetime import datetime
from difflib import get_close_matches

from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, Invalid, Unknown
from domain.flows.idempotency import Keep, keep_nothing
from domain.flows.record_action import Operator, record_action
from domain.jobs import BY_NAME, JOBS, Job
from domain.rules.new_grant import reason_faults
from domain.store import jobs
from domain.store.session import Connection
from domain.telemetry import get_logger

log = get_logger()


class Ordered(Struct, frozen=True, kw_only=True):
    """What a job is told; the scheduler that leads follows within a second or two."""

    job: str
    is_paused: bool
    #: When a turn was asked for; None: it was not.
    asked_at: datetime | None = None


async def pause_job(
    context: Context, name: str, reason: str, operator: Operator, *, keep: Keep = keep_nothing
) -> Ordered:
    """No further turn by the clock, until it is resumed; one under way is finished.

    `keep` keeps the answer in the transaction that pauses it.

    Raises:
        Unknown: there is no such job.
        Conflict: it is paused already, or every scheduler does it.
        Invalid: the reason cannot be one.
        Unavailable: Postgres is away; asking again is safe.
    """
    job, said = _timed(name), _checked(reason)
    async with context.database.transaction() as connection:
        if not await jobs.pause_job(connection, job.name, operator.actor, said):
            raise await _paused(connection, job)
        await _record(connection, operator, "job.pause", job, said)
        ordered = Ordered(job=job.name, is_paused=True)
        await keep(connection, ordered)
    log.warning("job_paused", job=job.name)
    return ordered


async def resume_job(
    context: Context, name: str, operator: Operator, *, reason: str | None = None, keep: Keep = keep_nothing
) -> Ordered:
    """Its turns come again, by the clock.

    Raises:
        Conflict: it is not paused, or every scheduler does it. Else as `pause_job`.
    """
    job, said = _timed(name), None if reason is None else _checked(reason)
    async with context.database.transaction() as connection:
        if not await jobs.resume_job(connection, job.name):
            raise Conflict(f"{job.name} is not paused: it runs.", code="job_not_paused")
        await _record(connection, operator, "job.resume", job, said)
        ordered = Ordered(job=job.name, is_paused=False)
        await keep(connection, ordered)
    log.info("job_resumed", job=job.name)
    return ordered


async def run_job(
    context: Context, name: str, operator: Operator, *, reason: str | None = None, keep: Keep = keep_nothing
) -> Ordered:
    """One turn, now, by whoever leads; a paused job stays paused after it.

    The wish stands in the database until a turn has ended: it outlives the leader that dies over it.

    Raises:
        Conflict: every scheduler does it all the time. Else as `pause_job`.
    """
    job, said = _timed(name), None if reason is None else _checked(reason)
    async with context.database.transaction() as connection:
        asked_at = await jobs.ask_for_turn(connection, job.name, operator.actor)
        await _record(connection, operator, "job.run", job, said)
        ordered = Ordered(
            job=job.name, is_paused=await jobs.is_paused(connection, job.name), asked_at=asked_at
        )
        await keep(connection, ordered)
    log.info("job_asked_for", job=job.name)
    return ordered


def require_job(name: str) -> Job:
    """Raises: Unknown, with the nearest names."""
    if name in BY_NAME:
        return BY_NAME[name]
    near = get_close_matches(name, BY_NAME, n=3) or sorted(BY_NAME)
    raise Unknown(f"Schedulers have no job {name[:100]!r}. There are {', '.join(near)}.", code="unknown_job")


def _timed(name: str) -> Job:
    job = require_job(name)
    if job.who == "leader":
        return job
    timed = ", ".join(one.name for one in JOBS if one.who == "leader")
    raise Conflict(
        f"{job.name} is done by every scheduler every {job.every_s:g} s, because what was promised to Stripe "
        f"and to readers hangs on it: it is neither paused nor asked for. These can be: {timed}.",
        code="job_not_timed",
    )


async def _paused(connection: Connection, job: Job) -> Conflict:
    (seen,) = [one for one in await jobs.list_jobs(connection) if one.job == job.name]
    return Conflict(
        f"{job.name} was paused by {seen.paused_by} ({seen.pause_reason}): "
        f"`tollhouse scheduler resume {job.name}` lets it go on.",
        code="job_paused",
    )


def _checked(reason: str) -> str:
    if faults := reason_faults(reason):
        raise Invalid("This is no reason.", errors=tuple(faults), code="reason_invalid")
    return reason.strip()


async def _record(
    connection: Connection, operator: Operator, action: str, job: Job, reason: str | None
) -> None:
    await record_action(
        connection,
        operator,
        action=action,
        project=None,
        user_key=None,
        subject=("job", job.name),
        reason=reason,
        details={},
    )
