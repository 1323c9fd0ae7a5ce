"""Backfill: what another system sold on the account gives access as if we had seen every event of it."""

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from domain.context import Context
from domain.errors import Conflict, Invalid, Unavailable
from domain.flows.backfill import (
    ByMetadata,
    Import,
    Mapping,
    begin,
    carry_out,
    compare,
    complete,
    dry_run,
    list_unmapped,
    open_project,
)
from domain.flows.backfill.mapping import read_mapping
from domain.flows.backfill.stages import STAGES
from domain.flows.ensure_customer import ensure_customer
from domain.flows.record_action import Operator
from domain.flows.status import read_status
from domain.flows.sync import Syncer
from tests.flows.event_path import EventPath
from tests.flows.interleaving import Flow, interleave

OPERATOR = Operator(actor="cli:tester")
#: What was read when is not what was read.
WHEN = {"read_at"}
MOST_AWAITS = 200
#: `BACKFILL_EACH=1` holds the import at every one of its awaits.
EACH = int(os.environ.get("BACKFILL_EACH", "4"))
MIRROR = (
    *("subscriptions", "subscription_items", "purchases", "invoices", "invoice_lines", "invoice_payments"),
    *("payments", "refunds", "disputes", "dispute_funds", "revenue_entries", "recurring_sums", "timers"),
)


def map_of(users: dict[str, str]) -> Mapping:
    return read_mapping(["stripe_customer_id,user_id", *(f"{one},{user}" for one, user in users.items())])


async def backfill(path: EventPath, mapping: Mapping, project: str = "acme", **wish: Any) -> Import:
    begun = await begin(path.context, project, mapping, OPERATOR, **wish)
    return await carry_out(path.context, project, begun.import_id, OPERATOR)


async def mirrored(path: EventPath) -> dict[str, list[dict[str, Any]]]:
    """Everything an import writes, without when it was read."""
    found = {}
    for table in MIRROR:
        rows = await path.rows(f"SELECT * FROM {table} ORDER BY 1, 2")
        found[table] = [{name: value for name, value in row.items() if name not in WHEN} for row in rows]
    return found


async def old_customer(path: EventPath, **metadata: str) -> str:
    """A customer of the old system with a subscription, a purchase that was refunded and one that was not."""
    customer = await path.make_stripe_customer(**metadata)
    await path.buy(customer, "pro", "month", quantity=3)
    session = await path.retrieve(f"/v1/checkout/sessions/{await path.buy(customer, 'pass', 'once')}")
    await path.create("/v1/refunds", {"payment_intent": session["payment_intent"]})
    await path.buy(customer, "pass", "once")
    return customer


async def test_what_was_sold_before_gives_access_exactly_as_a_sync_would_read_it(path: EventPath) -> None:
    customers = [await old_customer(path) for _ in range(3)]
    late = await path.make_stripe_customer()
    invoice = await path.make_invoice(late, "price_acme.pass.once")
    await path.create(f"/v1/invoices/{invoice}/pay", {"paid_out_of_band": True})
    stranger = await old_customer(path)
    users = {customer: f"u_{number}" for number, customer in enumerate([*customers, late])}
    done = await backfill(path, map_of(users))
    counts = done.counts
    assert (done.state, counts.linked, counts.already, counts.unmapped) == ("done", 4, 0, 1)
    assert (counts.customers, counts.left_to_sync) == (5, 0)
    # A page of each list: no object was read by itself.
    assert counts.reads == 5
    assert [await path.is_granted(user_id=user) for user in users.values()] == [True] * 4
    assert (await path.answer("u_1"))["seats"]["value"] == 3
    assert await path.count_owed() == 0
    taken = await mirrored(path)
    versions = await path.rows("SELECT user_key, app, last_version FROM entitlements ORDER BY 1, 2")
    for customer in users:
        await path.mark("customer_all", customer)
    await path.drain()
    assert await mirrored(path) == taken
    assert await path.rows("SELECT user_key, app, last_version FROM entitlements ORDER BY 1, 2") == versions
    unmapped = [one async for one in list_unmapped(path.context, done.import_id)]
    assert [(one.customer_id, one.reason) for one in unmapped] == [(stranger, "nothing maps it")]


@pytest.mark.timeout(900)
async def test_what_happens_during_an_import_is_never_overwritten_by_an_older_page(path: EventPath) -> None:
    """A subscription is canceled and synced while the import stands at one of its awaits, then the next."""
    blocked = 0
    for hold_at in range(1, MOST_AWAITS, EACH):
        customer = await path.make_customer(f"u_{hold_at}")
        await path.buy(customer)
        begun = await begin(path.context, "acme", map_of({customer: f"u_{hold_at}"}), OPERATOR)
        await path.execute("UPDATE imports SET stage = 'subscriptions' WHERE state = 'running'")

        async def take(context: Context, import_id: str = begun.import_id) -> None:
            await carry_out(context, "acme", import_id, OPERATOR)

        ended = await interleave(path.context, take, cancel(path, customer), hold_at)
        await path.drain()
        blocked += ended.is_blocked
        (row,) = await path.rows("SELECT * FROM subscriptions WHERE stripe_customer_id = $1", customer)
        assert row["status"] == "canceled", (hold_at, ended.held_at)
        assert not await path.is_granted(user_id=f"u_{hold_at}"), (hold_at, ended.held_at)
        assert await path.count_owed() == 0
        if ended.held_at is None:
            break
        # The next page is as short.
        path.stripe.account.remove("subscription", row["stripe_subscription_id"])
    assert ended.held_at is None
    # Held with the customer's target locked, the sync of the cancellation waits for the page.
    assert blocked > 0


def cancel(path: EventPath, customer: str) -> Flow:
    async def run(context: Context) -> None:
        found = await path.retrieve(f"/v1/subscriptions?customer={customer}")
        subscription = str(found["data"][0]["id"])
        await path.delete(f"/v1/subscriptions/{subscription}")
        (event,) = (await path.retrieve("/v1/events?type=customer.subscription.deleted&limit=1"))["data"]
        received = await path.deliver(event)
        for target_id in received.owed:
            await Syncer(context).sync_target(target_id)

    return run


async def test_metadata_names_users_and_whoever_it_does_not_name_is_in_the_file(path: EventPath) -> None:
    named = await old_customer(path, account="u_7")
    nobody, blank = await path.make_stripe_customer(), await path.make_stripe_customer(account=" ")
    others = await path.make_customer("u_8", "globex")
    await path.create(f"/v1/customers/{others}", {"metadata": {"account": "u_7"}})
    done = await backfill(path, ByMetadata(key="account"))
    assert (done.counts.linked, done.counts.unmapped) == (1, 3)
    assert (await path.answer("u_7"))["seats"]["value"] == 3
    assert {one.customer_id: one.reason async for one in list_unmapped(path.context, done.import_id)} == {
        nobody: "its metadata has no account",
        blank: "its metadata has no account",
        others: "belongs to project globex already",
    }
    again = await backfill(path, ByMetadata(key="account"))
    assert (again.counts.linked, again.counts.already, again.counts.unmapped) == (0, 1, 3)
    assert (await path.rows("SELECT stripe_customer_id FROM stripe_customers WHERE project = 'acme'")) == [
        {"stripe_customer_id": named}
    ]


async def test_mapped_customers_that_no_list_shows_are_asked_for_by_name(path: EventPath) -> None:
    clocked = await path.make_stripe_customer(test_clock=await path.make_clock())
    await path.buy(clocked)
    deleted = await path.make_stripe_customer()
    await path.delete_customer(deleted)
    first, second = await path.make_stripe_customer(), await path.make_stripe_customer()
    users = {clocked: "u_1", deleted: "u_2", "cus_gone": "u_3", first: "u_4", second: "u_4"}
    done = await backfill(path, map_of(users))
    assert (done.counts.linked, done.counts.unmapped, done.counts.left_to_sync) == (3, 2, 1)
    await path.drain()
    assert await path.is_granted(user_id="u_1")
    assert {one.customer_id: one.reason async for one in list_unmapped(path.context, done.import_id)} == {
        "cus_gone": "Stripe has no such customer in this account and mode",
        deleted: "Stripe has deleted it",
    }
    rows = await path.rows(
        """
        SELECT stripe_customer_id AS id, is_primary FROM stripe_customers JOIN users USING (user_key)
        WHERE user_id = 'u_4'
        """
    )
    # One user with two customers: both count, the newest is for new checkouts.
    assert {row["id"]: row["is_primary"] for row in rows} == {first: False, second: True}


async def test_a_map_of_another_account_is_refused_before_each_of_its_customers_is_asked_for(
    path: EventPath,
) -> None:
    users = {f"cus_elsewhere{number}": f"u_{number}" for number in range(21)}
    with pytest.raises(Invalid, match="None of the 21 customers"):
        await backfill(path, map_of(users))
    (row,) = await path.rows("SELECT state, error FROM imports")
    assert row["state"] == "failed"
    assert "TOLLHOUSE_STRIPE_SECRET_KEY" in row["error"]


async def test_lines_of_customers_that_are_taken_are_named_and_nothing_begins(path: EventPath) -> None:
    mine, theirs = await path.make_customer("u_1"), await path.make_customer("u_2", "globex")
    with pytest.raises(Invalid, match="2 wrong lines: nothing was imported") as refused:
        await begin(path.context, "acme", map_of({mine: "u_9", theirs: "u_2"}), OPERATOR)
    assert [(one["field"], one["detail"]) for one in refused.value.errors] == [
        ("line 2", f"{mine} belongs to user 'u_1' already"),
        ("line 3", f"{theirs} belongs to project globex already"),
    ]
    assert await path.rows("SELECT 1 FROM imports") == []


async def test_an_import_is_one_at_a_time_and_goes_on_with_its_own_map(path: EventPath) -> None:
    customer = await path.make_stripe_customer()
    begun = await begin(path.context, "acme", map_of({customer: "u_1"}), OPERATOR)
    assert await begin(path.context, "acme", map_of({customer: "u_1"}), OPERATOR) == msgspec.structs.replace(
        begun, is_resumed=True
    )
    with pytest.raises(Conflict, match="running with another map"):
        await begin(path.context, "acme", map_of({customer: "u_2"}), OPERATOR)
    with pytest.raises(Conflict, match="not at its end"):
        await complete(path.context, "acme", OPERATOR)
    done = await backfill(path, map_of({customer: "u_2"}), restart=True)
    assert done.counts.linked == 1
    # Whoever was at the one that was given up is not told of an end.
    with pytest.raises(Conflict, match="was given up by another call"):
        await carry_out(path.context, "acme", begun.import_id, OPERATOR)
    states = await path.rows("SELECT state FROM imports ORDER BY started_at")
    assert [row["state"] for row in states] == ["abandoned", "done"]
    actions = await path.rows(
        "SELECT action FROM audit_log WHERE action LIKE 'import.%' OR action LIKE 'customer.%' ORDER BY id"
    )
    assert [row["action"] for row in actions] == [
        *("import.start", "import.end", "import.start", "customer.import", "import.end")
    ]


async def test_until_it_is_complete_a_user_without_a_customer_gets_no_second_one(path: EventPath) -> None:
    known = await path.make_customer("u_1")
    await open_project(path.context, "acme", OPERATOR, allows_new=None)
    assert (await ensure_customer(path.context, "acme", "u_1")).customer_id == known
    with pytest.raises(Conflict, match="backfill complete") as refused:
        await ensure_customer(path.context, "acme", "u_2")
    assert refused.value.code == "import_pending"
    assert await path.rows("SELECT 1 FROM users WHERE user_id = 'u_2'") == []
    # Another project's checkouts go on.
    await ensure_customer(path.context, "globex", "u_2")
    assert (await awaited(path)).startswith("acme: checkouts for users without a customer are refused")
    await open_project(path.context, "acme", OPERATOR, allows_new=True)
    await ensure_customer(path.context, "acme", "u_2")
    await open_project(path.context, "acme", OPERATOR, allows_new=False)
    with pytest.raises(Conflict):
        await ensure_customer(path.context, "acme", "u_3")
    for _ in range(2):
        assert (await complete(path.context, "acme", OPERATOR)).pending_since is None
    await ensure_customer(path.context, "acme", "u_3")
    assert await awaited(path) == "no project waits for customers of an older system"


async def awaited(path: EventPath) -> str:
    status = await read_status(path.context, bells=None)
    return next(part.finding for part in status.parts if part.name == "import")


async def test_stripe_away_for_some_steps_ends_nothing_and_for_long_the_next_call_goes_on(
    path: EventPath,
) -> None:
    customer = await old_customer(path)
    hasty = msgspec.structs.replace(path.context.settings, retry_base_s=0.001)
    path.context = msgspec.structs.replace(path.context, settings=hasty)
    await path.stripe.fail("/v1/charges", status=500, times=4)
    done = await backfill(path, map_of({customer: "u_1"}))
    assert (done.state, done.counts.linked) == ("done", 1)
    await path.stripe.fail("/v1/invoices", status=500, times=None)
    with pytest.raises(Unavailable):
        await backfill(path, map_of({customer: "u_1"}))
    (row,) = await path.rows("SELECT stage, lease_token FROM imports WHERE state = 'running'")
    assert row == {"stage": "invoices", "lease_token": None}
    await path.stripe.clear_faults()
    assert (await backfill(path, map_of({customer: "u_1"}))).state == "done"


async def test_an_object_that_cannot_be_read_leaves_its_customer_to_a_sync(path: EventPath) -> None:
    odd, fine = await old_customer(path), await old_customer(path)
    (charge,) = [
        one
        for one in path.stripe.account.rows["charge"].values()
        if one["customer"] == odd and one["amount"] > 2000
    ][:1]
    path.stripe.account.put("charge", {**charge, "created": "soon"})
    done = await backfill(path, map_of({odd: "u_1", fine: "u_2"}))
    assert done.counts.left_to_sync == 1
    assert await path.is_granted(user_id="u_2")
    assert (await path.states()) == {"pending": 1}
    path.stripe.account.put("charge", charge)
    await path.drain()
    assert (await path.answer("u_1"))["seats"]["value"] == 3

    # A worker takes it between two pages that leave it: one customer all the same.
    path.stripe.account.put("charge", {**charge, "created": "soon"})
    users = map_of({odd: "u_1", fine: "u_2"})
    begun = await begin(path.context, "acme", users, OPERATOR)
    with pytest.raises(Stopped):
        await carry_out(path.context, "acme", begun.import_id, OPERATOR, progress=stop_after("charges"))
    path.stripe.account.put("charge", charge)
    await path.drain()
    assert (await backfill(path, users)).counts.left_to_sync == 1
    assert len(await path.rows("SELECT 1 FROM webhook_events WHERE source = 'import'")) == 3, "1, and then 2"


class Stopped(BaseException):
    """As Ctrl-C is."""


def stop_after(stage: str) -> Callable[[int, int], None]:
    def stop(done: int, of: int) -> None:
        if done == of // len(STAGES) * (STAGES.index(stage) + 1):
            raise Stopped

    return stop


async def test_a_dry_run_says_what_the_import_then_does_and_writes_nothing(path: EventPath) -> None:
    """Two customers of one user, a refunded purchase, a failed payment, and a price that no plan lists."""
    first, second, third = [await old_customer(path) for _ in range(3)]
    failing = await path.make_stripe_customer()
    await path.buy(failing, "pro", "month")
    (found,) = (await path.retrieve(f"/v1/subscriptions?customer={failing}"))["data"]
    await path.stripe.change_subscription(found["id"], status="past_due")
    odd = await path.make_stripe_customer()
    await path.stripe.seed(
        products=[{"id": "prod_old", "name": "Old"}],
        prices=[{"id": "price_old", "product": "prod_old", "currency": "usd", "unit_amount": 500}],
    )
    invoice = await path.make_invoice(odd, "price_old")
    await path.create(f"/v1/invoices/{invoice}/pay", {"paid_out_of_band": True})
    users = {first: "u_1", second: "u_1", failing: "u_2", odd: "u_3", "cus_gone": "u_4"}
    would = await dry_run(path.context, "acme", map_of(users))
    assert await path.rows("SELECT 1 FROM users") == []
    assert await path.rows("SELECT 1 FROM imports") == []
    assert (would.customers, would.linked, would.users, would.reads) == (5, 4, 3, 5)
    assert [(one.price_id, one.times) for one in would.unknown_prices] == [("price_old", 1)]
    assert {(one.customer_id, one.user_id) for one in would.unmapped} == {(third, None), ("cus_gone", "u_4")}
    done = await backfill(path, map_of(users))
    assert (done.counts.linked, done.counts.unmapped) == (4, 2)
    answers = {
        (app, user): await path.answer(user, app)
        for app in ("editor", "viewer")
        for user in ("u_1", "u_2", "u_3")
    }
    granted = Counter(
        (app, feature)
        for (app, _), answer in answers.items()
        for feature, one in answer.items()
        if one["granted"]
    )
    assert {(one.app, one.feature): one.users for one in would.would_be} == granted


async def test_answers_that_differ_from_the_old_system_are_named_line_by_line(path: EventPath) -> None:
    customer = await path.make_customer("u_1")
    await path.buy(customer, "pro", "month")
    await path.mark("customer_all", customer)
    await path.drain()
    lines = ["user_id,feature,granted", "u_1,export,true", "u_1,sso,true", "u_2,export,true", "u_2,sso,false"]
    compared = await compare(path.context, "acme", lines)
    assert (compared.answers, compared.users, compared.unknown_users) == (4, 2, 1)
    assert {
        (one.line, one.user_id, one.feature, one.ours, one.is_unknown) for one in compared.differences
    } == {
        (3, "u_1", "sso", False, False),
        (4, "u_2", "export", False, True),
    }
    assert {one.reason for one in compared.differences} == {"not_in_plan", "no_subscription"}
    agreed = [lines[0], "u_1,export,yes", "u_2,sso,no"]
    assert (await compare(path.context, "acme", agreed)).differences == ()
    with pytest.raises(Invalid, match="nothing was compared"):
        await compare(path.context, "acme", [lines[0], "u_1,exprot,true"])


async def test_a_list_whose_last_object_was_deleted_meanwhile_is_taken_anew(path: EventPath) -> None:
    customer = await old_customer(path)
    await begin(path.context, "acme", map_of({customer: "u_1"}), OPERATOR)
    await path.execute("UPDATE imports SET cursor = 'cus_gone'")
    done = await backfill(path, map_of({customer: "u_1"}))
    assert (done.state, done.counts.linked) == ("done", 1)
    assert await path.is_granted()


async def test_nothing_is_written_of_a_customer_whose_user_was_erased(path: EventPath) -> None:
    gone, here = await path.make_customer("u_1"), await path.make_customer("u_2")
    for customer in (gone, here):
        await path.buy(customer)
    await path.execute("UPDATE users SET erased_at = clock_timestamp() WHERE user_id = 'u_1'")
    await backfill(path, map_of({here: "u_2"}))
    for table in ("subscriptions", "invoices", "payments"):
        rows = await path.rows(f"SELECT DISTINCT stripe_customer_id AS id FROM {table}")
        assert rows == [{"id": here}], table


async def test_progress_only_rises_and_ends_at_its_whole(path: EventPath) -> None:
    customers = [await path.make_stripe_customer() for _ in range(3)]
    await path.buy(customers[0])
    begun = await begin(path.context, "acme", map_of({one: f"u_{one}" for one in customers}), OPERATOR)
    shown: list[tuple[int, int]] = []
    await carry_out(
        path.context,
        "acme",
        begun.import_id,
        OPERATOR,
        progress=lambda done, total: shown.append((done, total)),
    )
    assert [done for done, _ in shown] == sorted({done for done, _ in shown})
    assert {total for _, total in shown} == {shown[-1][0]}
