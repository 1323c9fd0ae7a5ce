"""A turn that takes seconds has a row before it ends, and that row an end, whatever becomes of who ran it."""

import uuid
from datetime import UTC, datetime

from structlog.testing import capture_logs

from domain.context import Context
from domain.flows.lead import Leadership
from domain.flows.note_jobs import AGAIN_S, BROKEN_OFF, LEFT, RUN_SHOWN_S, JobNotes, Turn, prune_job_runs
from domain.flows.show_jobs import JobRun, is_silent, list_job_runs, show_scheduler
from domain.flows.status import read_status
from tests.flows.test_jobs import Clock


class Copy:
    """A scheduler, as far as its lead and its notes are concerned."""

    def __init__(self, context: Context, name: str) -> None:
        self.clock = Clock()
        self.notes = JobNotes(context, name, now=self.clock)
        self.leadership = Leadership(context, name, lost=lambda: None)
        self.backend_pid = 0

    async def lead(self) -> None:
        await self.leadership.look()
        assert self.leadership.backend_pid is not None
        self.backend_pid = self.leadership.backend_pid

    def begin(self, job: str, *, asked_at: datetime | None = None) -> uuid.UUID:
        asked_by = None if asked_at is None else "anna"
        return self.notes.begin(job, began_at=self.clock.at, asked_at=asked_at, asked_by=asked_by)

    async def later(self, seconds: float) -> None:
        self.clock.at += seconds
        await self.notes.write()

    async def end(self, job: str, run_id: uuid.UUID, *, took_s: float, done: int = 0) -> None:
        began_at = self.clock.at - took_s
        self.notes.add(job, Turn(began_at=began_at, ended_at=self.clock.at, done=done, run_id=run_id))
        await self.notes.write()

    async def end_left(self) -> None:
        await self.notes.end_left(self.backend_pid)


async def runs(context: Context, job: str | None = None) -> list[JobRun]:
    return (await list_job_runs(context, job)).data


async def test_a_turn_that_takes_seconds_is_one_row_from_then_on_until_its_end(context: Context) -> None:
    copy = Copy(context, "a:1")
    await copy.lead()
    short, long = copy.begin("fill_gaps"), copy.begin("reconcile")
    everybodys = copy.begin("sweep")
    await copy.later(RUN_SHOWN_S - 0.1)
    await copy.end("fill_gaps", short, took_s=RUN_SHOWN_S - 0.1)
    assert await runs(context) == [], "nothing to do, and quickly"
    await copy.later(0.1)
    (seen,) = await runs(context)
    assert (seen.run_id, seen.job, seen.ran_by, seen.ended_at) == (long, "reconcile", "a:1", None)
    assert seen.running_s is not None
    assert seen.running_s >= RUN_SHOWN_S
    assert (seen.turns, seen.done, seen.duration_s) == (0, 0, RUN_SHOWN_S)
    assert not is_silent(seen.unheard_s)

    shown = next(one for one in (await show_scheduler(context)).data if one.job == "reconcile")
    assert shown.running is not None
    assert (shown.running.on, shown.running.since) == ("a:1", seen.started_at)
    (part,) = [one for one in (await read_status(context, bells=None)).parts if one.name == "jobs"]
    assert "; under way: reconcile for " in part.finding

    await copy.later(20)
    (told,) = await runs(context)
    assert (told.started_at, told.duration_s) == (seen.started_at, RUN_SHOWN_S + 20)
    await copy.end_left()
    assert [one.ended_at for one in await runs(context)] == [None], "its own runs are no others'"
    copy.clock.at += 0.5
    await copy.end("reconcile", long, took_s=RUN_SHOWN_S + 20.5, done=7)
    await copy.end("sweep", everybodys, took_s=RUN_SHOWN_S)
    slow, ended = await runs(context)
    assert (slow.job, slow.turns, slow.done, slow.error) == ("sweep", 1, 0, None)
    assert (ended.run_id, ended.turns, ended.done, ended.error) == (long, 1, 7, None)
    assert (ended.duration_s, ended.running_s, ended.ended_by) == (RUN_SHOWN_S + 20.5, None, None)
    assert ended.ended_at is not None
    assert ended.ended_at > ended.started_at

    # The next turn of the job within the minute is part of it, as with any run.
    copy.clock.at += 1
    await copy.end("reconcile", copy.begin("reconcile"), took_s=0.5, done=1)
    await copy.later(AGAIN_S)
    assert (await runs(context, "reconcile"))[0].turns == 2
    await copy.leadership.resign()


async def test_a_run_that_its_scheduler_left_is_ended_by_the_next_leader_for_good(context: Context) -> None:
    stopped, second = Copy(context, "a:1"), Copy(context, "b:2")
    await stopped.lead()
    long, late = stopped.begin("reconcile"), stopped.begin("fill_gaps")
    await stopped.later(42)
    # Its session is gone, and nothing of it runs: it does not know.
    await stopped.leadership.resign()
    await second.end_left()
    assert [one.ended_at for one in await runs(context)] == [None, None], "who does not lead ends nothing"

    await second.lead()
    own = second.begin("prune_changes")
    await second.later(RUN_SHOWN_S)
    async with context.database.transaction() as held:
        # As a scheduler does that was stopped while it wrote: nobody waits for it.
        await held.execute("SELECT FROM job_runs WHERE run_id = $1 FOR UPDATE", late)
        with capture_logs() as logs:
            await second.end_left()
        assert [(one["event"], one["job"]) for one in logs] == [("job_left", "reconcile")]
    with capture_logs() as logs:
        await second.end_left()
    assert [(one["event"], one["ran_by"]) for one in logs] == [("job_left", "a:1")]
    by_job = {one.job: one for one in await runs(context)}
    left = by_job["reconcile"]
    assert left.ended_at is not None
    assert abs((left.ended_at - left.started_at).total_seconds() - 42) < 0.001, "when it was last heard of"
    assert (left.ran_by, left.ended_by, left.error, left.turns) == ("a:1", "b:2", LEFT, 1)
    assert by_job["prune_changes"].ended_at is None

    # The first one goes on as if nothing had happened: tells of its turns, ends one, begins another.
    await stopped.later(60)
    await stopped.end("reconcile", long, took_s=102, done=5)
    stopped.notes.break_off(late)
    unknown = stopped.begin("expire_payloads")
    await stopped.later(RUN_SHOWN_S)
    await stopped.end_left()
    after = {one.job: one for one in await runs(context)}
    assert after["reconcile"] == left
    assert (after["fill_gaps"].error, after["fill_gaps"].ended_by) == (LEFT, "b:2")
    assert after["prune_changes"].ended_at is None, "a run of the leader's is not ended by who led"
    assert (after["expire_payloads"].run_id, after["expire_payloads"].ended_at) == (unknown, None)
    # What it wrote late is ended as well.
    await second.end_left()
    assert {one.job for one in await runs(context) if one.ended_at is None} == {"prune_changes"}
    await second.end("prune_changes", own, took_s=RUN_SHOWN_S)
    assert [one.error for one in await runs(context, "prune_changes")] == [None]
    await second.leadership.resign()


async def test_what_is_broken_off_is_a_run_and_no_failure_and_old_ones_go_in_time(context: Context) -> None:
    copy = Copy(context, "a:1")
    await copy.lead()
    first, shown = copy.begin("number_changes"), copy.begin("reconcile")
    await copy.later(RUN_SHOWN_S)
    copy.notes.break_off(shown)
    copy.notes.break_off(first)
    copy.notes.break_off(shown)
    copy.notes.break_off(uuid.uuid4())
    for brief in (copy.begin("fill_gaps", asked_at=datetime.now(UTC)), copy.begin("prune_changes")):
        copy.notes.break_off(brief)
    await copy.later(0)
    ended = {one.job: (one.error, one.turns, one.duration_s, one.ended_by) for one in await runs(context)}
    assert ended == {
        "number_changes": (BROKEN_OFF, 1, RUN_SHOWN_S, None),
        "reconcile": (BROKEN_OFF, 1, RUN_SHOWN_S, None),
        "fill_gaps": (BROKEN_OFF, 1, 0.0, None),
    }, "what was asked for, however briefly; prune_changes had only begun"
    assert {one.last for one in (await show_scheduler(context)).data} == {None}
    assert {one.running for one in (await show_scheduler(context)).data} == {None}

    young, old = copy.begin("reconcile"), copy.begin("fill_gaps")
    await copy.later(RUN_SHOWN_S)
    async with context.database.connection() as connection:
        await connection.execute(
            "UPDATE job_runs SET started_at = started_at - make_interval(days => $2) WHERE run_id = $1",
            old,
            15,
        )
        await connection.execute(
            "UPDATE job_runs SET started_at = started_at - make_interval(days => $2) WHERE run_id = $1",
            young,
            13,
        )
    assert is_silent((await runs(context, "fill_gaps"))[-1].unheard_s)
    assert {one.running for one in (await show_scheduler(context)).data} == {None}, "nobody tells of it"
    assert await prune_job_runs(context) == 1
    assert [one.run_id for one in await runs(context) if one.ended_at is None] == [young]
    await copy.leadership.resign()
