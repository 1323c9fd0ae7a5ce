"""Health from figures: what is well says so, and what is not says what to do next."""

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from domain.jobs import JOBS, JobSeen, Leader
from domain.rules.health import Figures, Part, judge_figures, overall
from domain.rules.jobs import SchedulerShown, describe_scheduler
from domain.rules.last_pass import LastPass

AT = datetime(2026, 1, 1, tzinfo=UTC)
LEADER = Leader(name="host-1:7", since=AT, leads_s=3_600.0)


def job(name: str, **changes: Any) -> JobSeen:
    """A job that ended well ten seconds ago."""
    well = JobSeen(
        job=name,
        ran_at=AT,
        ran_by="host-1:7",
        duration_s=0.01,
        done=0,
        error=None,
        failures=0,
        succeeded_at=AT,
        succeeded_s=10.0,
        paused_at=None,
        paused_by=None,
        pause_reason=None,
        asked_at=None,
        asked_by=None,
    )
    return replace(well, **changes)


def scheduler(*changed: JobSeen, leader: Leader | None = LEADER) -> SchedulerShown:
    """All jobs are well but these."""
    seen = {one.name: job(one.name) for one in JOBS} | {one.job: one for one in changed}
    return describe_scheduler(seen.values(), leader, interval_s=1.0)


WELL = Figures(
    owed_targets=2,
    leased_targets=1,
    expired_leases=0,
    backing_off=0,
    worst_attempts=0,
    worst_error=None,
    unswept=0,
    pending_events=3,
    oldest_pending_s=0.4,
    untried_s=0.4,
    dead_targets=0,
    failed_events=0,
    lag_minutes=10,
    lag_events=100,
    lag_p50_s=0.05,
    lag_p95_s=0.3,
    lag_p99_s=1.0,
    lag_max_s=4.0,
    stripe_rate=20.0,
    next_slot_s=0.0,
    slow_until=None,
    deployment="Stripe account acct_1, test mode, local",
    sessions={"scheduler": 2, "worker": 8},
    overdue_timers=1,
    overdue_timers_s=0.2,
    overdue_boundaries=1,
    overdue_boundaries_s=0.2,
    users_behind=0,
    behind_s=None,
    is_reconciling=True,
    events_read_until=None,
    events_unread_s=0.0,
    last_pass=None,
    scheduler=scheduler(),
)
FAILED = LastPass(
    run_id="run_1",
    project=None,
    state="failed",
    is_check=False,
    drifts=2,
    unhealed=0,
    error="Stripe refused",
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
    ended_at=datetime(2026, 1, 2, tzinfo=UTC),
    running_s=None,
)
STUCK = replace(FAILED, state="running", error=None, ended_at=None, running_s=6 * 3_600.0)


# Longer than three turns and what a turn may take.
LATE = job("reconcile", succeeded_s=136.0)
FAILING = job("fill_gaps", failures=3, error="away")
PAUSED = job(
    "expire_payloads", paused_at=AT, paused_by="anna", pause_reason="a dispute", failures=9, succeeded_s=9e9
)


def unwell(**changes: Any) -> list[Part]:
    return [part for part in judge_figures(replace(WELL, **changes)) if part.health != "healthy"]


def test_what_is_worked_off_within_seconds_is_healthy() -> None:
    assert unwell() == []
    assert overall(judge_figures(WELL)) == "healthy"
    assert all(part.next is None for part in judge_figures(WELL))


@pytest.mark.parametrize(
    ("part", "changes", "said", "next_"),
    [
        ("deployment", {"deployment": None}, "not judged", "TOLLHOUSE_STRIPE_SECRET_KEY"),
        ("backlog", {"untried_s": 61.0, "sessions": {"scheduler": 1}}, "61 s", "no worker is connected"),
        ("backlog", {"untried_s": 300.0, "oldest_pending_s": 300.0}, "5 min", "sync_postponed"),
        ("retries", {"backing_off": 2, "worst_attempts": 4, "worst_error": "a shape"}, "a shape", "cause"),
        ("gave_up", {"dead_targets": 1}, "1 dead", "tollhouse dead list"),
        ("gave_up", {"failed_events": 3}, "3 failed", "tollhouse dead list"),
        ("lag", {"lag_p95_s": 61.0}, "p95 61 s", "add workers"),
        ("stripe_budget", {"next_slot_s": 2.5}, "postponed", "TOLLHOUSE_STRIPE_RATE"),
        ("stripe_budget", {"slow_until": datetime(2026, 1, 1, tzinfo=UTC)}, "after a 429", "wait"),
        ("scheduler", {"sessions": {"worker": 3}}, "worker 3", "workers.scheduler"),
        ("scheduler", {"overdue_timers_s": 61.0}, "1 timers", "job_failed"),
        ("scheduler", {"overdue_boundaries_s": 7200.0}, "2 h", "job_failed"),
        ("scheduler", {"unswept": 7}, "7 owed targets", "job_failed"),
        ("catalog", {"users_behind": 5, "behind_s": 601.0}, "5 users", "catalog status"),
        ("jobs", {"scheduler": scheduler(leader=None)}, "no scheduler leads", "python -m workers.scheduler"),
        ("jobs", {"scheduler": scheduler(LATE)}, "reconcile has not ended well since 2026-01-01", "runs JOB"),
        ("jobs", {"scheduler": scheduler(FAILING)}, "fill_gaps failed 3 times in a row: away", "error names"),
        ("jobs", {"scheduler": scheduler(PAUSED)}, "paused by anna: a dispute", "resume expire_payloads"),
        ("gap_fill", {"events_unread_s": 3_601.0}, "not read yet: 60 min", "start a scheduler"),
        (
            "reconciliation",
            {"last_pass": FAILED},
            "run_1 of everything: failed, 2026-01-02T00:00:00+00:00, 2 drifts: Stripe",
            "tollhouse reconcile",
        ),
        (
            "reconciliation",
            {"last_pass": replace(FAILED, state="done", error=None, unhealed=1)},
            "2 drifts, 1 of them critical",
            "tollhouse reconcile --run run_1",
        ),
        (
            "reconciliation",
            {"last_pass": replace(STUCK, running_s=7.2 * 3_600)},
            "running, 2026-01-01T00:00:00+00:00, 2 drifts, without an end for 7 h: no other can begin",
            "tollhouse reconcile --abandon",
        ),
    ],
)
def test_what_is_not_well_is_named_with_what_to_do(
    part: str, changes: dict[str, Any], said: str, next_: str
) -> None:
    (found,) = unwell(**changes)
    assert (found.name, found.health) == (part, "degraded")
    assert said in found.finding
    assert found.next is not None
    assert next_ in found.next


def test_a_minute_is_the_border_between_busy_and_late() -> None:
    assert unwell(untried_s=60.0, lag_p95_s=60.0, overdue_timers_s=60.0, next_slot_s=2.0) == []


def test_an_old_event_that_was_tried_is_no_backlog_of_the_workers() -> None:
    assert unwell(oldest_pending_s=3_600.0, untried_s=None) == []


def test_what_is_off_runs_or_was_never_is_no_fault() -> None:
    assert unwell(is_reconciling=False, events_unread_s=86_400.0) == []
    assert unwell(events_unread_s=None) == []
    for state in ("running", "done", "abandoned"):
        assert unwell(last_pass=replace(FAILED, state=state)) == []
    assert unwell(last_pass=STUCK) == []


def test_users_of_a_new_catalog_follow_in_the_background() -> None:
    assert unwell(users_behind=1_000, behind_s=599.0) == []


def test_nothing_processed_and_nothing_known_are_no_fault() -> None:
    changes = {"lag_events": 0, "lag_p50_s": None, "lag_p95_s": None, "lag_max_s": None, "stripe_rate": None}
    assert unwell(**changes, pending_events=0, oldest_pending_s=None, untried_s=None) == []


def test_the_whole_is_as_well_as_its_worst_part() -> None:
    parts = [Part(name=health, health=health, finding="") for health in ("healthy", "degraded", "down")]
    assert [overall(parts[:count]) for count in (0, 1, 2, 3)] == ["healthy", "healthy", "degraded", "down"]


def test_a_job_that_fails_twice_or_is_as_late_as_a_turn_may_be_is_well_and_what_is_not_comes_first() -> None:
    assert unwell(scheduler=scheduler(job("reconcile", succeeded_s=134.0), job("sweep", failures=2))) == []
    shown = scheduler(LATE, FAILING, PAUSED)
    states = {"fill_gaps": "failing", "reconcile": "late", "expire_payloads": "paused"}
    assert {one.job: one.state for one in shown.data[:3]} == states
    assert {one.state for one in shown.data[3:]} == {"ok"}


def test_a_job_that_never_ran_is_late_once_somebody_has_led_for_long_enough() -> None:
    new = replace(LEADER, leads_s=119.0)
    assert {one.state for one in describe_scheduler([], new, interval_s=1.0).data} == {"ok"}
    assert {one.state for one in describe_scheduler([], LEADER, interval_s=1.0).data} == {"late"}
    assert {one.state for one in describe_scheduler([], None, interval_s=1.0).data} == {"late"}
