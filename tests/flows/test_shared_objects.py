"""Products, prices and test clocks: their own targets, of no user."""

import uuid
from typing import Any

import pytest

from tests.flows.event_path import EventPath


async def deliver(path: EventPath, event_type: str, object_id: str) -> tuple[str, str | None]:
    """An event about an object, synced; answers its state and reason."""
    event_id = f"evt_{uuid.uuid4().hex}"
    data = {"object": {"id": object_id, "object": event_type.rpartition(".")[0]}}
    await path.deliver(
        {"id": event_id, "object": "event", "type": event_type, "livemode": False, "data": data}
    )
    await path.drain()
    (row,) = await path.rows("SELECT state, reason FROM webhook_events WHERE event_id = $1", event_id)
    return row["state"], row["reason"]


async def owners(path: EventPath) -> dict[str, str]:
    return {row["kind"]: row["owner"] for row in await path.rows("SELECT kind, owner FROM sync_targets")}


async def test_a_product_and_a_price_of_the_catalog_are_mirrored_for_their_project(path: EventPath) -> None:
    assert await deliver(path, "product.updated", "acme_pro") == ("processed", None)
    assert await deliver(path, "price.updated", "price_acme.pro.month") == ("processed", None)
    (product,) = await path.rows("SELECT product_id, project, is_active, is_deleted FROM stripe_products")
    assert product == {
        "product_id": "acme_pro",
        "project": "acme",
        "is_active": True,
        "is_deleted": False,
    }
    (price,) = await path.rows(
        "SELECT project, product_id, currency, unit_amount_minor, billing_interval, interval_count FROM"
        " stripe_prices"
    )
    assert price == {
        "project": "acme",
        "product_id": "acme_pro",
        "currency": "usd",
        "unit_amount_minor": 1900,
        "billing_interval": "month",
        "interval_count": 1,
    }
    assert await owners(path) == {"product": "ours", "price": "ours"}


async def test_a_price_made_in_the_dashboard_under_a_known_product_is_ours(path: EventPath) -> None:
    made = await path.create(
        "/v1/prices",
        {"product": "acme_pro", "currency": "usd", "unit_amount": 5, "recurring": {"interval": "day"}},
    )
    assert await deliver(path, "price.created", made["id"]) == ("processed", None)


async def test_a_product_that_only_our_metadata_names_is_ours_if_the_project_exists(path: EventPath) -> None:
    for project, end in (("acme", ("processed", None)), ("nobody", ("foreign", "not_in_catalog"))):
        made = await path.create("/v1/products", {"name": "x", "metadata": {"tollhouse_project": project}})
        assert await deliver(path, "product.created", made["id"]) == end


async def test_a_stranger_on_the_account_is_foreign(path: EventPath) -> None:
    made = await path.create("/v1/products", {"name": "Somebody else's"})
    assert await deliver(path, "product.created", made["id"]) == ("foreign", "not_in_catalog")
    assert await path.rows("SELECT 1 FROM stripe_products") == []
    assert await owners(path) == {"product": "foreign"}


async def test_an_archived_price_is_mirrored_as_such_and_still_grants(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer, "pro", "month")
    await path.create("/v1/prices/price_acme.pro.month", {"active": False})
    for event in await path.events():
        await path.deliver(event)
    await path.drain()
    (price,) = await path.rows("SELECT is_active, is_deleted FROM stripe_prices")
    assert price == {"is_active": False, "is_deleted": False}
    assert await path.is_granted()


async def test_a_product_that_stripe_has_no_more_is_marked_and_one_never_seen_is_foreign(
    path: EventPath,
) -> None:
    await deliver(path, "product.updated", "acme_pro")
    missing = {"error": {"type": "invalid_request_error", "code": "resource_missing"}}
    await path.stripe.fail("/v1/products/*", status=404, times=2, body=missing)
    assert await deliver(path, "product.deleted", "acme_pro") == ("processed", None)
    assert await deliver(path, "product.deleted", "prod_unseen") == ("foreign", "object_missing")
    (row,) = await path.rows("SELECT is_deleted FROM stripe_products")
    assert row["is_deleted"]


async def test_no_answer_is_recomputed_for_a_product(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer, "pro", "month")
    for event in await path.events():
        await path.deliver(event)
    await path.drain()
    before = await path.rows("SELECT catalog_version, next_boundary_at FROM users")
    history = await path.rows("SELECT count(*) FROM entitlement_history")
    await deliver(path, "product.updated", "acme_pro")
    assert await path.rows("SELECT catalog_version, next_boundary_at FROM users") == before
    assert await path.rows("SELECT count(*) FROM entitlement_history") == history


# ── test clocks ──


async def test_a_ready_clock_has_every_linked_customer_read_anew(path: EventPath) -> None:
    clock = await path.make_clock()
    customers = [await path.make_customer(f"u_{n}", test_clock=clock) for n in range(2)]
    await path.make_stripe_customer(test_clock=clock)
    for customer in customers:
        await path.buy(customer, "pro", "month")
    for event in await path.events():
        await path.deliver(event)
    await path.drain()
    await path.stripe.change_card(customers[0], "pm_card_chargeCustomerFail")
    await path.advance(clock, days=32)
    # Of all that happened meanwhile only this one event arrives.
    assert await deliver(path, "test_helpers.test_clock.ready", clock) == ("processed", None)
    assert (await path.answer("u_0"))["export"]["reason"] == "in_grace"
    assert (await path.answer("u_1"))["export"]["reason"] == "subscription_active"
    moved = await path.rows(
        "SELECT type, target_ref FROM webhook_events WHERE type = 'tollhouse.clock_moved'"
    )
    assert {row["target_ref"] for row in moved} == set(customers)
    (frozen,) = await path.rows("SELECT frozen_at, status FROM test_clocks")
    users = await path.rows("SELECT clock_at FROM users")
    assert frozen["status"] == "ready"
    assert {row["clock_at"] for row in users} == {frozen["frozen_at"]}


async def test_on_a_test_clock_answers_are_computed_at_its_time(path: EventPath) -> None:
    clock = await path.make_clock()
    customer = await path.make_customer(test_clock=clock)
    await path.buy(customer, "pass", "once")
    await path.advance(clock, days=40)
    await deliver(path, "test_helpers.test_clock.ready", clock)
    # The pass is of 30 days.
    stored = await path.stored()
    assert stored is not None
    assert stored.clock_at is not None
    assert (await path.answer())["export"]["reason"] == "purchase_expired"


@pytest.mark.parametrize("delivered", ["all", "ready only"])
async def test_a_year_on_a_test_clock_ends_where_stripe_is(path: EventPath, delivered: str) -> None:
    clock = await path.make_clock()
    customer = await path.make_customer(test_clock=clock)
    await path.buy(customer, "pro", "month", quantity=2)
    await path.advance(clock, days=365)
    if delivered == "all":
        for event in await path.events():
            await path.deliver(event)
        await path.drain()
    else:
        await deliver(path, "test_helpers.test_clock.ready", clock)
    answer: dict[str, Any] = await path.answer()
    assert (answer["export"]["reason"], answer["seats"]["value"]) == ("subscription_active", 2)
    (paid,) = await path.rows("SELECT count(*) AS n FROM invoices WHERE status = 'paid'")
    assert paid["n"] >= 12
    assert await path.count_owed() == 0


async def test_a_clock_without_a_customer_of_ours_is_foreign(path: EventPath) -> None:
    clock = await path.make_clock()
    await path.make_stripe_customer(test_clock=clock)
    assert await deliver(path, "test_helpers.test_clock.ready", clock) == ("foreign", "unlinked_customer")
    assert await path.rows("SELECT 1 FROM test_clocks") == []
