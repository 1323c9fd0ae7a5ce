"""What a second pair of eyes found: each once lost work, froze an answer or killed a healthy target."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec
import pytest

from domain.errors import Broken, Rejected, Unavailable, Unknown
from domain.flows.grant import GrantWish, Operator, grant
from domain.flows.lookup import Lookup
from domain.flows.publish_catalog import publish_locally, read_catalog
from domain.flows.recompute_due import recompute_due
from domain.flows.revoke import ByGrant, revoke
from domain.flows.sweep import fire_timers
from domain.model import TargetRef
from domain.settings import Settings
from domain.store import checkouts, timers
from domain.stripe_gateway import StripeGateway
from tests.conftest import with_settings
from tests.flows.event_path import CATALOG, EventPath, running_path

MISSING = {
    "error": {"type": "invalid_request_error", "code": "resource_missing", "message": "No such object"}
}


async def only(path: EventPath, type_: str) -> dict[str, Any]:
    (event,) = await path.events(types=[type_])
    return event


async def run_owed(path: EventPath, *, times: int = 1) -> None:
    """Sync what is owed although it is not due, as if the back-offs were over."""
    for _ in range(times):
        await path.execute("UPDATE sync_targets SET due_at = '-infinity' WHERE state = 'active'")
        await path.execute("UPDATE webhook_events SET retry_at = '-infinity' WHERE state = 'pending'")
        for target in await path.owed_targets():
            await path.syncer.sync_target(target)


async def recheck(path: EventPath) -> None:
    await path.make_due("recheck")
    await fire_timers(path.context)
    await path.drain()


async def states_of_targets(path: EventPath) -> set[str]:
    return {row["state"] for row in await path.targets()}


async def test_an_event_that_becomes_due_during_a_run_is_not_settled_over(settings: Settings) -> None:
    async with running_path(settings, retry_base_s=0.4) as path:
        customer = await path.make_customer()
        await path.buy(customer)
        created = await only(path, "customer.subscription.created")
        subscription = created["data"]["object"]["id"]
        await path.stripe.fail(f"/v1/subscriptions/{subscription}", status=400, times=1)
        await path.deliver(created)
        (target,) = await path.owed_targets()
        await path.syncer.sync_target(target)
        await path.deliver(await only(path, "customer.created"))
        await path.stripe.fail(f"/v1/customers/{customer}", latency_s=1.0, times=1)
        await path.syncer.sync_target(target)
        await run_owed(path)
        assert await path.is_granted()
        assert await path.states() == {"processed": 2}


async def test_of_two_wishes_to_read_an_object_again_neither_is_forgotten(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    created = await only(path, "customer.subscription.created")
    for number, status in enumerate(("past_due", "canceled")):
        subject = {**created["data"]["object"], "status": status}
        await path.deliver({**created, "id": f"evt_{number}", "data": {"object": subject}})
        await path.drain()
    (timer,) = await path.rows("SELECT payload FROM timers WHERE cause = 'recheck'")
    awaited = msgspec.json.decode(timer["payload"])["awaited"]
    assert {fields["status"] for fields in awaited} == {"past_due", "canceled"}


async def test_a_timer_that_was_added_to_since_it_was_read_is_not_deleted(path: EventPath) -> None:
    wish = {
        "target": TargetRef("customer", "cus_x"),
        "object_kind": "subscription",
        "object_id": "s",
        "in_s": 0,
    }
    async with path.context.database.connection() as connection:
        await timers.set_recheck(connection, payload=b'{"count":1}', **wish)  # type: ignore[arg-type] # one dict
        (timer,) = await timers.list_due(connection, 5)
        await timers.set_recheck(connection, payload=b'{"count":2}', **wish)  # type: ignore[arg-type]
        assert not await timers.delete_timer(connection, timer)


async def test_an_app_the_catalog_no_longer_lists_is_not_answered_from_the_past(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    await path.deliver(await only(path, "checkout.session.completed"))
    await path.drain()
    assert await path.is_granted()
    await publish_locally(path.context, read_catalog(_without_viewer(), file="catalog.toml"))
    lookup = Lookup(path.context)
    assert b'"granted":true' in (await lookup.find("acme", "editor", "u_1")).body
    with pytest.raises(Unknown):
        await Lookup(msgspec.structs.replace(path.context, cache=None)).find("acme", "viewer", "u_1")
    await lookup.close()


async def test_an_app_that_is_listed_again_does_not_begin_with_answers_whose_sources_are_gone(
    path: EventPath,
) -> None:
    wish = GrantWish(effect="allow", target_kind="app", target="viewer", reason="a test")
    operator = Operator(actor="test")
    granted = await grant(path.context, "acme", "u_1", wish, operator)
    before = await path.stored(app="viewer")
    await publish_locally(path.context, read_catalog(_without_viewer(), file="catalog.toml"))
    await revoke(path.context, "acme", ByGrant(granted.given.id), "a test", operator)
    await publish_locally(path.context, read_catalog(CATALOG.read_text(), file="catalog.toml"))
    after = await path.stored(app="viewer")
    assert before is not None
    assert after is not None
    assert after.first_version > before.last_version
    assert await path.answer(app="viewer") == {}
    await recompute_due(path.context)
    assert not (await path.answer(app="viewer"))["export"]["granted"]


def _without_viewer() -> str:
    """The sample without one of its apps, and without what names it."""
    text = CATALOG.read_text()
    begin = text.index("[projects.acme.apps.viewer]")
    end = text.index("#", begin)
    without = (text[:begin] + text[end:]).replace('apps = ["viewer"]', 'apps = ["editor"]')
    return re.sub(r"weights = \{ editor = \d+, viewer = \d+ \}", "", without)


async def test_an_unlinked_customer_that_cannot_be_read_is_tried_again_and_not_called_foreign(
    path: EventPath,
) -> None:
    customer = await path.make_customer(linked=False)
    await path.buy(customer)
    await path.stripe.fail(f"/v1/customers/{customer}", status=400, times=3)
    for event in await path.events(types=["customer.created", "customer.subscription.created"]):
        await path.deliver(event)
    await run_owed(path, times=3)
    assert await path.states() == {"pending": 2}
    await run_owed(path, times=2)
    assert await path.is_granted()


async def test_a_customer_that_stripe_does_not_show_yet_stays_primary(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.stripe.fail(f"/v1/customers/{customer}", status=404, times=1, body=MISSING)
    await path.deliver(await only(path, "customer.created"))
    await path.drain()
    (row,) = await path.rows("SELECT is_primary, deleted_at FROM stripe_customers")
    assert row == {"is_primary": True, "deleted_at": None}


async def test_a_part_of_an_object_that_stripe_does_not_show_yet_is_read_again(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    completed = await only(path, "checkout.session.completed")
    subscription = completed["data"]["object"]["subscription"]
    await path.stripe.fail(f"/v1/subscriptions/{subscription}", status=404, times=1, body=MISSING)
    await path.deliver(completed)
    await path.drain()
    assert not await path.is_granted()
    await recheck(path)
    assert await path.is_granted()


async def test_a_deletion_that_stripe_does_not_show_yet_is_read_again(path: EventPath) -> None:
    customer = await path.make_customer()
    created = await only(path, "customer.created")
    await path.deliver({**created, "id": "evt_deleted", "type": "customer.deleted"})
    await path.drain()
    await path.delete_customer(customer)
    await recheck(path)
    (row,) = await path.rows("SELECT is_primary FROM stripe_customers")
    assert row == {"is_primary": False}


@asynccontextmanager
async def cutting_server() -> AsyncIterator[str]:
    """A Stripe whose answers break off in the middle."""

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{"id":')
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(cut, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_an_answer_cut_on_its_way_is_an_outage_and_no_broken_object(settings: Settings) -> None:
    async with cutting_server() as url:
        gateway = StripeGateway(with_settings(settings, stripe_api_base=url))

        async def reserve() -> None:
            return None

        with pytest.raises(Unavailable, match="did not arrive"):
            await gateway.read("/v1/account", reserve)
        await gateway.close()


async def test_a_time_no_calendar_has_sets_one_object_aside_and_kills_no_customer(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    created = await only(path, "customer.subscription.created")
    await path.stripe.change_subscription(created["data"]["object"]["id"], cancel_at=10**15)
    await path.buy(customer, "founder", "once")
    await path.deliver(created)
    await path.deliver((await path.events(types=["checkout.session.completed"]))[-1])
    await run_owed(path, times=9)
    assert (await path.answer())["projects"]["value"] == 100
    assert (await path.states())["failed"] == 1
    assert await states_of_targets(path) == {"active"}


async def test_a_user_whose_stored_answer_is_unreadable_does_not_keep_the_others_waiting(
    path: EventPath,
) -> None:
    for number in range(3):
        await path.make_customer(f"u_{number}")
    assert await recompute_due(path.context) == 3
    await path.execute(
        "UPDATE entitlements SET timeline = '[5]' WHERE user_key = (SELECT min(user_key) FROM users)"
    )
    await path.execute("UPDATE users SET catalog_version = 0")
    assert await recompute_due(path.context) == 2


async def test_a_payload_with_bytes_that_are_no_text_is_refused_as_stripes_library_refuses_it(
    path: EventPath,
) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    await path.deliver(await only(path, "customer.subscription.created"))
    body = b'{"id":"evt_odd","type":"customer.updated","data":{"object":{"id":"%s","name":"\xff"}}}'
    with pytest.raises(Rejected):
        await path.deliver_bytes(body % customer.encode())
    await path.drain()
    assert await path.states() == {"processed": 1}


async def test_a_migration_under_a_running_worker_is_no_broken_object(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    created = await only(path, "customer.subscription.created")
    await path.deliver(created)
    await path.drain()
    admin = await asyncpg.connect(path.context.settings.database_url.reveal())
    for table in ("purchases", "subscriptions", "subscription_items", "users", "sync_targets"):
        await admin.execute(f"ALTER TABLE {table} ADD COLUMN later text")
    await admin.close()
    await path.deliver({**created, "id": "evt_again"})
    await run_owed(path, times=2)
    assert {row["failures"] for row in await path.targets()} == {0}
    assert await path.states() == {"processed": 2}


async def test_a_refused_statement_is_named_without_the_row_it_was_about(path: EventPath) -> None:
    async with path.context.database.connection() as connection:
        assert await connection.fetchval("SHOW synchronous_commit") == "on"

    async def insert() -> None:
        async with path.context.database.transaction() as connection:
            await checkouts.lock_or_insert_user(connection, "acme", "alice@example.com" + "x" * 300)

    with pytest.raises(Broken) as refused:
        await insert()
    assert "users_user_id_length_check" in refused.value.detail
    assert "alice" not in refused.value.detail


async def test_a_thin_event_of_an_object_we_know_is_forwarded_without_a_read(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    created = await only(path, "customer.subscription.created")
    await path.deliver(created)
    await path.drain()
    subscription = created["data"]["object"]["id"]
    await path.stripe.fail(f"/v1/subscriptions/{subscription}", status=400, times=1)
    thin = {"id": "evt_thin", "type": "customer.subscription.updated", "livemode": False}
    await path.deliver({**thin, "related_object": {"id": subscription, "type": "subscription"}})
    await run_owed(path, times=3)
    assert {row["failures"] for row in await path.targets()} == {0}
    assert await path.states() == {"processed": 2}


async def test_a_batch_the_read_budget_cannot_serve_in_time_is_served_in_parts(settings: Settings) -> None:
    async with running_path(settings, stripe_rate=20.0, fetch_timeout_s=1.0) as path:
        customer = await path.make_customer()
        for _ in range(12):
            await path.buy(customer)
        for event in await path.events(types=["checkout.session.completed"]):
            await path.deliver(event)
        await run_owed(path, times=8)
        assert (await path.states()).get("processed", 0) > 0
        assert await states_of_targets(path) == {"active"}


async def test_a_reference_of_somebody_else_in_a_payload_does_not_hide_the_customers_own(
    path: EventPath,
) -> None:
    await path.make_customer("u_other", linked=False)
    (other,) = await path.rows("SELECT ref FROM stripe_customers")
    customer = await path.make_customer("u_1", linked=False)
    await path.buy(customer)
    subject = {"id": customer, "object": "customer", "metadata": {"tollhouse_ref": str(other["ref"])}}
    await path.deliver({"id": "evt_forged", "type": "customer.updated", "data": {"object": subject}})
    for event in await path.events(types=["customer.created", "customer.subscription.created"]):
        if customer in str(event["data"]):
            await path.deliver(event)
    await path.drain()
    assert await path.is_granted(user_id="u_1")
