"""How healthy a deployment is, from figures alone; whatever is not well says what to do next."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from msgspec import Struct

from domain.rules.jobs import SchedulerShown, ShownJob
from domain.rules.last_pass import LastPass, describe_pass

Health = Literal["healthy", "degraded", "down"]

#: What is worked off within seconds when everything runs; a minute means that nobody does, or too few.
LATE_S = 60.0
#: A catalog's users follow in the background, thousands a minute: longer than this, something is stuck.
FOLLOWS_WITHIN_S = 600.0
#: A scheduler reads Stripe's list of events every ten minutes; after an hour nobody does.
READ_WITHIN_S = 3_600.0
#: A sync waits this long for a slot of the read budget before it gives its lease back.
SLOT_WITHIN_S = 2.0


class Part(Struct, frozen=True, kw_only=True):
    name: str
    health: Health
    #: What was seen.
    finding: str
    #: What to do; None: nothing.
    next: str | None = None


class Figures(Struct, frozen=True, kw_only=True):
    """What was counted and measured. Ages and waits are seconds; None: there is nothing to measure."""

    owed_targets: int
    leased_targets: int
    expired_leases: int
    backing_off: int
    worst_attempts: int
    worst_error: str | None
    unswept: int
    pending_events: int
    oldest_pending_s: float | None
    untried_s: float | None
    dead_targets: int
    failed_events: int
    lag_minutes: int
    lag_events: int
    lag_p50_s: float | None
    lag_p95_s: float | None
    lag_p99_s: float | None
    lag_max_s: float | None
    #: Stripe reads per second; 0: unlimited; None: the mode is not known yet.
    stripe_rate: float | None
    next_slot_s: float
    slow_until: datetime | None
    #: account and mode; None: no process with a Stripe key has reached Stripe yet.
    deployment: str | None
    #: Connections to Postgres by kind of process.
    sessions: dict[str, int]
    overdue_timers: int
    overdue_timers_s: float
    overdue_boundaries: int
    overdue_boundaries_s: float
    users_behind: int
    #: Since when the catalog they are behind is in force.
    behind_s: float | None
    #: By this process's settings.
    is_reconciling: bool
    #: Up to when Stripe's own list of events was compared with the inbox; None: it was never read.
    events_read_until: datetime | None
    #: Seconds since then, or since Stripe was first reached; None: it never was.
    events_unread_s: float | None
    #: The newest of everything, else of a project or user; None: there is none.
    last_pass: LastPass | None
    #: Who leads, and the jobs, those that are not well first.
    scheduler: SchedulerShown


def overall(parts: Iterable[Part]) -> Health:
    """The worst of them."""
    found = {part.health for part in parts}
    return "down" if "down" in found else "degraded" if "degraded" in found else "healthy"


def judge_figures(seen: Figures) -> list[Part]:
    """Everything that Postgres tells, in the order in which an operator asks."""
    return [
        _deployment(seen),
        _backlog(seen),
        _retries(seen),
        _gave_up(seen),
        _lag(seen),
        _budget(seen),
        _scheduler(seen),
        _jobs(seen),
        _catalog(seen),
        _events_list(seen),
        _last_pass(seen),
    ]


def _deployment(seen: Figures) -> Part:
    if seen.deployment is None:
        return Part(
            name="deployment",
            health="degraded",
            finding="no process with a Stripe key has reached Stripe yet: events are stored and not judged",
            next="start a worker with TOLLHOUSE_STRIPE_SECRET_KEY; its log says what keeps it from Stripe",
        )
    return Part(name="deployment", health="healthy", finding=seen.deployment)


def _backlog(seen: Figures) -> Part:
    finding = (
        f"{seen.owed_targets} targets owed ({seen.leased_targets} being worked on), "
        f"{seen.pending_events} events pending"
    )
    if seen.oldest_pending_s is not None:
        finding += f", the oldest for {_span(seen.oldest_pending_s)}"
    if seen.untried_s is None or seen.untried_s <= LATE_S:
        return Part(name="backlog", health="healthy", finding=finding)
    finding += f"; nobody has tried one for {_span(seen.untried_s)}"
    return Part(name="backlog", health="degraded", finding=finding, next=_who_works(seen))


def _who_works(seen: Figures) -> str:
    if not seen.sessions.get("worker"):
        return "no worker is connected: start one (`dramatiq workers.actors`, see the Procfile)"
    return (
        "workers are connected and behind: add some; if their log says `sync_postponed`, the read budget is "
        "short (TOLLHOUSE_STRIPE_RATE), if `sync_fenced`, they stall"
    )


def _retries(seen: Figures) -> Part:
    stalled = f", {seen.expired_leases} leases have run out" if seen.expired_leases else ""
    if seen.backing_off == 0:
        return Part(name="retries", health="healthy", finding=f"no target waits after an error{stalled}")
    return Part(
        name="retries",
        health="degraded",
        finding=f"{seen.backing_off} targets wait after an error{stalled}; the worst, "
        f"{seen.worst_attempts} times in a row: {seen.worst_error}",
        next="remove the cause that the error names; they are tried again by themselves",
    )


def _gave_up(seen: Figures) -> Part:
    finding = f"{seen.dead_targets} dead targets, {seen.failed_events} failed events"
    if not seen.dead_targets and not seen.failed_events:
        return Part(name="gave_up", health="healthy", finding=finding)
    return Part(
        name="gave_up",
        health="degraded",
        finding=finding,
        next="`tollhouse dead list` names them with their errors; then `dead retry` or `dead discard`",
    )


def _lag(seen: Figures) -> Part:
    since = f"of the last {seen.lag_minutes} min"
    if seen.lag_p50_s is None or seen.lag_p95_s is None or seen.lag_p99_s is None or seen.lag_max_s is None:
        return Part(name="lag", health="healthy", finding=f"nothing {since} was processed")
    finding = (
        f"received to processed, {seen.lag_events} events {since}: p50 {_span(seen.lag_p50_s)}, "
        f"p95 {_span(seen.lag_p95_s)}, p99 {_span(seen.lag_p99_s)}, max {_span(seen.lag_max_s)}"
    )
    if seen.lag_p95_s <= LATE_S:
        return Part(name="lag", health="healthy", finding=finding)
    return Part(
        name="lag",
        health="degraded",
        finding=finding,
        next="add workers, or find in their log what holds them up; it sinks by itself after an outage",
    )


def _budget(seen: Figures) -> Part:
    rate = "not known yet" if seen.stripe_rate is None else f"{seen.stripe_rate:g} reads/s"
    rate = "no limit set" if seen.stripe_rate == 0 else rate
    free = "now" if seen.next_slot_s == 0 else f"in {_span(seen.next_slot_s)}"
    finding = f"{rate}, next free slot {free}"
    if seen.slow_until is not None:
        return Part(
            name="stripe_budget",
            health="degraded",
            finding=f"{finding}; halved until {seen.slow_until.isoformat(timespec='seconds')} after a 429",
            next="wait; if it returns, lower TOLLHOUSE_STRIPE_RATE or see who else uses the Stripe account",
        )
    if seen.next_slot_s > SLOT_WITHIN_S:
        return Part(
            name="stripe_budget",
            health="degraded",
            finding=f"{finding}: syncs are postponed",
            next="wait for the burst to end, or raise TOLLHOUSE_STRIPE_RATE within what Stripe allows",
        )
    return Part(name="stripe_budget", health="healthy", finding=finding)


def _scheduler(seen: Figures) -> Part:
    sessions = ", ".join(f"{process} {count}" for process, count in seen.sessions.items())
    finding = f"connections: {sessions or 'none'}"
    late = [text for text in (_late_timers(seen), _late_boundaries(seen), _unswept(seen)) if text]
    if late:
        finding += "; overdue: " + ", ".join(late)
    if not seen.sessions.get("scheduler"):
        start = "no scheduler is connected: start one (`python -m workers.scheduler`)"
        return Part(name="scheduler", health="degraded", finding=finding, next=start)
    if late:
        look = "a scheduler is connected and late: look for `job_failed` and `job_broken` in its log"
        return Part(name="scheduler", health="degraded", finding=finding, next=look)
    return Part(name="scheduler", health="healthy", finding=finding)


def _jobs(seen: Figures) -> Part:
    leader, unwell = seen.scheduler.leader, [one for one in seen.scheduler.data if one.state != "ok"]
    if leader is None:
        return Part(
            name="jobs",
            health="degraded",
            finding="no scheduler leads: what the leader does alone stands still",
            next="start a scheduler (`python -m workers.scheduler`); of one that runs, look for `lead_taken` "
            "in its log: its database must be reached without a pooler that lends sessions by transaction",
        )
    since = leader.since.isoformat(timespec="seconds")
    finding = f"{leader.name} leads since {since}, {len(seen.scheduler.data) - len(unwell)} jobs are well"
    running = [f"{one.job} for {one.running.for_s:.0f} s" for one in seen.scheduler.data if one.running]
    if running:
        finding += f"; under way: {', '.join(running)}"
    if not unwell:
        return Part(name="jobs", health="healthy", finding=finding)
    said = "; ".join(_say_job(one) for one in unwell)
    paused = [one.job for one in unwell if one.state == "paused"]
    next_ = f"`tollhouse scheduler resume {paused[0]}` once its reason is gone" if paused else None
    return Part(
        name="jobs",
        health="degraded",
        finding=f"{finding}; {said}",
        next=next_ or "remove the cause that the error names; `tollhouse scheduler runs JOB` says since when",
    )


def _say_job(one: ShownJob) -> str:
    if one.paused is not None:
        return f"{one.job} is paused by {one.paused.by}: {one.paused.reason}"
    if one.state == "failing" and one.last is not None:
        return f"{one.job} failed {one.last.failures} times in a row: {one.last.error}"
    since = "ever" if one.succeeded_at is None else f"since {one.succeeded_at.isoformat(timespec='seconds')}"
    return f"{one.job} has not ended well {since}"


def _late_timers(seen: Figures) -> str | None:
    if seen.overdue_timers_s <= LATE_S:
        return None
    return f"{seen.overdue_timers} timers, the oldest for {_span(seen.overdue_timers_s)}"


def _late_boundaries(seen: Figures) -> str | None:
    if seen.overdue_boundaries_s <= LATE_S:
        return None
    span = _span(seen.overdue_boundaries_s)
    return f"{seen.overdue_boundaries} users' boundaries, the oldest for {span} (readers keep them anyway)"


def _unswept(seen: Figures) -> str | None:
    return f"the bells of {seen.unswept} owed targets" if seen.unswept else None


def _catalog(seen: Figures) -> Part:
    if seen.users_behind == 0 or seen.behind_s is None:
        return Part(name="catalog", health="healthy", finding="every user has the version in force")
    finding = f"{seen.users_behind} users are behind the version in force since {_span(seen.behind_s)}"
    if seen.behind_s <= FOLLOWS_WITHIN_S:
        return Part(name="catalog", health="healthy", finding=f"{finding}; they follow in the background")
    return Part(
        name="catalog",
        health="degraded",
        finding=finding,
        next="`tollhouse catalog status` says where; `recompute_failed` in the scheduler's log says why",
    )


def _events_list(seen: Figures) -> Part:
    """The list at Stripe that shows what was never delivered."""
    if not seen.is_reconciling:
        return Part(name="gap_fill", health="healthy", finding="TOLLHOUSE_RECONCILE_ENABLED is off here")
    until = seen.events_read_until
    finding = "Stripe's list of events " + (
        "was not read yet" if until is None else f"is read up to {until.isoformat(timespec='seconds')}"
    )
    if seen.events_unread_s is None or seen.events_unread_s <= READ_WITHIN_S:
        return Part(name="gap_fill", health="healthy", finding=finding)
    return Part(
        name="gap_fill",
        health="degraded",
        finding=f"{finding}: {_span(seen.events_unread_s)} in which a lost delivery goes unseen",
        next="start a scheduler with TOLLHOUSE_STRIPE_SECRET_KEY; look for `job_failed` in its log",
    )


def _last_pass(seen: Figures) -> Part:
    finding, next_ = describe_pass(seen.last_pass)
    health: Health = "healthy" if next_ is None else "degraded"
    return Part(name="reconciliation", health=health, finding=finding, next=next_)


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds * 1000:.0f} ms"  # noqa: PLR2004 - one digit is enough
