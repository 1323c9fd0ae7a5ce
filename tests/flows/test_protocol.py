"""The protocol under what goes wrong: crashes, stalls, outages, wrong keys, broken objects, two at once."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from domain.context import open_context
from domain.errors import Unavailable
from domain.flows.fix_deployment import WrongDeployment
from domain.flows.receive import Receiver
from domain.flows.recompute_due import recompute_due
from domain.flows.replay import requeue
from domain.flows.sweep import fire_timers, sweep_targets
from domain.flows.sync import Syncer
from domain.model import EventState, NewEvent, TargetRef
from domain.settings import Secret, Settings
from domain.store import inbox, targets
from domain.store.session import Database
from tests.flows.event_path import EventPath, path_settings, running_path


async def deliver_all(path: EventPath, *types: str) -> None:
    for event in await path.events(types=types):
        await path.deliver(event)


async def only_target(path: EventPath) -> dict[str, Any]:
    (target,) = await path.targets()
    return target


# ── the bell ──


async def rung_ago(path: EventPath, seconds: float) -> None:
    await path.execute(
        "UPDATE sync_targets SET rung_at = clock_timestamp() - make_interval(secs => $1)", seconds
    )


async def test_a_crash_after_commit_and_before_the_bell_is_found_by_the_sweep(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    await deliver_all(path, "checkout.session.completed")
    assert await sweep_targets(path.context) == [], "just rung, as far as the row knows"
    await rung_ago(path, 5.1)
    swept = await sweep_targets(path.context)
    assert swept == [(await only_target(path))["id"]]
    await path.syncer.sync_target(swept[0])
    assert await path.is_granted()
    await rung_ago(path, 3600)
    assert await sweep_targets(path.context) == []


@pytest.mark.parametrize(("rings", "pause_s"), [(0, 5), (1, 10), (2, 20), (3, 40), (4, 60), (9, 60)])
async def test_a_target_that_is_rung_in_vain_is_rung_less_and_less_often(
    path: EventPath, rings: int, pause_s: int
) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    await deliver_all(path, "checkout.session.completed")
    await path.execute("UPDATE sync_targets SET rings = $1", rings)
    await rung_ago(path, pause_s - 2)
    assert await sweep_targets(path.context) == []
    await rung_ago(path, pause_s + 0.1)
    assert len(await sweep_targets(path.context)) == 1
    assert (await only_target(path))["rings"] == rings + 1


# ── leases ──


async def test_a_stale_lease_holder_is_fenced_and_writes_nothing(settings: Settings) -> None:
    async with running_path(settings, lease_s=0.3) as path:
        customer = await path.make_customer()
        session = await path.buy(customer, "pro", "month", quantity=3)
        await deliver_all(path, "checkout.session.completed")
        target = (await only_target(path))["id"]
        await path.stripe.fail(f"/v1/checkout/sessions/{session}", latency_s=1.0, times=1)
        stalled = asyncio.create_task(path.syncer.sync_target(target))
        await asyncio.sleep(0.5)
        assert (await path.syncer.sync_target(target)).outcomes == ("processed",)
        before = await path.stored()
        assert (await stalled).outcomes[0] == "fenced"
        assert await path.stored() == before
        assert (await only_target(path))["lease_token"] is None


async def test_a_target_that_is_leased_is_left_alone(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    await deliver_all(path, "checkout.session.completed")
    target = (await only_target(path))["id"]
    async with path.context.database.connection() as connection:
        claim = await targets.claim(connection, target, "another", 15)
    assert claim is not None
    assert (await path.syncer.sync_target(target)).outcomes == ()
    assert (await only_target(path))["lease_token"] == "another"


async def test_an_event_that_arrives_during_a_run_is_owed_after_it(path: EventPath) -> None:
    customer = await path.make_customer()
    session = await path.buy(customer)
    await deliver_all(path, "checkout.session.completed")
    target = (await only_target(path))["id"]
    await path.stripe.fail(f"/v1/checkout/sessions/{session}", latency_s=0.4, times=1)
    running = asyncio.create_task(path.syncer.sync_target(target))
    await asyncio.sleep(0.2)
    await deliver_all(path, "customer.subscription.created")
    assert (await running).outcomes == ("processed", "processed"), "the same bell runs again at once"
    assert await path.count_owed() == 0


async def test_a_target_claimed_ten_times_without_an_outcome_is_dead_and_a_new_event_revives_it(
    path: EventPath,
) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    await deliver_all(path, "checkout.session.completed")
    target = (await only_target(path))["id"]
    for _ in range(10):
        async with path.context.database.connection() as connection:
            assert await targets.claim(connection, target, uuid.uuid4().hex, 0) is not None
    assert (await path.syncer.sync_target(target)).outcomes == ("dead",)
    assert (await only_target(path))["state"] == "dead"
    assert await path.owed_targets() == []
    await deliver_all(path, "customer.subscription.created")
    await path.drain()
    assert (await only_target(path))["state"] == "active"
    assert await path.is_granted()


# ── two at once ──


async def test_two_targets_of_one_user_committing_together_lose_neither_source(path: EventPath) -> None:
    for number in range(12):
        user = f"u_{number}"
        first, second = await path.make_customer(user), await path.make_customer(user)
        await path.buy(first, "pro", "month", quantity=2)
        await path.buy(second, "founder", "once")
        await deliver_all(path, "checkout.session.completed")
        owed = await path.owed_targets()
        assert len(owed) == 2
        await asyncio.gather(*(path.syncer.sync_target(target) for target in owed))
        answer = await path.answer(user)
        assert (answer["seats"]["value"], answer["projects"]["value"]) == (3, 100), user


async def test_many_deliveries_of_one_event_at_once_are_one_row_and_at_most_two_recomputes(
    path: EventPath,
) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    (event,) = await path.events(types=["checkout.session.completed"])
    received = await asyncio.gather(*(path.deliver(event) for _ in range(60)))
    assert sum(not one.is_duplicate for one in received) == 1
    target = (await only_target(path))["id"]
    runs = await asyncio.gather(*(path.syncer.sync_target(target) for _ in range(20)))
    assert 1 <= sum(len(run.outcomes) for run in runs) <= 2
    assert (await path.states())["processed"] == 1


#: All deadlines far away: a busy machine is slow, and only waiting for each other in a circle is wrong here.
UNHURRIED = {"database_timeout_s": 50.0, "stripe_timeout_s": 40.0, "fetch_timeout_s": 50.0, "lease_s": 60.0}


@asynccontextmanager
async def with_pool(path: EventPath, *, most: int, timeout_s: float) -> AsyncIterator[None]:
    """From here on the path has another pool of connections."""
    url = path.context.settings.database_url.reveal()
    database = Database(url, max_size=most, timeout_s=timeout_s, name="test")
    path.context = msgspec.structs.replace(path.context, database=database)
    path.receiver, path.syncer = Receiver(path.context), Syncer(path.context)
    await path.syncer.ensure_deployment()
    try:
        yield
    finally:
        await database.close()


async def test_nothing_holds_a_connection_while_it_waits_for_another(path: EventPath) -> None:
    """As many that did so as the pool has connections would wait for each other for ever."""
    customer = await path.make_customer()
    async with with_pool(path, most=1, timeout_s=5.0):
        await path.buy(customer)
        await deliver_all(path)
        await path.make_due("recheck")
        await fire_timers(path.context)
        await requeue(path.context)
        runs = await path.drain()
        assert not any("failed" in run.outcomes for run in runs)
        assert await recompute_due(path.context) == 0
        assert await path.is_granted()


async def test_batches_links_syncs_and_timers_at_once_never_deadlock(settings: Settings) -> None:
    async with (
        running_path(settings, recheck_s=0.01, retry_base_s=0.01, **UNHURRIED) as path,
        with_pool(path, most=10, timeout_s=50.0),
    ):
        customers = [await path.make_customer(f"u_{n}") for n in range(6)]
        await asyncio.gather(*(path.buy(customer) for customer in customers))
        events = await path.events()
        for attempt in range(8):
            again = [{**event, "id": f"{event['id']}_{attempt}"} for event in events]
            runs = asyncio.gather(*(path.syncer.sync_target(target) for target in await path.owed_targets()))
            deliveries = (path.deliver(event) for event in again)
            await asyncio.gather(runs, *deliveries, fire_timers(path.context), requeue(path.context))
            # The victim of a deadlock is told so, by an error that counts as an outage.
            assert not any("failed" in run.outcomes for run in runs.result())
        await path.drain()
        # Postgres's own count; a connection that ends says what it has not yet said.
        await path.context.database.close()
        (row,) = await path.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        assert row["deadlocks"] == 0
        for number in range(6):
            assert await path.is_granted(user_id=f"u_{number}")


# ── outages ──


async def test_stripe_away_and_back_delays_but_loses_nothing_and_kills_nothing(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    await deliver_all(path, "checkout.session.completed")
    await path.stripe.fail("/v1/*", status=503, times=1000)
    target = (await only_target(path))["id"]
    for expected in range(1, 11):
        assert (await path.syncer.sync_target(target)).outcomes == ("failed",)
        row = await only_target(path)
        assert (row["attempts"], row["failures"], row["state"]) == (expected, 0, "active")
        await path.execute("UPDATE sync_targets SET due_at = '-infinity'")
    assert not await path.is_granted()
    await path.stripe.clear_faults()
    await path.drain()
    assert await path.is_granted()
    assert (await only_target(path))["attempts"] == 0


async def test_a_failed_target_waits_before_it_is_tried_again(settings: Settings) -> None:
    async with running_path(settings, retry_base_s=600.0) as path:
        customer = await path.make_customer()
        await path.buy(customer)
        await deliver_all(path, "checkout.session.completed")
        await path.stripe.fail("/v1/*", status=500, times=10)
        target = (await only_target(path))["id"]
        await path.syncer.sync_target(target)
        assert (await path.syncer.sync_target(target)).outcomes == (), "not due yet"
        assert (await path.rows("SELECT due_at > clock_timestamp() AS waits FROM sync_targets"))[0]["waits"]


async def test_a_new_event_does_not_shorten_the_back_off_of_a_failing_target(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    await deliver_all(path, "checkout.session.completed")
    await path.stripe.fail("/v1/*", status=500, times=10)
    await path.syncer.sync_target((await only_target(path))["id"])
    await path.stripe.clear_faults()
    due_at = (await only_target(path))["due_at"]
    await deliver_all(path, "customer.subscription.created")
    assert (await only_target(path))["due_at"] == due_at


async def test_redis_away_loses_no_answer_only_its_copy(settings: Settings) -> None:
    nowhere = Secret("redis://127.0.0.1:1/0")
    async with running_path(settings, cache_url=nowhere) as path:
        customer = await path.make_customer()
        await path.buy(customer)
        await deliver_all(path, "checkout.session.completed")
        await path.drain()
        assert await path.is_granted()
        assert await path.count_owed() == 0


async def test_a_key_of_another_account_changes_nothing_and_kills_nothing(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    await deliver_all(path, "checkout.session.completed")
    await path.drain()
    before = await path.stored()
    await path.buy(customer, "founder", "once")
    await deliver_all(path)
    await path.stripe.add_account("sk_test_other", "acct_other")
    wrong = path_settings(path.context.settings, path.stripe, stripe_secret_key=Secret("sk_test_other"))
    async with open_context("worker", wrong) as context:
        syncer = Syncer(context)
        with pytest.raises(WrongDeployment, match="acct_other"):
            await syncer.ensure_deployment()
        for _ in range(12):
            for target in await path.owed_targets():
                assert (await syncer.sync_target(target)).outcomes == ("failed",)
            await path.execute("UPDATE sync_targets SET due_at = '-infinity'")
    assert await path.stored() == before
    assert {row["state"] for row in await path.targets()} == {"active"}
    await path.drain()
    assert (await path.answer())["projects"]["value"] == 100


async def test_a_key_stripe_refuses_changes_nothing_and_kills_nothing(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    await deliver_all(path, "checkout.session.completed")
    refused = path_settings(path.context.settings, path.stripe, stripe_secret_key=Secret("sk_test_revoked"))
    async with open_context("worker", refused) as context:
        target = (await only_target(path))["id"]
        for _ in range(10):
            assert (await Syncer(context).sync_target(target)).outcomes == ("failed",)
            await path.execute("UPDATE sync_targets SET due_at = '-infinity'")
    row = await only_target(path)
    assert (row["state"], row["failures"]) == ("active", 0)
    assert "TOLLHOUSE_STRIPE_SECRET_KEY" in row["last_error"]
    await path.drain()
    assert await path.is_granted()


async def test_another_environment_name_for_the_same_database_is_refused(path: EventPath) -> None:
    other = msgspec.structs.replace(path.context.settings, env="production")
    async with open_context("worker", other) as context:
        with pytest.raises(WrongDeployment, match="TOLLHOUSE_ENV=production"):
            await Syncer(context).ensure_deployment()


async def test_many_that_begin_while_stripe_is_away_ask_once_who_the_key_is(settings: Settings) -> None:
    """The question takes no slot of the read budget."""
    async with running_path(settings, retry_base_s=600.0) as path:
        for number in range(8):
            await path.make_customer(f"u_{number}")
        await deliver_all(path)
        await path.stripe.fail("/v1/account", status=503, times=1000)
        before = (await path.stripe.stats())["calls"]["GET /v1/account"]
        started = Syncer(path.context)
        owed = await path.owed_targets()
        assert len(owed) == 8
        runs = await asyncio.gather(*(started.sync_target(target) for target in owed))
        assert {run.outcomes for run in runs} == {("failed",)}
        asked = (await path.stripe.stats())["calls"]["GET /v1/account"] - before
        # The client repeats a call by itself, twice.
        assert 1 <= asked <= 3


async def test_postgres_away_is_said_as_unavailable(settings: Settings) -> None:
    away = msgspec.structs.replace(settings, database_url=Secret("postgresql://nobody@127.0.0.1:1/x"))
    async with open_context("webhook", away) as context:
        with pytest.raises(Unavailable, match="Postgres"):
            async with context.database.connection():
                pass


# ── the read budget ──


async def test_reads_stay_within_the_budget_and_waiting_for_it_is_no_failure(settings: Settings) -> None:
    async with running_path(settings) as path:
        customers = [await path.make_customer(f"u_{n}") for n in range(10)]
        for customer in customers:
            await path.buy(customer, "founder", "once")
        events = await path.events(types=["checkout.session.completed"])
        limited = msgspec.structs.replace(path.context.settings, stripe_rate=4.0)
        async with open_context("worker", limited) as context:
            limited_path = EventPath(context, path.stripe)
            await limited_path.syncer.ensure_deployment()
            for event in events:
                await limited_path.deliver(event)
            began = asyncio.get_running_loop().time()
            runs = [
                run
                for _ in range(3)
                for run in await asyncio.gather(
                    *(limited_path.syncer.sync_target(target) for target in await path.owed_targets())
                )
            ]
            took_s = asyncio.get_running_loop().time() - began
        assert any("postponed" in run.outcomes for run in runs)
        assert {row["failures"] for row in await path.targets()} == {0}
        assert {row["attempts"] for row in await path.targets()} == {0}
        done = (await path.states()).get("processed", 0)
        assert 0 < 2 * done <= 4 * took_s + 2, "two reads per purchase, four a second"
        await path.execute("UPDATE sync_targets SET due_at = '-infinity'")
        await path.drain()
        assert await path.count_owed() == 0


async def test_a_429_halves_the_budget_for_a_minute(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    await deliver_all(path, "checkout.session.completed")
    await path.stripe.fail("/v1/*", status=429, times=4)
    await path.syncer.sync_target((await only_target(path))["id"])
    (row,) = await path.rows(
        "SELECT extract(epoch FROM slow_until - clock_timestamp()) AS slow_s FROM stripe_budget"
    )
    assert 50 < row["slow_s"] <= 60


# ── broken objects and requeue ──


async def test_one_broken_object_is_set_aside_and_the_others_of_its_customer_go_on(
    settings: Settings,
) -> None:
    # Nothing is tried again by itself while this looks: each try is brought about.
    async with running_path(settings, retry_base_s=60.0) as path:
        customer = await path.make_customer()
        await path.buy(customer, "pro", "month")
        (created,) = await path.events(types=["customer.subscription.created"])
        await path.stripe.change_subscription(created["data"]["object"]["id"], created="yesterday")
        await path.buy(customer, "founder", "once")
        await deliver_all(path, "customer.subscription.created", "checkout.session.completed")
        await path.syncer.sync_target((await only_target(path))["id"])
        assert (await path.answer())["projects"]["value"] == 100, "the purchase counts at once"
        pending = await path.rows("SELECT * FROM webhook_events WHERE state = 'pending'")
        assert {row["tries"] for row in pending} == {1}
        assert all("created" in row["reason"] for row in pending)
        assert await path.count_owed() == 1

        for _ in range(7):
            assert "failed" not in await path.states()
            # As if the back-off, which doubles with each try, were over.
            await path.execute("UPDATE webhook_events SET retry_at = '-infinity'")
            await path.execute("UPDATE sync_targets SET due_at = '-infinity'")
            await path.syncer.sync_target((await only_target(path))["id"])
        assert await path.count_owed() == 0
        failed = await path.rows("SELECT event_id FROM webhook_events WHERE state = 'failed'")
        assert len(failed) == len(pending)
        assert (await only_target(path))["state"] == "active"

        await path.stripe.change_subscription(created["data"]["object"]["id"], created=created["created"])
        requeued = await requeue(path.context)
        assert set(requeued.event_ids) == {row["event_id"] for row in failed}
        await path.drain()
        assert (await path.answer())["seats"]["granted"]
        assert "failed" not in await path.states()


async def test_requeue_gives_an_ignored_event_the_target_todays_table_finds(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    (event,) = await path.events(types=["checkout.session.completed"])
    await path.deliver(event)
    # As if an older build, that did not use the type yet, had received it.
    await path.execute(
        """
        UPDATE webhook_events SET state = 'ignored', reason = 'unused_type', done_at = clock_timestamp(),
            target_kind = NULL, target_ref = NULL, object_kind = NULL, object_id = NULL
        """
    )
    await path.execute("UPDATE sync_targets SET synced_seq = dirty_seq")
    requeued = await requeue(path.context, [event["id"]])
    assert requeued.event_ids == (event["id"],)
    await path.drain()
    assert await path.is_granted()


async def test_requeue_skips_and_lists_what_it_cannot_or_need_not_do(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    await deliver_all(path)
    await path.drain()
    before = await path.stored()
    names = [row["event_id"] for row in await path.rows("SELECT event_id FROM webhook_events")]
    requeued = await requeue(path.context, names)
    assert requeued.event_ids == ()
    assert set(requeued.skipped) == set(names)
    await path.drain()
    assert await path.stored() == before


# ── batches ──


async def test_more_events_than_one_run_takes_are_all_processed(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    (event,) = await path.events(types=["checkout.session.completed"])
    for number in range(230):
        await path.deliver({**event, "id": f"evt_many_{number}"})
    (run,) = await path.drain()
    assert run.outcomes == ("processed", "processed", "processed")
    assert await path.states() == {"processed": 230}


async def test_a_batch_of_marks_raises_each_target_once_per_new_event(path: EventPath) -> None:
    events = [
        NewEvent(
            event_id=f"th_{number:02}",
            source="poll",
            type="x",
            state=EventState.PENDING,
            object_kind="subscription",
            object_id=f"sub_{number}",
            target=TargetRef("customer", f"cus_{number % 2}"),
        )
        for number in range(5)
    ]
    async with path.context.database.connection() as connection:
        marked = await inbox.mark(connection, events)
        again = await inbox.mark(connection, events)
    assert set(marked.event_ids) == {event.event_id for event in events}
    assert not again.event_ids
    assert not again.target_ids
    raised = {row["stripe_id"]: row["dirty_seq"] for row in await path.targets()}
    assert raised == {"cus_0": 3, "cus_1": 2}
