"""What runs when: every job of the schedulers, and what is known of each.

The promise (an event that was answered 2xx reaches its readers) hangs on `sweep`, `fire_timers` and
`recompute_due`: they run in every scheduler, whoever leads, and nobody can pause them. The rest runs in one
scheduler, the leader. Every job is safe to run twice at once, or half: that a leader that does not know yet
that it leads no more overlaps with the next one harms nothing.
"""

from datetime import datetime
from typing import Literal

from msgspec import Struct

#: Every scheduler, or the one that leads.
Who = Literal["all", "leader"]


class Job(Struct, frozen=True, kw_only=True):
    name: str
    #: What it does, in an operator's words.
    says: str
    #: Seconds between two turns, where TOLLHOUSE_SWEEP_INTERVAL_S is 1; times that setting.
    every_s: float
    who: Who
    #: What its turns count as done.
    counts: str


class JobSeen(Struct, frozen=True, kw_only=True):
    """What the database knows of one job."""

    job: str
    #: End of the newest turn that was noted, by whom, how long it took, what it did; None: there was none.
    ran_at: datetime | None
    ran_by: str | None
    duration_s: float | None
    done: int | None
    #: Of that turn; None: it went well.
    error: str | None
    #: Turns in a row.
    failures: int
    succeeded_at: datetime | None
    #: Seconds since then, by the database's clock.
    succeeded_s: float | None
    #: None: it runs.
    paused_at: datetime | None
    paused_by: str | None
    pause_reason: str | None
    #: An operator wants a turn now; None: nobody does.
    asked_at: datetime | None
    asked_by: str | None
    #: The newest turn that is written as under way, and its scheduler; None: none is.
    runs_since: datetime | None = None
    runs_on: str | None = None
    #: Seconds since it began, and since its scheduler last told of it.
    running_s: float | None = None
    unheard_s: float | None = None


class Leader(Struct, frozen=True, kw_only=True):
    """The scheduler that leads: its host and process, and since when."""

    name: str
    since: datetime
    leads_s: float


JOBS = (
    Job(name="sweep", says="rings for what is owed", every_s=1, who="all", counts="targets"),
    Job(name="fire_timers", says="turns due timers into events", every_s=1, who="all", counts="targets"),
    Job(
        name="recompute_due",
        says="brings up answers that changed by themselves, or whose catalog did",
        every_s=1,
        who="all",
        counts="users",
    ),
    Job(name="measure_backlog", says="tells Prometheus what is owed", every_s=15, who="all", counts=""),
    Job(
        name="number_changes",
        says="gives changes of the feed their positions",
        every_s=1,
        who="leader",
        counts="changes",
    ),
    Job(
        name="fill_gaps",
        says="takes what was never delivered from Stripe's list of events, every ten minutes",
        every_s=15,
        who="leader",
        counts="targets",
    ),
    Job(
        name="reconcile",
        says="begins the nightly pass, and moves passes on",
        every_s=5,
        who="leader",
        counts="targets",
    ),
    Job(
        name="expire_payloads",
        says="deletes bodies of old deliveries",
        every_s=5,
        who="leader",
        counts="bodies",
    ),
    Job(
        name="prune_changes",
        says="deletes old changes from the feed",
        every_s=60,
        who="leader",
        counts="changes",
    ),
    Job(
        name="prune_idempotency_keys",
        says="forgets answers that were kept for a day",
        every_s=60,
        who="leader",
        counts="answers",
    ),
    Job(
        name="prune_job_runs",
        says="deletes old runs of these jobs",
        every_s=600,
        who="leader",
        counts="runs",
    ),
)
BY_NAME = {job.name: job for job in JOBS}
