"""The leader's jobs have their turns while it leads, and do what operators say."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from domain.flows.lead import Leadership
from domain.flows.note_jobs import BROKEN_OFF, LEFT, JobNotes
from domain.flows.order_jobs import pause_job, resume_job, run_job
from domain.flows.record_action import Operator
from domain.flows.show_jobs import ShownJob, show_scheduler
from domain.jobs import JOBS
from domain.settings import Settings
from tests.flows.event_path import EventPath, running_path
from tests.workers.test_bell import make_stub
from workers.bell import Bell
from workers.jobs import Scheduler
from workers.scheduler import lead
from workers.timed import TimedJobs
from workers.turns import Turns

ANNA = Operator(actor="anna")


@pytest.fixture
async def path(settings: Settings) -> AsyncIterator[EventPath]:
    async with running_path(settings, reconcile_settle_s=0.05) as running:
        yield running


async def shown(path: EventPath, job: str) -> ShownJob:
    return next(one for one in (await show_scheduler(path.context)).data if one.job == job)


async def until_ran(path: EventPath, *jobs: str) -> None:
    async with asyncio.timeout(20):
        waiting = set(jobs)
        while waiting:
            await asyncio.sleep(0.01)
            seen = {one.job: one for one in (await show_scheduler(path.context)).data}
            waiting = {job for job in waiting if seen[job].last is None or seen[job].asked_at is not None}


async def test_the_leader_gives_every_job_its_turn_but_a_paused_one_which_an_operator_may_ask_for(
    path: EventPath,
) -> None:
    await pause_job(path.context, "prune_changes", "for an hour", ANNA)
    await path.execute(
        """
        INSERT INTO job_runs (run_id, job, ran_by, started_at, turns, duration_s, done)
        VALUES (gen_random_uuid(), 'expire_payloads', 'z:9', clock_timestamp(), 0, 0, 0)
        """
    )
    notes, stopping = JobNotes(path.context, "a:1"), asyncio.Event()
    turns = Turns(Scheduler(path.context, Bell(make_stub()), path.syncer), notes)
    timed = TimedJobs(turns, notes, 1.0)
    leadership = Leadership(path.context, "a:1", lost=timed.cut)
    leading = asyncio.create_task(lead(leadership, timed, notes, stopping, every_s=0.01))
    await until_ran(path, *(job.name for job in JOBS if job.who == "leader" and job.name != "prune_changes"))
    (left,) = await path.rows("SELECT error, ended_by FROM job_runs WHERE ran_by = 'z:9'")
    assert (left["error"], left["ended_by"]) == (LEFT, "a:1"), "what an earlier leader left is ended"
    paused = await shown(path, "prune_changes")
    assert (paused.state, paused.last) == ("paused", None)

    await run_job(path.context, "prune_changes", ANNA)
    await until_ran(path, "prune_changes")
    assert (await shown(path, "prune_changes")).state == "paused", "once, and no more"
    await run_job(path.context, "reconcile", ANNA)
    await until_ran(path, "reconcile")
    (run,) = await path.rows("SELECT actor, state FROM reconciliation_runs")
    assert run["actor"] == "anna", "due or not"
    await resume_job(path.context, "prune_changes", ANNA)
    await run_job(path.context, "fill_gaps", ANNA)
    await until_ran(path, "fill_gaps")
    stopping.set()
    await leading
    assert (await show_scheduler(path.context)).leader is None


async def test_who_leads_no_more_breaks_off_what_it_is_at_and_may_lead_again(path: EventPath) -> None:
    notes = JobNotes(path.context, "a:1", shown_s=0.0)
    timed = TimedJobs(Turns(Scheduler(path.context, Bell(make_stub()), path.syncer), notes), notes, 1.0)
    async with path.context.database.transaction() as holder:
        # Pruning waits for this table, and would for ever.
        await holder.execute("LOCK TABLE job_runs IN ACCESS EXCLUSIVE MODE")
        timed.go_on({})
        async with asyncio.timeout(20), path.context.database.connection() as watching:
            while not await watching.fetchval(  # noqa: ASYNC110 - waits for a state of the server
                "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)"
            ):
                await asyncio.sleep(0.01)
        timed.cut()
        async with asyncio.timeout(20):
            await timed.finish()
    timed.go_on({})
    async with asyncio.timeout(20):
        while (await shown(path, "prune_job_runs")).last is None:
            await notes.write()
            await asyncio.sleep(0.01)
    await timed.finish()
    (broken_off,) = await path.rows(
        "SELECT turns, ended_at FROM job_runs WHERE job = 'prune_job_runs' AND error = $1", BROKEN_OFF
    )
    assert (broken_off["turns"], broken_off["ended_at"] is None) == (1, False)
