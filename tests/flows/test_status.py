"""Status: figures from a real deployment, and what it says of a part that is away."""

import pytest

from domain.context import Context, open_context
from domain.errors import Unavailable
from domain.flows.fill_gaps import fill_gaps
from domain.flows.reconcile import Wish, abandon, begin
from domain.flows.record_action import Operator
from domain.flows.status import Part, Status, read_status
from domain.settings import Secret, Settings
from tests.conftest import with_settings
from tests.flows.event_path import EventPath
from tests.seeds import led


async def bells() -> int:
    return 3


async def no_bells() -> int:
    raise Unavailable("the queue did not answer: ConnectionError")


async def look(context: Context) -> Status:
    return await read_status(context, bells=bells())


def part(seen: Status, name: str) -> Part:
    return next(one for one in seen.parts if one.name == name)


async def test_a_deployment_that_has_worked_everything_off_is_healthy(
    settings: Settings, path: EventPath
) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    for event in await path.events():
        await path.deliver(event)
    await path.drain()
    async with open_context("scheduler", settings) as scheduler, led(scheduler):
        seen = await look(path.context)
    assert [one for one in seen.parts if one.health != "healthy"] == []
    assert seen.status == "healthy"
    assert seen.figures is not None
    assert (seen.figures.owed_targets, seen.figures.pending_events, seen.figures.dead_targets) == (0, 0, 0)
    assert seen.figures.lag_events == (await path.states())["processed"]
    figures = seen.figures
    lags = [figures.lag_p50_s, figures.lag_p95_s, figures.lag_p99_s, figures.lag_max_s]
    assert all(lag is not None and 0 < lag < 60 for lag in lags)
    assert lags == sorted(lag for lag in lags if lag is not None)
    # One of the pool, and the one that holds the lead.
    assert seen.figures.sessions["scheduler"] == 2
    assert seen.figures.sessions["worker"] >= 1
    assert "3 bells" in part(seen, "queue").finding
    assert "acct_" in part(seen, "deployment").finding


async def test_a_backlog_is_counted_with_the_age_of_what_nobody_has_tried(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    for event in await path.events(types=["checkout.session.completed", "customer.subscription.created"]):
        await path.deliver(event)
    await path.execute("UPDATE webhook_events SET received_at = received_at - interval '5 min'")
    await path.execute("UPDATE sync_targets SET rung_at = now() - interval '5 min', due_at = '-infinity'")
    seen = await look(path.context)
    figures = seen.figures
    assert figures is not None
    assert (figures.owed_targets, figures.leased_targets, figures.pending_events) == (1, 0, 2)
    assert figures.unswept == 1
    assert figures.untried_s == pytest.approx(300, abs=60)
    assert figures.oldest_pending_s == pytest.approx(figures.untried_s, abs=1)
    assert part(seen, "backlog").health == "degraded"
    assert part(seen, "scheduler").health == "degraded"

    await path.execute("UPDATE sync_targets SET lease_token = 'x', lease_until = now() + interval '1 h'")
    figures = (await look(path.context)).figures
    assert figures is not None
    assert (figures.leased_targets, figures.expired_leases, figures.unswept) == (1, 0, 0)
    await path.execute("UPDATE sync_targets SET lease_until = now() - interval '1 s'")
    figures = (await look(path.context)).figures
    assert figures is not None
    assert (figures.leased_targets, figures.expired_leases) == (0, 1)


async def test_the_newest_pass_and_how_far_the_list_of_events_is_read_are_shown(path: EventPath) -> None:
    seen = await look(path.context)
    assert part(seen, "gap_fill").finding == "Stripe's list of events was not read yet"
    assert part(seen, "reconciliation").finding.startswith("no pass yet")
    await path.execute("UPDATE deployment SET fixed_at = fixed_at - interval '2 h'")
    unread = part(await look(path.context), "gap_fill")
    assert (unread.health, "2 h" in unread.finding) == ("degraded", True)

    await fill_gaps(path.context, within_s=20.0)
    run = await begin(path.context, Wish(is_check=True), Operator(actor="cli:anna"))
    seen = await look(path.context)
    read = part(seen, "gap_fill")
    assert (read.health, "is read up to 20" in read.finding) == ("healthy", True)
    assert f"check {run.id} of everything: running, 20" in part(seen, "reconciliation").finding
    assert ", 0 drifts" in part(seen, "reconciliation").finding

    # One that cannot end keeps others from beginning, whatever ended since.
    await path.execute(
        "UPDATE reconciliation_runs SET project = 'acme', started_at = started_at - interval '7 h'"
    )
    await path.execute(
        """
        INSERT INTO reconciliation_runs (run_id, is_check, is_full, stage, actor, state, ended_at)
        VALUES ('run_newer', false, true, 'users', 'scheduler', 'done', clock_timestamp())
        """
    )
    stuck = part(await look(path.context), "reconciliation")
    assert stuck.finding.startswith(f"check {run.id} of acme: running"), stuck
    assert (stuck.health, "`tollhouse reconcile --abandon`" in (stuck.next or "")) == ("degraded", True)
    await abandon(path.context, run.id, Operator(actor="cli:anna"))
    assert "run_newer" in part(await look(path.context), "reconciliation").finding


async def test_a_target_that_waits_after_an_error_says_which(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    await path.deliver((await path.events(types=["checkout.session.completed"]))[0])
    await path.stripe.fail("/v1/*", status=503, times=1000)
    (target,) = await path.owed_targets()
    await path.syncer.sync_target(target)
    seen = await look(path.context)
    assert seen.figures is not None
    assert (seen.figures.backing_off, seen.figures.worst_attempts, seen.figures.untried_s) == (1, 1, None)
    assert "Stripe did not answer" in part(seen, "retries").finding


async def test_what_gave_up_does_not_count_as_backlog(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    await path.deliver((await path.events(types=["checkout.session.completed"]))[0])
    await path.execute("UPDATE sync_targets SET state = 'dead'")
    seen = await look(path.context)
    assert seen.figures is not None
    assert (seen.figures.owed_targets, seen.figures.pending_events, seen.figures.dead_targets) == (0, 0, 1)
    assert part(seen, "gave_up").next is not None


async def test_the_budget_says_its_rate_its_next_slot_and_a_429(path: EventPath) -> None:
    await path.execute("UPDATE stripe_budget SET next_at = clock_timestamp() + interval '30 s'")
    limited = with_settings(path.context.settings, stripe_rate=-1.0)
    async with open_context("cli", limited) as context:
        seen = await look(context)
        assert seen.figures is not None
        assert seen.figures.stripe_rate == 20.0, "test mode's, by the deployment's row"
        assert seen.figures.next_slot_s == pytest.approx(30, abs=10)
        assert part(seen, "stripe_budget").health == "degraded"
        await path.execute("UPDATE stripe_budget SET next_at = now(), slow_until = now() + interval '60 s'")
        assert "429" in part(await look(context), "stripe_budget").finding


async def test_overdue_timers_boundaries_and_users_behind_are_counted(path: EventPath) -> None:
    await path.make_customer("u_1")
    await path.make_customer("u_2")
    await path.execute(
        """
        INSERT INTO timers (due_at, target_kind, target_ref, object_kind, object_id, cause, payload)
        VALUES (now() - interval '2 min', 'customer', 'cus_1', 'subscription', 'sub_1', 'recheck', '{}'),
               ('infinity', 'customer', 'cus_1', 'subscription', 'sub_1', 'period_end', '{}');
        UPDATE users SET next_boundary_at = now() - interval '2 min' WHERE user_id = 'u_1';
        UPDATE users SET next_boundary_at = now() - interval '2 min', clock_at = now() WHERE user_id = 'u_2';
        UPDATE catalogs SET applied_at = now() - interval '11 min';
        """
    )
    figures = (await look(path.context)).figures
    assert figures is not None
    assert (figures.overdue_timers, figures.overdue_boundaries, figures.users_behind) == (1, 1, 2)
    assert figures.overdue_timers_s == pytest.approx(120, abs=60)
    assert figures.overdue_boundaries_s == pytest.approx(120, abs=60)
    assert figures.behind_s == pytest.approx(660, abs=60)


async def test_before_a_stripe_key_was_seen_the_deployment_is_not_known(context: Context) -> None:
    seen = await look(context)
    assert (seen.status, part(seen, "deployment").health) == ("degraded", "degraded")
    assert seen.figures is not None
    assert seen.figures.stripe_rate is None


async def test_redis_away_is_degraded_and_says_what_goes_on_meanwhile(settings: Settings) -> None:
    away = with_settings(settings, cache_url=Secret("redis://127.0.0.1:1/0"))
    async with open_context("cli", away) as context:
        seen = await read_status(context, bells=no_bells())
    assert (part(seen, "queue").health, part(seen, "cache").health) == ("degraded", "degraded")
    assert "schedulers sync" in part(seen, "queue").finding
    assert seen.status == "degraded"


async def test_postgres_away_or_a_schema_too_old_is_down(settings: Settings, context: Context) -> None:
    away = with_settings(settings, database_url=Secret("postgresql://nobody@127.0.0.1:1/x"))
    async with open_context("cli", away) as gone:
        seen = await look(gone)
    assert (seen.status, part(seen, "database").health, seen.figures) == ("down", "down", None)
    async with context.database.connection() as connection:
        await connection.execute("UPDATE alembic_version SET version_num = '0001'")
    seen = await look(context)
    assert (seen.status, part(seen, "schema").next, seen.figures) == ("down", "run `tollhouse migrate`", None)


async def test_servers_that_are_not_set_here_are_said_not_to_be_looked_at(settings: Settings) -> None:
    async with open_context("cli", with_settings(settings, cache_url=Secret(""))) as context:
        seen = await read_status(context, bells=None)
    assert "not looked at" in part(seen, "queue").finding
    assert "not looked at" in part(seen, "cache").finding
