"""What schedulers note of their jobs, and what operators may tell them."""

from datetime import UTC, datetime

import pytest

from domain.context import Context, open_context
from domain.errors import Conflict, Invalid, Unavailable, Unknown
from domain.flows.measure_backlog import measure_backlog
from domain.flows.note_jobs import JobNotes, Turn, prune_job_runs
from domain.flows.order_jobs import pause_job, resume_job, run_job
from domain.flows.record_action import Operator
from domain.flows.show_jobs import JobRun, ShownJob, list_job_runs, show_scheduler
from domain.metrics import job_paused, job_succeeded_at
from domain.settings import Secret, Settings
from tests.conftest import with_settings
from tests.proxy import proxied

ANNA = Operator(actor="anna", request_id="req_1")


class Clock:
    at = 1_000.0

    def __call__(self) -> float:
        return self.at


def turn(clock: Clock, *, done: int = 0, error: str | None = None, asked_at: datetime | None = None) -> Turn:
    """One that took 0.5 s and ends now; the next begins a second later."""
    clock.at += 1
    asked_by = None if asked_at is None else "anna"
    return Turn(
        began_at=clock.at - 0.5,
        ended_at=clock.at,
        done=done,
        error=error,
        asked_at=asked_at,
        asked_by=asked_by,
    )


async def shown(context: Context, job: str) -> ShownJob:
    return next(one for one in (await show_scheduler(context)).data if one.job == job)


async def runs(context: Context, job: str) -> list[JobRun]:
    return (await list_job_runs(context, job)).data


async def test_turns_without_anything_to_do_cost_a_write_in_fifteen_seconds_and_no_row(
    context: Context,
) -> None:
    clock = Clock()
    notes = JobNotes(context, "a:1", now=clock)
    notes.add("sweep", turn(clock))
    await notes.write()
    first = (await shown(context, "sweep")).last
    assert first is not None
    assert (first.ran_by, first.done, first.error) == ("a:1", 0, None)
    for _ in range(13):
        notes.add("sweep", turn(clock))
        await notes.write()
    assert (await shown(context, "sweep")).last == first
    for _ in range(2):
        notes.add("sweep", turn(clock))
        await notes.write()
    assert (await shown(context, "sweep")).last != first
    assert await runs(context, "sweep") == []


async def test_turns_that_end_alike_within_a_minute_are_one_run_and_failures_are_counted(
    context: Context,
) -> None:
    clock = Clock()
    notes = JobNotes(context, "a:1", now=clock)
    for _ in range(3):
        notes.add("sweep", turn(clock, done=2))
    for _ in range(4):
        notes.add("sweep", turn(clock, error="Redis is away"))
    await notes.write()
    failing = await shown(context, "sweep")
    assert failing.state == "failing"
    assert failing.last is not None
    assert (failing.last.failures, failing.last.error) == (4, "Redis is away")
    notes.add("sweep", turn(clock))
    await notes.write()
    assert (await shown(context, "sweep")).state == "ok", "at once, not when it is time"
    clock.at += 60
    notes.add("sweep", turn(clock, done=1))
    await notes.write()
    newest, failed, oldest = await runs(context, "sweep")
    assert (newest.turns, newest.done, newest.error) == (1, 1, None)
    assert (failed.turns, failed.done, failed.error) == (4, 0, "Redis is away")
    assert (oldest.turns, oldest.done, oldest.duration_s) == (3, 6, 1.5)
    page = await list_job_runs(context, limit=2)
    rest = await list_job_runs(context, cursor=page.next_cursor, limit=2)
    assert [*page.data, *rest.data] == [newest, failed, oldest]
    assert rest.next_cursor is None
    for cursor in ("x", "1.x", "-1.00", f"{10**30}.{newest.run_id.hex}"):
        with pytest.raises(Invalid):
            await list_job_runs(context, cursor=cursor)
    async with context.database.connection() as connection:
        await connection.execute(
            "UPDATE job_runs SET started_at = started_at - interval '15 days' WHERE done = 6"
        )
    assert await prune_job_runs(context) == 1


async def test_what_happened_while_postgres_was_away_is_written_when_it_is_back(
    settings: Settings, context: Context
) -> None:
    clock = Clock()
    async with proxied(settings.database_url.reveal()) as proxy:
        far = with_settings(settings, database_url=Secret(proxy.url))
        async with open_context("scheduler", far) as there:
            notes = JobNotes(there, "a:1", now=clock)
            await proxy.cut()
            notes.add("fill_gaps", turn(clock, error="Postgres did not answer"))
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await notes.write()
            notes.add("fill_gaps", turn(clock, done=3))
            await proxy.restore()
            await notes.write()
    assert [(run.error, run.done) for run in await runs(context, "fill_gaps")] == [
        (None, 3),
        ("Postgres did not answer", 0),
    ]


async def test_a_pause_says_who_and_why_until_it_is_ended_and_each_word_is_one_row_of_the_log(
    context: Context,
) -> None:
    paused = await pause_job(context, "reconcile", "Stripe asked us to", ANNA)
    assert paused.is_paused
    seen = await shown(context, "reconcile")
    assert seen.paused is not None
    assert (seen.state, seen.paused.by, seen.paused.reason) == ("paused", "anna", "Stripe asked us to")
    await measure_backlog(context)
    assert job_paused.labels("reconcile")._value.get() == 1
    assert job_succeeded_at.labels("reconcile")._value.get() > 0
    with pytest.raises(Conflict, match="paused by anna") as told:
        await pause_job(context, "reconcile", "I did not look", Operator(actor="bob"))
    assert told.value.code == "job_paused"
    asked = await run_job(context, "reconcile", ANNA, reason="once all the same")
    assert asked.is_paused
    assert (await shown(context, "reconcile")).asked_by == "anna"
    assert not (await resume_job(context, "reconcile", ANNA)).is_paused
    with pytest.raises(Conflict) as told:
        await resume_job(context, "reconcile", ANNA)
    assert told.value.code == "job_not_paused"
    async with context.database.connection() as connection:
        rows = await connection.fetch("SELECT action, subject_id, actor, reason FROM audit_log ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("job.pause", "reconcile", "anna", "Stripe asked us to"),
        ("job.run", "reconcile", "anna", "once all the same"),
        ("job.resume", "reconcile", "anna", None),
    ]


async def test_what_the_promise_needs_is_not_paused_and_what_is_no_job_is_named(context: Context) -> None:
    for job in ("sweep", "fire_timers", "recompute_due", "measure_backlog"):
        for refused in (pause_job(context, job, "quiet please", ANNA), run_job(context, job, ANNA)):
            with pytest.raises(Conflict) as told:
                await refused
            assert told.value.code == "job_not_timed"
    with pytest.raises(Unknown, match="reconcile"):
        await pause_job(context, "reconcil", "x", ANNA)
    with pytest.raises(Invalid):
        await pause_job(context, "reconcile", " ", ANNA)
    async with context.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM audit_log") == 0


async def test_a_wish_stands_until_a_turn_that_began_after_it_has_ended(context: Context) -> None:
    clock = Clock()
    notes = JobNotes(context, "a:1", now=clock)
    first = (await run_job(context, "prune_changes", ANNA)).asked_at
    assert first is not None
    second = (await run_job(context, "prune_changes", ANNA)).asked_at
    notes.add("prune_changes", turn(clock, asked_at=first))
    assert notes.has_served("prune_changes", first)
    await notes.write()
    assert (await shown(context, "prune_changes")).asked_at == second
    notes.add("prune_changes", turn(clock, asked_at=second))
    await notes.write()
    assert (await shown(context, "prune_changes")).asked_at is None
    assert [run.asked_by for run in await runs(context, "prune_changes")] == ["anna", "anna"]
    assert not notes.has_served("prune_changes", datetime.now(UTC))


async def test_a_former_leader_has_nothing_old_to_say_of_a_job_that_another_has_now(context: Context) -> None:
    clocks = Clock(), Clock()
    former, leader = (
        JobNotes(context, name, now=clock) for name, clock in zip(("a:1", "b:2"), clocks, strict=True)
    )
    for _ in range(3):
        former.add("reconcile", turn(clocks[0], error="Stripe is away"))
    await former.write()
    clocks[0].at += 60
    leader.add("reconcile", turn(clocks[1]))
    await leader.write()
    # It notes what its own jobs do, and would tell of its last turn of this one for as long as it lives.
    former.add("sweep", turn(clocks[0]))
    await former.write_all()
    seen = await shown(context, "reconcile")
    assert seen.last is not None
    assert (seen.state, seen.last.ran_by, seen.last.error) == ("ok", "b:2", None)
