"""The clock: what is owed is rung, and synced without the queue when it has been away for long enough."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from domain.flows.note_jobs import BATCH, JobNotes
from domain.jobs import JOBS
from domain.settings import Secret, Settings
from tests.flows.event_path import EventPath, running_path
from tests.workers.test_bell import make_stub, rung
from workers.bell import Bell
from workers.broker import make_broker
from workers.jobs import WORK, Scheduler
from workers.turns import Turns


@pytest.fixture
async def path(settings: Settings) -> AsyncIterator[EventPath]:
    async with running_path(settings, direct_after_s=0.0001) as running:
        yield running


async def owe(path: EventPath, user_id: str = "u_1") -> None:
    """A purchase whose bell was lost some time ago."""
    customer = await path.make_customer(user_id)
    await path.buy(customer)
    for event in await path.events(types=["checkout.session.completed"]):
        await path.deliver(event)
    await path.execute("UPDATE sync_targets SET rung_at = '-infinity'")


async def test_the_sweep_rings_what_is_owed(path: EventPath) -> None:
    await owe(path)
    broker = make_stub()
    scheduler = Scheduler(path.context, Bell(broker), path.syncer)
    assert await scheduler.sweep() == 1
    assert rung(broker) == await path.owed_targets()
    assert await scheduler.sweep() == 0, "rung a moment ago"


async def test_while_the_queue_is_away_the_scheduler_syncs_by_itself(path: EventPath) -> None:
    nowhere = Secret("redis://127.0.0.1:1/0")
    away = path.context.settings.__class__(redis_url=nowhere)
    scheduler = Scheduler(path.context, Bell(make_broker(away)), path.syncer)
    await owe(path)
    await scheduler.sweep()
    assert not await path.is_granted(), "one failure is no outage yet"
    await scheduler.sweep()
    assert await path.is_granted()
    assert await path.count_owed() == 0


async def test_what_could_not_be_rung_is_swept_again_at_the_next_turn_by_any_copy(path: EventPath) -> None:
    away = path.context.settings.__class__(redis_url=Secret("redis://127.0.0.1:1/0"))
    deaf = Scheduler(path.context, Bell(make_broker(away)), path.syncer)
    broker = make_stub()
    hearing = Scheduler(path.context, Bell(broker), path.syncer)
    await owe(path)
    assert await deaf.sweep() == 1
    assert await hearing.sweep() == 1
    assert rung(broker) == await path.owed_targets()


async def test_due_timers_are_rung_as_events(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.deliver(
        {
            "id": "evt_unseen",
            "object": "event",
            "type": "customer.subscription.created",
            "livemode": False,
            "data": {"object": {"id": "sub_unseen", "object": "subscription", "customer": customer}},
        }
    )
    await path.drain()
    broker = make_stub()
    scheduler = Scheduler(path.context, Bell(broker), path.syncer)
    assert await scheduler.fire_timers() == 0, "not due yet"
    await path.execute("UPDATE timers SET due_at = '-infinity'")
    await path.execute("UPDATE timers SET due_at = clock_timestamp()")
    assert await scheduler.fire_timers() == 1
    assert rung(broker) == await path.owed_targets()


async def test_a_boundary_that_has_passed_is_recomputed_into_history(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer, "pass", "once")
    for event in await path.events(types=["checkout.session.completed"]):
        await path.deliver(event)
    await path.drain()
    # As if it had been bought, read and answered 31 days ago.
    await path.execute("UPDATE purchases SET paid_at = paid_at - interval '31 days'")
    await path.execute(
        """
        UPDATE entitlements SET timeline = (
            SELECT json_agg(json_build_object(
                'begins_at', (s->>'begins_at')::timestamptz - interval '31 days',
                'ends_at', (s->>'ends_at')::timestamptz - interval '31 days',
                'entitlements', s->'entitlements'))
            FROM json_array_elements(timeline) s)
        """
    )
    await path.execute("UPDATE users SET next_boundary_at = clock_timestamp() - interval '1 day'")
    scheduler = Scheduler(path.context, Bell(make_stub()), path.syncer)
    assert await scheduler.recompute_due() == 1
    history = await path.rows(
        "SELECT version, cause FROM entitlement_history WHERE app = 'editor' ORDER BY version"
    )
    assert [(row["version"], row["cause"]) for row in history][:2] == [
        (1, "checkout.session.completed"),
        (2, "boundary"),
    ]
    assert not await path.is_granted()
    assert await scheduler.recompute_due() == 0


def test_every_job_of_the_table_has_its_work_and_says_what_it_does() -> None:
    assert list(WORK) == [job.name for job in JOBS]
    assert all(job.says for job in JOBS)
    # The promise hangs on these: they run whoever leads.
    assert [job.name for job in JOBS if job.who == "all"] == [
        "sweep",
        "fire_timers",
        "recompute_due",
        "measure_backlog",
    ]


async def test_a_full_turn_is_followed_by_the_next_at_once(path: EventPath) -> None:
    await path.execute(
        """
        INSERT INTO job_runs (run_id, job, ran_by, started_at, ended_at, turns, duration_s, done)
        SELECT gen_random_uuid(), 'sweep', 'here:1', at, at, 1, 0.1, 1
        FROM generate_series(1, $1::int), (SELECT clock_timestamp() - interval '15 days' AS at) old
        """,
        2 * BATCH + 1,
    )
    stopping, notes = asyncio.Event(), JobNotes(path.context, "here:1")
    turns = Turns(Scheduler(path.context, Bell(make_stub()), path.syncer), notes)
    going = asyncio.create_task(turns.repeat("prune_job_runs", 3600, stopping))
    async with asyncio.timeout(10):
        while await path.rows("SELECT 1 FROM job_runs LIMIT 1"):  # noqa: ASYNC110 - a state of the server
            await asyncio.sleep(0.01)
    stopping.set()
    await going
