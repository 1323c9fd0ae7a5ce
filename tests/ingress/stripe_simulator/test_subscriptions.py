import time
from typing import Any

import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.clocks import DAY, NEW_YEAR, new_clock, subscribe_on
from tests.ingress.stripe_simulator.sdk import ask, event_types, new_payer, subscribe


async def test_subscription_needs_a_way_to_pay(client: stripe.StripeClient) -> None:
    customer = (await ask(client, "post", "/v1/customers"))["id"]
    wanted: dict[str, Any] = {"customer": customer, "items": [{"price": "price_month"}]}
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        await ask(client, "post", "/v1/subscriptions", **wanted)
    trial = await ask(client, "post", "/v1/subscriptions", **wanted, trial_period_days=7)
    assert trial["status"] == "trialing"


async def test_ended_trial_begins_a_paid_period(client: stripe.StripeClient) -> None:
    trial = await subscribe(client, "price_month", trial_period_days=7)
    active = await ask(
        client, "post", f"/v1/subscriptions/{trial['id']}", trial_end="now", expand=["latest_invoice"]
    )
    assert active["status"] == "active"
    assert (active["latest_invoice"]["status"], active["latest_invoice"]["amount_paid"]) == ("paid", 1900)
    assert active["items"]["data"][0]["current_period_end"] > time.time() + 27 * 86400


async def test_cancel_at_period_end_keeps_the_subscription_and_can_be_taken_back(
    client: stripe.StripeClient,
) -> None:
    made = await subscribe(client, "price_month")
    path = f"/v1/subscriptions/{made['id']}"
    leaving = await ask(client, "post", path, cancel_at_period_end=True)
    assert leaving["status"] == "active"
    assert leaving["cancel_at"] == made["items"]["data"][0]["current_period_end"]
    assert leaving["cancellation_details"]["reason"] == "cancellation_requested"
    staying = await ask(client, "post", path, cancel_at_period_end=False)
    assert (staying["cancel_at"], staying["canceled_at"]) == (None, None)
    (last, first) = (await ask(client, "get", "/v1/events", type="customer.subscription.updated"))["data"]
    assert first["data"]["previous_attributes"]["cancel_at_period_end"] is False
    assert last["data"]["previous_attributes"]["cancel_at_period_end"] is True


async def test_portal_like_cancel_at_is_not_cancel_at_period_end(client: stripe.StripeClient) -> None:
    made = await subscribe(client, "price_month")
    moment = int(time.time()) + 3600
    changed = await ask(client, "post", f"/v1/subscriptions/{made['id']}", cancel_at=moment)
    assert (changed["cancel_at"], changed["cancel_at_period_end"]) == (moment, False)


async def test_canceled_subscription_is_hidden_from_the_default_list_and_cannot_be_changed(
    client: stripe.StripeClient,
) -> None:
    made = await subscribe(client, "price_month")
    canceled = await client.v1.subscriptions.cancel_async(made["id"])
    assert (canceled.status, canceled.ended_at is not None) == ("canceled", True)
    for status, expected in ((None, []), ("all", [made["id"]]), ("ended", [made["id"]]), ("active", [])):
        filters = {"status": status} if status else {}
        listed = await ask(client, "get", "/v1/subscriptions", customer=made["customer"], **filters)
        assert [row["id"] for row in listed["data"]] == expected
    with pytest.raises(stripe.InvalidRequestError, match="canceled subscription"):
        await ask(client, "post", f"/v1/subscriptions/{made['id']}", cancel_at_period_end=True)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.subscriptions.cancel_async(made["id"])
    assert caught.value.http_status == 404


async def test_items_are_changed_added_and_removed(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    month = {"currency": "usd", "unit_amount": 300, "recurring": {"interval": "month"}}
    await sim.seed(prices=[{"id": "price_extra", "product": "acme_pass", **month}])
    made = await subscribe(client, "price_month")
    path, first = f"/v1/subscriptions/{made['id']}", made["items"]["data"][0]["id"]
    changes = [{"id": first, "quantity": 3}, {"price": "price_extra", "quantity": 2}]
    both = await ask(client, "post", path, items=changes)
    assert [(i["price"]["id"], i["quantity"]) for i in both["items"]["data"]] == [
        ("price_month", 3),
        ("price_extra", 2),
    ]
    assert both["latest_invoice"] == made["latest_invoice"]
    one = await ask(client, "post", path, items=[{"id": first, "deleted": True}])
    assert [i["price"]["id"] for i in one["items"]["data"]] == ["price_extra"]
    found = await ask(client, "get", "/v1/subscriptions", price="price_extra")
    assert [row["id"] for row in found["data"]] == [made["id"]]
    assert (await ask(client, "get", "/v1/subscriptions", price="price_month"))["data"] == []


@pytest.mark.parametrize(("behavior", "paid"), [("none", 19000), ("create_prorations", 19000 - 1900)])
async def test_change_of_interval_begins_and_bills_a_new_period_less_the_unused_time(
    client: stripe.StripeClient, behavior: str, paid: int
) -> None:
    clock = await new_clock(client)
    made = await subscribe_on(client, clock, "price_month")
    changed = await ask(
        client,
        "post",
        f"/v1/subscriptions/{made['id']}",
        items=[{"id": made["items"]["data"][0]["id"], "price": "price_year"}],
        proration_behavior=behavior,
        expand=["latest_invoice"],
    )
    assert changed["latest_invoice"]["amount_paid"] == paid
    assert changed["items"]["data"][0]["current_period_end"] == NEW_YEAR + 365 * DAY


@pytest.mark.parametrize(
    "items",
    [
        [{"price": "price_month"}],
        [{"id": "si_none", "quantity": 1}],
        [{"price": "price_once"}],
        [{"quantity": 2}],
    ],
)
async def test_impossible_change_of_items_changes_nothing(
    client: stripe.StripeClient, items: list[dict[str, Any]]
) -> None:
    made = await subscribe(client, "price_month")
    with pytest.raises(stripe.InvalidRequestError):
        await ask(client, "post", f"/v1/subscriptions/{made['id']}", items=items)
    assert await ask(client, "get", f"/v1/subscriptions/{made['id']}") == made


async def test_single_items_are_changed_by_their_own_calls(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    month = {"currency": "usd", "unit_amount": 300, "recurring": {"interval": "month"}}
    await sim.seed(prices=[{"id": "price_extra", "product": "acme_pass", **month}])
    made = await subscribe(client, "price_month")
    path = "/v1/subscription_items"
    added = await ask(client, "post", path, subscription=made["id"], price="price_extra", quantity=2)
    assert (added["price"]["id"], added["quantity"], added["subscription"]) == ("price_extra", 2, made["id"])
    billed = {"quantity": 5, "proration_behavior": "always_invoice"}
    assert (await ask(client, "post", f"{path}/{added['id']}", **billed))["quantity"] == 5
    changed = await ask(client, "get", f"/v1/subscriptions/{made['id']}", expand=["latest_invoice"])
    assert changed["latest_invoice"]["billing_reason"] == "subscription_update"
    deleted = await ask(client, "delete", f"{path}/{added['id']}", proration_behavior="none")
    assert deleted == {"id": added["id"], "object": "subscription_item", "deleted": True}
    left = (await ask(client, "get", path, subscription=made["id"]))["data"]
    assert [item["price"]["id"] for item in left] == ["price_month"]
    await ask(client, "delete", f"/v1/subscriptions/{made['id']}")
    with pytest.raises(stripe.InvalidRequestError, match="canceled subscription"):
        await ask(client, "post", f"{path}/{left[0]['id']}", quantity=2)


async def test_last_item_cannot_be_removed(client: stripe.StripeClient) -> None:
    made = await subscribe(client, "price_month")
    gone = [{"id": made["items"]["data"][0]["id"], "deleted": True}]
    with pytest.raises(stripe.InvalidRequestError, match="at least one item"):
        await ask(client, "post", f"/v1/subscriptions/{made['id']}", items=gone)


async def test_more_than_ten_items_and_lines_are_paged(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    month = {"currency": "usd", "unit_amount": 100, "recurring": {"interval": "month"}}
    names = [f"price_{number:02d}" for number in range(12)]
    await sim.seed(prices=[{"id": name, "product": "acme_pro", **month} for name in names])
    made = await subscribe(client, *names)
    assert [item["price"]["id"] for item in made["items"]["data"]] == names[:10]
    assert made["items"]["has_more"] is True
    assert made["items"]["url"] == f"/v1/subscription_items?subscription={made['id']}"
    rest = await ask(
        client,
        "get",
        "/v1/subscription_items",
        subscription=made["id"],
        starting_after=made["items"]["data"][-1]["id"],
    )
    assert [item["price"]["id"] for item in rest["data"]] == names[10:]
    invoice = await ask(client, "get", f"/v1/invoices/{made['latest_invoice']}")
    assert (len(invoice["lines"]["data"]), invoice["lines"]["has_more"]) == (10, True)
    lines = await ask(client, "get", f"/v1/invoices/{invoice['id']}/lines", limit=100)
    assert len(lines["data"]) == 12
    assert sum(line["amount"] for line in lines["data"]) == invoice["total"] == 1200


async def test_invoices_and_their_payments_are_found(client: stripe.StripeClient) -> None:
    made, other = await subscribe(client, "price_month"), await subscribe(client, "price_month")
    for filters in ({"customer": made["customer"]}, {"subscription": made["id"]}):
        listed = await ask(client, "get", "/v1/invoices", **filters, status="paid")
        assert [row["id"] for row in listed["data"]] == [made["latest_invoice"]]
        assert (await ask(client, "get", "/v1/invoices", **filters, status="open"))["data"] == []
    payments = await ask(client, "get", "/v1/invoice_payments", invoice=made["latest_invoice"])
    (payment,) = payments["data"]
    assert (payment["invoice"], payment["status"]) == (made["latest_invoice"], "paid")
    by_intent = {"type": "payment_intent", "payment_intent": payment["payment"]["payment_intent"]}
    found = await ask(client, "get", "/v1/invoice_payments", payment=by_intent)
    assert [row["id"] for row in found["data"]] == [payment["id"]]
    assert other["latest_invoice"] != made["latest_invoice"]


async def test_control_plane_sets_a_status_and_says_so_like_stripe(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    made = await subscribe(client, "price_month")
    await sim.change_subscription(made["id"], status="past_due")
    assert (await ask(client, "get", f"/v1/subscriptions/{made['id']}"))["status"] == "past_due"
    (event,) = (await ask(client, "get", "/v1/events", type="customer.subscription.updated"))["data"]
    assert event["data"]["previous_attributes"] == {"status": "active"}
    with pytest.raises(AssertionError, match="colour"):
        await sim.change_subscription(made["id"], colour="red")


async def test_create_call_emits_its_request_and_key(client: stripe.StripeClient) -> None:
    payer = await new_payer(client)
    items = [{"price": "price_month"}]
    await ask(client, "post", "/v1/subscriptions", customer=payer["id"], items=items, key="my-key")
    (event,) = (await ask(client, "get", "/v1/events", type="customer.subscription.created"))["data"]
    assert event["request"]["idempotency_key"] == "my-key"
    assert "customer.subscription.updated" not in await event_types(client)
