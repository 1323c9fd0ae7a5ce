import time
from typing import Any

import aiohttp
import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.sdk import Json, ask, event_types, open_session

SUBSCRIPTION_EVENTS = [
    "customer.created",
    "payment_method.attached",
    "invoice.created",
    "customer.subscription.created",
    "invoice.finalized",
    "payment_intent.created",
    "charge.succeeded",
    "payment_intent.succeeded",
    "invoice_payment.paid",
    "invoice.paid",
    "invoice.payment_succeeded",
    "customer.updated",
    "checkout.session.completed",
]


async def reread(client: stripe.StripeClient, session: Json, *expand: str) -> Json:
    path = f"/v1/checkout/sessions/{session['id']}"
    return await ask(client, "get", path, **({"expand": list(expand)} if expand else {}))


async def look(sim: SimulatorHandle, session: Json) -> tuple[int, str]:
    async with aiohttp.ClientSession() as browser, browser.get(f"{sim.url}/c/pay/{session['id']}") as answer:
        return answer.status, await answer.text()


async def test_paid_subscription_session_makes_everything_stripe_makes(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    session = await open_session(
        client,
        "price_month",
        line_items=[{"price": "price_month", "quantity": 5}],
        subscription_data={"metadata": {"tollhouse_user": "u1"}},
        metadata={"only": "here"},
        client_reference_id="ref-1",
    )
    assert (session["status"], session["payment_status"]) == ("open", "unpaid")
    assert (session["subscription"], session["amount_total"]) == (None, 9500)
    assert await sim.pay(session["id"]) == f"http://localhost:3000/ok?session={session['id']}"
    paid = await reread(client, session, "subscription", "subscription.latest_invoice.payments")
    assert (paid["status"], paid["payment_status"]) == ("complete", "paid")
    subscription = paid["subscription"]
    assert subscription["status"] == "active"
    assert subscription["metadata"] == {"tollhouse_user": "u1"}
    (item,) = subscription["items"]["data"]
    assert (item["price"]["id"], item["quantity"]) == ("price_month", 5)
    assert 28 * 86400 <= item["current_period_end"] - item["current_period_start"] <= 31 * 86400
    invoice = subscription["latest_invoice"]
    assert (invoice["status"], invoice["amount_paid"], invoice["id"]) == ("paid", 9500, paid["invoice"])
    assert invoice["parent"]["subscription_details"]["subscription"] == subscription["id"]
    assert invoice["lines"]["data"][0]["pricing"]["price_details"]["price"] == "price_month"
    (payment,) = invoice["payments"]["data"]
    intent_path = f"/v1/payment_intents/{payment['payment']['payment_intent']}"
    intent = await ask(client, "get", intent_path, expand=["latest_charge"])
    assert (intent["status"], intent["latest_charge"]["amount_captured"]) == ("succeeded", 9500)
    assert {intent["customer"], subscription["customer"], invoice["customer"]} == {paid["customer"]}


async def test_events_of_a_purchase_are_stripes_in_order_and_share_their_second(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    session = await open_session(client, "price_month")
    await sim.pay(session["id"])
    assert await event_types(client) == SUBSCRIPTION_EVENTS
    events = (await ask(client, "get", "/v1/events", limit=100))["data"]
    assert len({event["created"] for event in events}) <= 2
    created = next(event for event in events if event["type"] == "customer.subscription.created")
    assert created["data"]["object"]["items"]["data"][0]["price"]["id"] == "price_month"
    assert created["api_version"] == stripe.api_version


async def test_event_payload_stays_as_it_was(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    session = await open_session(client, "price_month")
    await sim.pay(session["id"])
    subscription = (await reread(client, session))["subscription"]
    await ask(client, "delete", f"/v1/subscriptions/{subscription}")
    events = await ask(client, "get", "/v1/events", type="customer.subscription.created")
    assert [event["data"]["object"]["status"] for event in events["data"]] == ["active"]


async def test_one_time_session_of_a_guest_pays_without_a_customer(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    session = await open_session(client, "price_once", payment_intent_data={"metadata": {"k": "v"}})
    await sim.pay(session["id"])
    paid = await reread(client, session, "payment_intent.latest_charge")
    assert (paid["customer"], paid["payment_status"]) == (None, "paid")
    assert paid["payment_intent"]["metadata"] == {"k": "v"}
    charge = paid["payment_intent"]["latest_charge"]
    assert (charge["amount_captured"], charge["amount_refunded"], charge["disputed"]) == (500, 0, False)
    found = await ask(client, "get", "/v1/checkout/sessions", payment_intent=paid["payment_intent"]["id"])
    assert [row["id"] for row in found["data"]] == [session["id"]]


async def test_one_time_session_keeps_the_customer_it_was_given(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    customer = await ask(client, "post", "/v1/customers", email="a@example.com")
    session = await open_session(client, "price_once", customer=customer["id"])
    await sim.pay(session["id"])
    paid = await reread(client, session)
    assert (paid["customer"], paid["customer_details"]["email"]) == (customer["id"], "a@example.com")
    assert len((await ask(client, "get", "/v1/customers"))["data"]) == 1


async def test_session_metadata_is_copied_to_nothing(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    session = await open_session(client, "price_month", metadata={"only": "session"})
    await sim.pay(session["id"])
    paid = await reread(client, session, "subscription", "customer")
    assert paid["metadata"] == {"only": "session"}
    assert paid["subscription"]["metadata"] == paid["customer"]["metadata"] == {}


async def test_paying_twice_buys_once(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    session = await open_session(client, "price_month")
    await sim.pay(session["id"])
    with pytest.raises(AssertionError, match="already complete"):
        await sim.pay(session["id"])
    assert "already complete" in (await look(sim, session))[1]
    assert len((await ask(client, "get", "/v1/subscriptions"))["data"]) == 1
    assert (await event_types(client)).count("checkout.session.completed") == 1


async def test_declined_card_leaves_the_session_open_and_can_be_followed_by_a_good_one(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    session = await open_session(client, "price_month")
    assert await sim.decline(session["id"]) == f"/c/pay/{session['id']}"
    assert "card_declined" in (await look(sim, session))[1]
    assert await event_types(client) == [
        "payment_intent.created",
        "charge.failed",
        "payment_intent.payment_failed",
    ]
    open_still = await reread(client, session)
    assert (open_still["status"], open_still["subscription"]) == ("open", None)
    (intent,) = (await ask(client, "get", "/v1/payment_intents"))["data"]
    assert intent["status"] == "requires_payment_method"
    assert intent["last_payment_error"]["code"] == "card_declined"
    await sim.pay(session["id"])
    (intent,) = (await ask(client, "get", "/v1/payment_intents"))["data"]
    assert (intent["status"], intent["last_payment_error"]) == ("succeeded", None)


async def test_cancel_leads_back_and_changes_nothing(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    session = await open_session(client, "price_once")
    assert await sim.cancel(session["id"]) == "http://localhost:3000/cancel"
    assert (await reread(client, session))["status"] == "open"
    assert await event_types(client) == []


async def test_trial_is_due_nothing_and_lasts_its_days(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    session = await open_session(client, "price_month", subscription_data={"trial_period_days": 14})
    assert session["amount_total"] == 0
    await sim.pay(session["id"])
    paid = await reread(client, session, "subscription.latest_invoice")
    subscription = paid["subscription"]
    assert (paid["payment_status"], subscription["status"]) == ("no_payment_required", "trialing")
    assert subscription["trial_end"] - subscription["trial_start"] == 14 * 86400
    assert subscription["items"]["data"][0]["current_period_end"] == subscription["trial_end"]
    assert (subscription["latest_invoice"]["status"], subscription["latest_invoice"]["total"]) == ("paid", 0)
    assert (await ask(client, "get", "/v1/charges"))["data"] == []


async def test_one_time_price_beside_a_subscription_is_billed_on_its_first_invoice(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    session = await open_session(client, "price_month", "price_once")
    await sim.pay(session["id"])
    paid = await reread(client, session, "subscription.latest_invoice")
    lines = paid["subscription"]["latest_invoice"]["lines"]["data"]
    assert {line["pricing"]["price_details"]["price"]: line["parent"]["type"] for line in lines} == {
        "price_month": "subscription_item_details",
        "price_once": "invoice_item_details",
    }
    assert paid["subscription"]["latest_invoice"]["total"] == 2400
    assert len(paid["subscription"]["items"]["data"]) == 1


@pytest.mark.parametrize(
    ("outcome", "status", "subscription_status"),
    [("succeeded", "paid", "active"), ("failed", "unpaid", "past_due")],
)
async def test_bank_payment_completes_unpaid_and_settles_later(
    sim: SimulatorHandle, client: stripe.StripeClient, outcome: str, status: str, subscription_status: str
) -> None:
    session = await open_session(client, "price_month")
    await sim.pay_later(session["id"])
    waiting = await reread(client, session, "subscription.latest_invoice")
    assert (waiting["status"], waiting["payment_status"]) == ("complete", "unpaid")
    assert waiting["subscription"]["latest_invoice"]["status"] == "open"
    await sim.settle(session["id"], outcome)
    settled = await reread(client, session, "subscription")
    assert (settled["payment_status"], settled["subscription"]["status"]) == (status, subscription_status)
    assert (await event_types(client))[-1] == f"checkout.session.async_payment_{outcome}"
    with pytest.raises(AssertionError, match="no delayed payment"):
        await sim.settle(session["id"], outcome)


async def test_expired_session_says_so_and_cannot_be_paid(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    session = await open_session(client, "price_once")
    assert (await client.v1.checkout.sessions.expire_async(session["id"])).status == "expired"
    status, said = await look(sim, session)
    assert status == 410
    assert "expired" in said
    with pytest.raises(AssertionError, match="expired"):
        await sim.pay(session["id"])
    assert await event_types(client) == ["checkout.session.expired"]
    with pytest.raises(stripe.InvalidRequestError, match="status of `expired`"):
        await client.v1.checkout.sessions.expire_async(session["id"])


async def test_session_expires_by_itself_when_its_time_is_up(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    session = await open_session(client, "price_once", expires_at=int(time.time()) + 1900)
    row = sim.account.load("checkout.session", session["id"])
    row["expires_at"] = int(time.time())
    sim.account.put("checkout.session", row)
    assert (await look(sim, session))[0] == 410
    assert (await reread(client, session))["status"] == "expired"


async def test_page_shows_what_is_bought_and_escapes_it(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    await sim.seed(products=[{"id": "acme_pro", "name": "<script>alert(1)</script>"}])
    session = await open_session(client, "price_month", customer_email='"><b>@example.com')
    status, said = await look(sim, session)
    assert status == 200
    assert "&lt;script&gt;" in said
    assert "<script" not in said
    assert "<b>" not in said
    assert "19.00 USD" in said
    assert "every month" in said


async def test_unknown_session_has_no_page(sim: SimulatorHandle) -> None:
    assert (await look(sim, {"id": "cs_test_none"}))[0] == 404


async def test_line_items_are_listed_and_expanded(client: stripe.StripeClient) -> None:
    session = await open_session(client, "price_month", "price_once")
    listed = await ask(client, "get", f"/v1/checkout/sessions/{session['id']}/line_items")
    assert [item["price"]["id"] for item in listed["data"]] == ["price_month", "price_once"]
    expanded = await reread(client, session, "line_items")
    assert "line_items" not in session
    assert expanded["line_items"]["data"] == listed["data"]


async def test_currency_may_be_one_that_every_price_offers(client: stripe.StripeClient) -> None:
    assert (await open_session(client, "price_month", currency="eur"))["amount_total"] == 1800
    with pytest.raises(stripe.InvalidRequestError, match="eur"):
        await open_session(client, "price_once", currency="eur")


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"payment_method_types": ["card"]}, "payment_method_types"),
        ({"ui_mode": "hosted"}, "ui_mode"),
        ({"ui_mode": "embedded_page"}, "return_url"),
        ({"mode": "payment"}, "line_items"),
        ({"line_items": [{"price": "price_once"}]}, "line_items"),
        ({"line_items": [{"price": "price_none"}]}, "line_items[0][price]"),
        ({"customer": "cus_none"}, "customer"),
        ({"customer_creation": "always"}, "customer_creation"),
        ({"payment_intent_data": {"description": "x"}}, "payment_intent_data"),
        ({"expires_at": 1}, "expires_at"),
    ],
)
async def test_session_that_stripe_refuses_is_refused(
    client: stripe.StripeClient, params: dict[str, Any], param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await open_session(client, "price_month", **params)
    assert caught.value.param == param
    assert (await ask(client, "get", "/v1/checkout/sessions"))["data"] == []


async def test_known_customer_must_allow_what_tax_collection_writes_back(client: stripe.StripeClient) -> None:
    customer = (await ask(client, "post", "/v1/customers"))["id"]
    collected = {"tax_id_collection": {"enabled": True}, "automatic_tax": {"enabled": True}}
    with pytest.raises(stripe.InvalidRequestError, match="Tax ID collection"):
        await open_session(client, "price_month", customer=customer, **collected)
    with pytest.raises(stripe.InvalidRequestError, match="valid address"):
        await open_session(
            client, "price_month", customer=customer, customer_update={"name": "auto"}, **collected
        )
    allowed = {"name": "auto", "address": "auto"}
    session = await open_session(
        client, "price_month", customer=customer, customer_update=allowed, **collected
    )
    assert session["automatic_tax"]["enabled"] is True


async def test_sessions_are_listed_by_customer_subscription_and_status(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    customer = (await ask(client, "post", "/v1/customers"))["id"]
    bought = await open_session(client, "price_month", customer=customer)
    left = await open_session(client, "price_month", customer=customer)
    await open_session(client, "price_month")
    await sim.pay(bought["id"])
    subscription = (await reread(client, bought))["subscription"]
    for filters, expected in (
        ({"customer": customer}, [left["id"], bought["id"]]),
        ({"customer": customer, "status": "open"}, [left["id"]]),
        ({"subscription": subscription}, [bought["id"]]),
    ):
        listed = await ask(client, "get", "/v1/checkout/sessions", **filters)
        assert [row["id"] for row in listed["data"]] == expected
