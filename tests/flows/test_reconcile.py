"""Reconcile: what differs is named once, and heals by an event; a check repairs nothing."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from domain.context import open_context
from domain.errors import Conflict, Unavailable, Unknown
from domain.flows.figures import FiguresWish
from domain.flows.fill_gaps import fill_gaps, fill_gaps_due
from domain.flows.grant import GrantWish, grant
from domain.flows.measure_revenue import measure_revenue
from domain.flows.measure_subscriptions import measure_subscriptions
from domain.flows.reconcile import (
    RunDetail,
    Wish,
    abandon,
    begin,
    carry_out,
    every_drift,
    run_once,
    show_run,
)
from domain.flows.reconcile.run import last_night
from domain.flows.record_action import Operator
from domain.flows.recover import recover
from domain.rules.drift import KINDS
from domain.rules.events import OLD_NAMES, USED
from domain.settings import Settings
from domain.store import reconciliation
from tests.flows.event_path import EventPath, running_path

OPERATOR = Operator(actor="cli:tester")


@pytest.fixture
async def path(settings: Settings) -> AsyncIterator[EventPath]:
    """A deployment whose endpoint is well, and where nothing is too young to be compared."""
    async with running_path(settings, reconcile_settle_s=0.001) as running:
        await running.create(
            "/v1/webhook_endpoints",
            {
                "url": "https://billing.example.com/api/v1/webhooks/stripe",
                "enabled_events": sorted(USED.keys() - OLD_NAMES),
                "api_version": "2026-10-28.endive",
            },
        )
        yield running


async def reconcile(path: EventPath, **wish: Any) -> RunDetail:
    run_id = (await begin(path.context, Wish(**{"is_full": True, **wish}), OPERATOR)).id
    await carry_out(path.context, run_id)
    detail = await show_run(path.context, None, run_id)
    assert detail.run.state == "done", detail
    return detail


def types(detail: RunDetail) -> dict[str, int]:
    """But for events: a pass that is late by a second names more of them."""
    return dict(Counter(one.type for one in detail.drifts if one.type != "event_missing"))


async def deliver_all(path: EventPath) -> None:
    for event in await path.events():
        await path.deliver(event)
    await path.drain()


async def test_a_pass_over_what_is_well_names_nothing(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer, "pro", "month", quantity=3)
    await path.buy(customer, "pass", "once")
    await deliver_all(path)
    detail = await reconcile(path)
    assert detail.drifts == []
    assert detail.run.counts.compared >= 3
    assert detail.run.counts.reads >= 9


async def _miss_a_subscription(path: EventPath) -> str:
    customer = await _known_customer(path, "u_missed")
    await path.buy(customer, "pro", "month")
    return "missing_subscription"


async def _change_a_status_unseen(path: EventPath) -> str:
    subscription = await _subscribe(path, "u_status")
    row = path.stripe.account.load("subscription", subscription)
    path.stripe.account.put("subscription", {**row, "status": "past_due"})
    return "stale_status"


async def _change_items_unseen(path: EventPath) -> str:
    subscription = await _subscribe(path, "u_items")
    await path.create(f"/v1/subscriptions/{subscription}", {"items": await _three_of(path, subscription)})
    return "wrong_items"


async def _cancel_later_unseen(path: EventPath) -> str:
    subscription = await _subscribe(path, "u_end")
    await path.create(f"/v1/subscriptions/{subscription}", {"cancel_at_period_end": True})
    return "stale_subscription"


async def _miss_a_purchase(path: EventPath) -> str:
    customer = await _known_customer(path, "u_bought")
    await path.buy(customer, "pass", "once")
    return "missing_purchase"


async def _refund_unseen(path: EventPath) -> str:
    await path.create("/v1/refunds", {"payment_intent": await _paid_once(path, "u_refund")})
    return "stale_refund"


async def _dispute_unseen(path: EventPath) -> str:
    await path.stripe.dispute(await _paid_once(path, "u_dispute"))
    return "stale_dispute"


async def _invoice_unseen(path: EventPath) -> str:
    customer = await _known_customer(path, "u_invoice")
    await path.make_invoice(customer, "price_acme.pass.once")
    return "stale_invoice"


async def _die_before_link(path: EventPath) -> str:
    customer = await path.make_customer("u_unlinked", linked=False)
    await path.buy(customer, "pro", "month")
    return "unlinked_customer"


async def _tamper_with_answers(path: EventPath) -> str:
    await _subscribe(path, "u_tampered")
    await path.execute(
        """
        UPDATE entitlements SET timeline = replace(timeline::text, '"granted":true', '"granted":false')::json
        WHERE user_key = (SELECT user_key FROM users WHERE user_id = 'u_tampered') AND app = 'editor'
        """
    )
    return "entitlement_mismatch"


async def _give_up(path: EventPath) -> str:
    """Runs that died with their process, ten times; what was bought was never read."""
    customer = await path.make_customer("u_gave_up")
    await path.buy(customer, "pro", "month")
    await path.deliver((await path.events(types=["checkout.session.completed"]))[-1])
    await path.execute("UPDATE sync_targets SET claims = 10 WHERE stripe_id = $1", customer)
    await path.drain()
    (row,) = await path.rows("SELECT stripe_id FROM sync_targets WHERE state = 'dead'")
    assert row["stripe_id"] == customer
    return "dead_target"


async def _known_customer(path: EventPath, user_id: str) -> str:
    customer = await path.make_customer(user_id)
    await path.drain()
    return customer


async def _subscribe(path: EventPath, user_id: str, price: str = "month", plan: str = "pro") -> str:
    """A subscription that everybody has seen."""
    customer = await path.make_customer(user_id)
    session = await path.retrieve(f"/v1/checkout/sessions/{await path.buy(customer, plan, price)}")
    await deliver_all(path)
    return str(session["subscription"])


async def _paid_once(path: EventPath, user_id: str) -> str:
    customer = await path.make_customer(user_id)
    session = await path.retrieve(f"/v1/checkout/sessions/{await path.buy(customer, 'pass', 'once')}")
    await deliver_all(path)
    return str(session["payment_intent"])


async def _three_of(path: EventPath, subscription: str) -> list[dict[str, Any]]:
    shown = await path.retrieve(f"/v1/subscriptions/{subscription}")
    return [{"id": shown["items"]["data"][0]["id"], "quantity": 3}]


#: Each breaks something that an event would have told, and answers the drift that names it.
HEALED: tuple[Callable[[EventPath], Coroutine[Any, Any, str]], ...] = (
    _change_a_status_unseen,
    _change_items_unseen,
    _cancel_later_unseen,
    _refund_unseen,
    _dispute_unseen,
    _tamper_with_answers,
    _invoice_unseen,
    _miss_a_purchase,
    _die_before_link,
    _miss_a_subscription,
    _give_up,
)


async def test_whatever_no_event_told_is_named_by_a_check_and_healed_by_a_pass(path: EventPath) -> None:
    for break_it in HEALED:
        expected = await break_it(path)
        checked = await reconcile(path, is_check=True)
        assert expected in types(checked), (break_it, checked.drifts)
        assert all(one.repair is None for one in checked.drifts)
        assert await path.count_owed() == 0, break_it
        # The events stay undelivered: what heals is the pass alone.
        await _forget_missing_events(path)
        healed = await reconcile(path)
        assert expected in types(healed), (break_it, healed.drifts)
        assert all(one.repair for one in healed.drifts), (break_it, healed.drifts)
        await path.drain()
        assert types(await reconcile(path, is_check=True)) == {}, break_it


async def _forget_missing_events(path: EventPath) -> None:
    """As if Stripe had never listed them: the watermark is past them."""
    await path.execute("UPDATE reconciliation_watermark SET read_until = clock_timestamp() + interval '1 h'")


async def test_every_drift_of_one_customer_heals_in_one_pass(path: EventPath) -> None:
    """The repair of the first waits for its worker while the others get their second look."""
    customer = await path.make_customer("u_1")
    await deliver_all(path)
    bought = {await path.buy(customer, "pass", "once") for _ in range(3)}
    await path.execute("UPDATE reconciliation_watermark SET read_until = clock_timestamp() + interval '1 h'")
    found = await reconcile(path)
    assert {one.object_id for one in found.drifts if one.type == "missing_purchase"} == bought
    assert [one async for one in every_drift(path.context, found.run.id, at_once=2)] == found.drifts
    await path.drain()
    rows = await path.rows("SELECT object_id FROM purchases")
    assert {row["object_id"] for row in rows} == bought
    assert types(await reconcile(path, is_check=True)) == {}


async def test_what_an_older_release_read_is_read_again_until_it_is_in_the_money_figures(
    path: EventPath,
) -> None:
    """As after the migration that brought the figures: the mirror is right, and nothing was booked of it."""
    customer = await path.make_customer()
    await path.buy(customer, "pro", "month", 2)
    await path.buy(customer, "pass", "once")
    await deliver_all(path)
    before = await _figures(path)
    assert before[0] > before[1] == 3800
    assert types(await reconcile(path, is_check=True)) == {}
    await path.execute("DELETE FROM revenue_entries")
    await path.execute("DELETE FROM recurring_sums")
    await path.execute("UPDATE subscriptions SET currency = NULL")
    assert await _figures(path) == (0, 0)
    (drift,) = (await reconcile(path)).drifts
    charges = sorted(path.stripe.account.rows["charge"])
    assert (drift.type, drift.object_id, drift.severity) == ("unbooked", customer, "warning")
    assert drift.found == ", ".join([*charges, *path.stripe.account.rows["subscription"]])
    await path.drain()
    assert await _figures(path) == before
    assert types(await reconcile(path, is_check=True)) == {}


async def _figures(path: EventPath) -> tuple[int, int]:
    """Gross and mrr, in minor units of all currencies."""
    wish = FiguresWish()
    gross = (await measure_revenue(path.context, "acme", wish)).totals
    rows = (await measure_subscriptions(path.context, "acme", wish)).data
    return sum(one.gross for one in gross.values()), sum(row.mrr for row in rows)


async def test_what_only_an_operator_can_end_is_named_with_the_command(path: EventPath) -> None:
    """Each is made at Stripe, all are seen by one pass, and no event of ours is made for any."""
    first = await path.make_customer("u 2")
    await path.buy(first, "pro", "month")
    second = await path.make_customer("u 2")
    await path.buy(second, "pro", "month")
    orphan = await path.make_stripe_customer()
    await path.buy(orphan, "pro", "month")
    stray = await path.make_stripe_customer(tollhouse_project="acme", tollhouse_user="u 2")
    await path.buy(stray, "pro", "month")
    mixed = await path.make_customer("u_mixed")
    await _subscribe_to(path, mixed, await _foreign_price(path))
    await _subscribe_to(path, mixed, await _price_of_globex(path))
    vanished = await _vanish(path)
    disputed = await _dispute_an_earlier_invoice(path)
    await deliver_all(path)
    await _cache_ahead(path)
    (endpoint,) = (await path.retrieve("/v1/webhook_endpoints"))["data"]
    row = path.stripe.account.load("webhook_endpoint", endpoint["id"])
    path.stripe.account.put(
        "webhook_endpoint", {**row, "enabled_events": ["invoice.paid"], "api_version": "2024-06-20"}
    )
    detail = await reconcile(path)
    found = {one.type: one for one in detail.drifts}
    assert types(detail).keys() >= {
        *("two_customers", "two_subscriptions", "orphan_customer", "price_unmapped", "cross_project"),
        *("vanished", "billing_after_dispute", "endpoint_events", "endpoint_version", "cache_ahead"),
    }
    of_operators = [one for one in detail.drifts if KINDS[one.type].repair is None]
    assert all(one.next and one.repair is None for one in of_operators)
    assert {one.object_id for one in of_operators if one.type == "two_customers"} == {
        ", ".join(sorted([first, second])),
        stray,
    }
    assert found["orphan_customer"].next is not None
    assert f"customers adopt {orphan} --project acme" in found["orphan_customer"].next
    assert found["two_subscriptions"].next is not None
    assert "explain 'u 2' --project acme" in found["two_subscriptions"].next
    assert (found["vanished"].object_id, found["billing_after_dispute"].object_id) == (vanished, disputed)
    path.stripe.account.put("webhook_endpoint", {**row, "status": "disabled"})
    assert "endpoint_missing" in types(await reconcile(path, is_check=True))
    await path.delete(f"/v1/webhook_endpoints/{endpoint['id']}")
    (none,) = [one for one in (await reconcile(path)).drifts if one.type == "endpoint_missing"]
    assert none.found == "there is none"


async def _subscribe_to(path: EventPath, customer: str, price: str) -> str:
    await path.stripe.change_card(customer, "pm_card_visa")
    made = await path.create("/v1/subscriptions", {"customer": customer, "items": [{"price": price}]})
    return str(made["id"])


async def _foreign_price(path: EventPath) -> str:
    product = await path.create("/v1/products", {"name": "Made by hand"})
    price = await path.create(
        "/v1/prices",
        {
            "product": product["id"],
            "currency": "usd",
            "unit_amount": 900,
            "recurring": {"interval": "month"},
        },
    )
    return str(price["id"])


async def _price_of_globex(path: EventPath) -> str:
    (row, *_) = await path.rows(
        "SELECT price_id FROM prices WHERE project = 'globex' AND price IN ('month', 'year') ORDER BY 1"
    )
    return str(row["price_id"])


async def _vanish(path: EventPath) -> str:
    subscription = await _subscribe(path, "u_vanished")
    path.stripe.account.remove("subscription", subscription)
    return subscription


async def _dispute_an_earlier_invoice(path: EventPath) -> str:
    """A subscription of two paid invoices, of which the first is disputed."""
    clock = await path.make_clock()
    customer = await path.make_customer("u_disputed", test_clock=clock)
    session = await path.retrieve(f"/v1/checkout/sessions/{await path.buy(customer, 'pro', 'month')}")
    paid = await path.retrieve(f"/v1/subscriptions/{session['subscription']}")
    await path.advance(clock, days=32)
    await path.stripe.dispute(paid["latest_invoice"])
    return str(session["subscription"])


async def _cache_ahead(path: EventPath) -> None:
    """As after the restore of an older database: Redis knows versions that Postgres does not."""
    await path.execute(
        """
        UPDATE entitlements SET first_version = 1, last_version = 1 + last_version - first_version
        WHERE app = 'editor' AND user_key = (SELECT user_key FROM users WHERE user_id = 'u 2')
        """
    )


async def test_events_that_were_never_delivered_come_from_stripes_list(path: EventPath) -> None:
    """F-18, small: one in three is dropped; the gap is filled, in the order in which Stripe lists it."""
    customer = await path.make_customer()
    await path.buy(customer, "pro", "month", quantity=3)
    await path.buy(customer, "pass", "once")
    events = await path.events()
    assert OLD_NAMES & {one["type"] for one in events}
    # Older names are sent to no endpoint of ours: they are not missed.
    used = [one for one in events if one["type"] in USED.keys() - OLD_NAMES]
    for event in used[::3]:
        await path.deliver(event)
    dropped = {one["id"] for one in used} - {one["id"] for one in used[::3]}
    checked = await fill_gaps(path.context, within_s=10, is_check=True)
    assert set(checked.missing) == dropped
    assert {row["event_id"] for row in await _events_of(path, "poll")} == set()
    filled = await fill_gaps(path.context, within_s=10)
    assert (set(filled.missing), filled.is_whole) == (dropped, True)
    assert len(filled.owed) > 0
    assert {row["event_id"] for row in await _events_of(path, "poll")} == dropped
    await path.drain()
    assert (await path.answer())["seats"]["value"] == 3
    again = await fill_gaps(path.context, within_s=10)
    assert (again.missing, again.owed) == ((), ())
    # An older event that comes late onto the list is within the overlap; a scheduler waits for its turn.
    assert await fill_gaps_due(path.context) == ()
    await path.execute("UPDATE reconciliation_watermark SET looked_at = now() - interval '11 min'")
    await path.execute("DELETE FROM webhook_events WHERE event_id = $1", used[1]["id"])
    assert len(await fill_gaps_due(path.context)) == 1
    assert await fill_gaps_due(path.context) == ()


async def _events_of(path: EventPath, source: str) -> list[dict[str, Any]]:
    return await path.rows("SELECT event_id FROM webhook_events WHERE source = $1", source)


async def test_a_long_gap_is_filled_in_steps_that_count(path: EventPath) -> None:
    await path.execute("UPDATE deployment SET fixed_at = clock_timestamp() - interval '40 days'")
    first = await fill_gaps(path.context, within_s=0.0)
    assert not first.is_whole
    assert (await fill_gaps(path.context, within_s=30)).is_whole
    calls = (await path.stripe.stats())["calls"]["GET /v1/events"]
    # Thirty days in slices that double up to a day, three groups of types each, and what is undelivered.
    assert 90 <= calls <= 130


async def test_a_run_goes_on_where_a_dead_process_left_it(path: EventPath) -> None:
    await _miss_a_subscription(path)
    await _forget_missing_events(path)
    run = await begin(path.context, Wish(is_full=True), OPERATOR)
    with pytest.raises(Conflict, match="running already"):
        await begin(path.context, Wish(), OPERATOR)
    await path.stripe.fail("/v1/disputes", status=503, times=None)
    with pytest.raises(Unavailable):
        await carry_out(path.context, run.id)
    stopped = (await show_run(path.context, None, run.id)).run
    assert (stopped.state, stopped.stage) == ("running", "disputes")
    # Another holds it: nobody moves it until that lease is over.
    await path.execute(
        "UPDATE reconciliation_runs SET lease_token = 'x', lease_until = clock_timestamp() + interval '1 min'"
    )
    assert await run_once(path.context) == ()
    with pytest.raises(Conflict, match="another process"):
        await carry_out(path.context, run.id)
    # Nor ends it whoever has lost it, as a process that stood still has.
    async with path.context.database.transaction() as connection:
        assert not await reconciliation.end_run(connection, run.id, "lost", "failed", "Broken: late")
    assert await path.rows("SELECT 1 FROM reconciliation_seen") != []
    assert (await show_run(path.context, None, run.id)).run.state == "running"
    await path.execute("UPDATE reconciliation_runs SET lease_until = clock_timestamp() - interval '1 s'")
    await path.stripe.clear_faults()
    before = (await path.stripe.stats())["calls"]["GET /v1/subscriptions"]
    owed = await run_once(path.context)
    assert len(owed) == 1
    detail = await show_run(path.context, None, run.id)
    assert (detail.run.state, types(detail)) == ("done", {"missing_subscription": 1})
    assert (await path.stripe.stats())["calls"]["GET /v1/subscriptions"] == before
    assert await path.rows("SELECT 1 FROM reconciliation_seen") == []
    await path.drain()
    assert await path.is_granted("export", "u_missed")


async def test_a_pass_that_cannot_end_is_given_up_whoever_is_at_it_and_the_next_begins_anew(
    path: EventPath,
) -> None:
    await _miss_a_subscription(path)
    await _forget_missing_events(path)
    await path.execute("UPDATE deployment SET fixed_at = clock_timestamp() - interval '2 days'")
    run = await begin(path.context, Wish(is_full=True), OPERATOR)
    await path.stripe.fail("/v1/disputes", status=503, times=None)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await carry_out(path.context, run.id)
    with pytest.raises(Conflict, match="--abandon gives it up"):
        await begin(path.context, Wish(), OPERATOR)

    kept = "SELECT (SELECT count(*) FROM reconciliation_seen) > 0 AS seen, count(*) > 0 AS named FROM drifts"
    assert await path.rows(kept) == [{"seen": True, "named": True}]
    with pytest.raises(Unknown, match="acme alone is running"):
        await abandon(path.context, None, OPERATOR, project="acme")
    given_up = await abandon(path.context, None, OPERATOR, reason=" no right to read disputes ")
    assert (given_up.id, given_up.state, given_up.stage) == (run.id, "abandoned", "disputes")
    assert given_up.error == "given up by cli:tester: no right to read disputes"
    assert await abandon(path.context, run.id, Operator(actor="cli:late")) == given_up, "said twice"
    assert await path.rows(kept) == [{"seen": False, "named": False}], "nothing was looked at twice"
    audited = "SELECT actor, subject_id AS run FROM audit_log WHERE action = 'reconciliation.abandon'"
    assert await path.rows(audited) == [{"actor": "cli:tester", "run": run.id}]
    for named in (None, "run_x", "run\0"):
        with pytest.raises(Unknown):
            await abandon(path.context, named, OPERATOR)
    await run_once(path.context)
    assert len(await path.rows("SELECT 1 FROM reconciliation_runs")) == 1, "not begun anew in the same night"

    # A recovery is in the middle of a step, and must not take the pass for done.
    await path.stripe.clear_faults()
    await path.stripe.fail("/v1/disputes", latency_s=0.3, times=1)
    at_work = asyncio.create_task(recover(path.context, OPERATOR))
    stage = "SELECT run_id FROM reconciliation_runs WHERE state = 'running' AND stage = 'disputes'"
    async with asyncio.timeout(10):
        while not (held := await path.rows(stage)):  # noqa: ASYNC110 - a row of Postgres has no event
            await asyncio.sleep(0.01)
    stopped = await abandon(path.context, held[0]["run_id"], OPERATOR)
    with pytest.raises(Conflict, match=r"did not come to its end \(abandoned: given up by cli:tester\)"):
        await at_work
    assert (await show_run(path.context, None, stopped.id)).run == stopped

    detail = await reconcile(path)
    assert types(detail) == {"missing_subscription": 1}
    with pytest.raises(Conflict, match="has ended by itself"):
        await abandon(path.context, detail.run.id, OPERATOR)


async def test_the_nightly_pass_begins_once_a_night(path: EventPath) -> None:
    hour = path.context.settings.reconcile_hour
    at = datetime(2026, 11, 22, hour, 0, tzinfo=UTC)
    assert last_night(at, hour) == at
    assert last_night(at - timedelta(seconds=1), hour) == at - timedelta(days=1)
    # A deployment of today waits for its first night.
    await path.execute("UPDATE deployment SET fixed_at = clock_timestamp()")
    await run_once(path.context)
    assert await path.rows("SELECT 1 FROM reconciliation_runs") == []
    await path.execute("UPDATE deployment SET fixed_at = clock_timestamp() - interval '2 days'")
    await run_once(path.context)
    await run_once(path.context)
    (run,) = await path.rows("SELECT actor, state, is_full, is_check FROM reconciliation_runs")
    assert run == {"actor": "scheduler", "state": "done", "is_full": True, "is_check": False}


async def test_answers_without_a_customer_and_copies_of_them_are_repaired_too(path: EventPath) -> None:
    wish = GrantWish(effect="allow", target_kind="feature", target="export", reason="promised")
    await grant(path.context, "acme", "u_given", wish, OPERATOR)
    kept = await path.stored("u_given")
    assert kept is not None
    await path.execute(
        """
        UPDATE entitlements
        SET timeline = replace(timeline::text, '"granted":true', '"granted":false')::json
        """
    )
    detail = await reconcile(path)
    assert {one.type: one.repair for one in detail.drifts}["entitlement_mismatch"] == "recomputed"
    assert await path.is_granted("export", "u_given")
    # A copy that the last write did not reach.
    assert path.context.cache is not None
    await path.execute(
        "UPDATE entitlements SET first_version = first_version + 5, last_version = last_version + 5"
    )
    assert "cache_mismatch" in types(await reconcile(path))
    stored, cached = await path.stored("u_given"), await path.cached("u_given")
    assert stored is not None
    assert cached is not None
    assert cached.first_version == stored.first_version
    assert types(await reconcile(path, is_check=True)) == {}


async def test_a_checkout_that_ended_unseen_is_read_again(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.drain()
    session = await path.open_checkout(customer)
    await path.execute(
        """
        INSERT INTO checkout_sessions
            (ref, project, app, user_key, stripe_session_id, mode, status, items, expires_at)
        SELECT gen_random_uuid(), project, 'editor', user_key, $1, 'subscription', 'open', '[]',
               clock_timestamp() - interval '1 min' FROM users
        """,
        session,
    )
    await path.create(f"/v1/checkout/sessions/{session}/expire", {})
    await _forget_missing_events(path)
    assert types(await reconcile(path)) == {"stale_checkout": 1}
    await path.drain()
    assert (await path.rows("SELECT status FROM checkout_sessions")) == [{"status": "expired"}]


async def test_a_pass_takes_what_is_left_of_the_read_budget(path: EventPath) -> None:
    """With a rate, every read of a pass is a slot of the budget that everybody shares."""
    own = msgspec.structs.replace(path.context.settings, stripe_rate=50.0)
    async with open_context("worker", own) as context:
        run = await begin(context, Wish(), OPERATOR)
        await carry_out(context, run.id)
        assert (await show_run(context, None, run.id)).run.state == "done"
    (row,) = await path.rows("SELECT next_at > '-infinity' AS used FROM stripe_budget")
    assert row["used"]
