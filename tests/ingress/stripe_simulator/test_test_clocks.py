import time
from typing import Any

import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.clocks import (
    CLOCKS,
    DAY,
    HOUR,
    NEW_YEAR,
    advance,
    customer_on,
    happened,
    invoices_of,
    new_clock,
    read,
    subscribe_on,
)
from tests.ingress.stripe_simulator.receiver import Receiver
from tests.ingress.stripe_simulator.sdk import ask, open_session, subscribe
from tests.waiting import until

FEBRUARY, MARCH, APRIL = NEW_YEAR + 31 * DAY, NEW_YEAR + 59 * DAY, NEW_YEAR + 90 * DAY


async def test_clock_is_advancing_and_then_ready(client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    path = f"{CLOCKS}/{clock}"
    answered = await ask(client, "post", f"{path}/advance", frozen_time=FEBRUARY)
    assert (answered["status"], answered["frozen_time"]) == ("advancing", NEW_YEAR)
    assert answered["status_details"] == {"advancing": {"target_frozen_time": FEBRUARY}}
    ready = await ask(client, "get", path)
    assert (ready["status"], ready["frozen_time"], ready["status_details"]) == ("ready", FEBRUARY, {})
    assert await happened(client, "test_helpers.test_clock.ready") == [
        ("test_helpers.test_clock.ready", FEBRUARY)
    ]
    assert [row["id"] for row in (await ask(client, "get", CLOCKS))["data"]] == [clock]


async def test_renewal_is_drafted_then_finalized_and_paid_an_hour_later(client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    made = await subscribe_on(client, clock, "price_month")
    assert made["items"]["data"][0]["current_period_end"] == FEBRUARY
    await advance(client, clock, FEBRUARY)
    (draft, first) = await invoices_of(client, made)
    assert (draft["status"], draft["billing_reason"], draft["created"]) == (
        "draft",
        "subscription_cycle",
        FEBRUARY,
    )
    assert draft["automatically_finalizes_at"] == FEBRUARY + HOUR
    renewed = await read(client, made)
    item = renewed["items"]["data"][0]
    assert (item["current_period_start"], item["current_period_end"]) == (FEBRUARY, MARCH)
    assert renewed["latest_invoice"] == draft["id"]
    await advance(client, clock, FEBRUARY + HOUR)
    paid = (await invoices_of(client, made))[0]
    assert (paid["id"], paid["status"], paid["amount_paid"]) == (draft["id"], "paid", 1900)
    assert paid["status_transitions"]["paid_at"] == FEBRUARY + HOUR
    (line,) = paid["lines"]["data"]
    assert (line["period"], line["pricing"]["price_details"]["price"]) == (
        {"start": FEBRUARY, "end": MARCH},
        "price_month",
    )
    assert paid["parent"]["subscription_details"]["subscription"] == made["id"]
    assert first["billing_reason"] == "subscription_create"


async def test_events_of_a_renewal_come_in_order_with_the_clocks_time(client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    await subscribe_on(client, clock, "price_month")
    before = len(await happened(client, "customer.subscription", "invoice", "payment_intent", "charge"))
    await advance(client, clock, MARCH - 1)
    events = await happened(client, "customer.subscription", "invoice", "payment_intent", "charge")
    assert events[before:] == [
        ("invoice.created", FEBRUARY),
        ("customer.subscription.updated", FEBRUARY),
        ("invoice.finalized", FEBRUARY + HOUR),
        ("payment_intent.created", FEBRUARY + HOUR),
        ("charge.succeeded", FEBRUARY + HOUR),
        ("payment_intent.succeeded", FEBRUARY + HOUR),
        ("invoice_payment.paid", FEBRUARY + HOUR),
        ("invoice.paid", FEBRUARY + HOUR),
        ("invoice.payment_succeeded", FEBRUARY + HOUR),
    ]


async def test_what_is_due_for_several_customers_happens_in_time_order(client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    await subscribe_on(client, clock, "price_month")
    await advance(client, clock, NEW_YEAR + 10 * DAY)
    await subscribe_on(client, clock, "price_month")
    await advance(client, clock, MARCH)
    moments = [moment for _type, moment in await happened(client, "invoice", "customer.subscription")]
    assert moments == sorted(moments)
    assert moments[-1] == MARCH


async def test_thirty_first_of_january_renews_on_the_last_day_of_each_month(
    client: stripe.StripeClient,
) -> None:
    clock = await new_clock(client, NEW_YEAR + 30 * DAY)
    made = await subscribe_on(client, clock, "price_month")
    ends = []
    for _month in range(3):
        end = (await read(client, made))["items"]["data"][0]["current_period_end"]
        ends.append((end - NEW_YEAR) // DAY)
        await advance(client, clock, end)
    assert ends == [58, 89, 119]  # 28 February, 31 March, 30 April


async def test_year_of_monthly_renewals_is_twelve_paid_invoices_more(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    clock = await new_clock(client)
    made = await subscribe_on(client, clock, "price_month")
    await sim.advance(clock, NEW_YEAR + 365 * DAY + HOUR)
    invoices = await invoices_of(client, made)
    assert [row["status"] for row in invoices] == ["paid"] * 13
    assert {row["amount_paid"] for row in invoices} == {1900}
    assert (await read(client, made))["items"]["data"][0]["current_period_start"] == NEW_YEAR + 365 * DAY


@pytest.mark.parametrize("target", [NEW_YEAR, NEW_YEAR - 1, MARCH + 1])
async def test_clock_cannot_go_back_nor_beyond_two_intervals(
    client: stripe.StripeClient, target: int
) -> None:
    clock = await new_clock(client)
    await subscribe_on(client, clock, "price_month")
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await advance(client, clock, target)
    assert caught.value.param == "frozen_time"
    assert (await ask(client, "get", f"{CLOCKS}/{clock}"))["frozen_time"] == NEW_YEAR


async def test_control_plane_does_not_move_a_clock_back_either(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    with pytest.raises(AssertionError, match="must be after"):
        await sim.advance(await new_clock(client), NEW_YEAR)


async def test_clock_without_a_subscription_goes_two_years_at_most(client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    with pytest.raises(stripe.InvalidRequestError, match="two years"):
        await advance(client, clock, NEW_YEAR + 731 * DAY)
    await advance(client, clock, NEW_YEAR + 730 * DAY)


async def test_objects_of_a_clock_are_made_and_changed_in_its_time(client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    made = await subscribe_on(client, clock, "price_month")
    assert (made["test_clock"], made["created"], made["start_date"]) == (clock, NEW_YEAR, NEW_YEAR)
    invoice = await ask(client, "get", f"/v1/invoices/{made['latest_invoice']}")
    assert (invoice["test_clock"], invoice["created"]) == (clock, NEW_YEAR)
    await advance(client, clock, NEW_YEAR + DAY)
    leaving = await ask(client, "post", f"/v1/subscriptions/{made['id']}", cancel_at_period_end=True)
    assert leaving["canceled_at"] == NEW_YEAR + DAY


@pytest.mark.parametrize("noun", ["customers", "subscriptions", "invoices", "invoiceitems"])
async def test_lists_leave_test_clocks_out_unless_they_are_named(
    client: stripe.StripeClient, noun: str
) -> None:
    clock = await new_clock(client)
    inside, outside = await subscribe_on(client, clock, "price_month"), await subscribe(client, "price_month")
    for made in (inside, outside):
        item = {"customer": made["customer"], "amount": 5, "currency": "usd"}
        await ask(client, "post", "/v1/invoiceitems", **item)

    async def listed(**filters: Any) -> list[str]:
        rows = (await ask(client, "get", f"/v1/{noun}", **filters))["data"]
        return [row.get("customer", row["id"]) for row in rows]

    assert await listed() == [outside["customer"]]
    if noun in {"customers", "subscriptions"}:
        assert await listed(test_clock=clock) == [inside["customer"]]
    if noun != "customers":
        assert await listed(customer=inside["customer"]) == [inside["customer"]]


async def test_clock_takes_three_customers(client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    for _number in range(3):
        await customer_on(client, clock)
    with pytest.raises(stripe.InvalidRequestError, match="at most 3 customers"):
        await customer_on(client, clock)


async def test_known_customer_and_what_it_has_can_be_attached_to_a_new_clock(
    client: stripe.StripeClient,
) -> None:
    made = await subscribe(client, "price_month")
    end = made["items"]["data"][0]["current_period_end"]
    moment = made["created"] + DAY
    wanted = {"customer": made["customer"], "frozen_time": moment}
    clock = (await ask(client, "post", CLOCKS, **wanted))["id"]
    assert (await read(client, made))["test_clock"] == clock
    (updated,) = (await ask(client, "get", "/v1/events", type="customer.updated"))["data"][:1]
    assert updated["data"]["previous_attributes"] == {"test_clock": None}
    await advance(client, clock, end + HOUR)
    assert [row["status"] for row in await invoices_of(client, made)] == ["paid", "paid"]
    with pytest.raises(stripe.InvalidRequestError, match="already attached"):
        await ask(client, "post", CLOCKS, **wanted)


async def test_nothing_of_a_deleted_customer_is_billed_any_more(client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    made = await subscribe_on(client, clock, "price_month")
    await advance(client, clock, FEBRUARY)
    draft = {"customer": made["customer"], "auto_advance": True}
    await ask(client, "post", "/v1/invoices", **draft)
    await ask(client, "delete", f"/v1/customers/{made['customer']}")
    told = len(await happened(client, ""))
    await advance(client, clock, FEBRUARY + 20 * DAY)
    assert {name for name, _at in (await happened(client, ""))[told:]} == {
        "test_helpers.test_clock.advancing",
        "test_helpers.test_clock.ready",
    }


async def test_without_a_clock_time_is_real(
    sim: SimulatorHandle, receiver: Receiver, client: stripe.StripeClient
) -> None:
    made = await subscribe(client, "price_month")
    await sim.settled()
    known = len(receiver.received)
    await sim.change_subscription(made["id"], cancel_at=int(time.time()))
    await receiver.wait_for(known + 2)
    assert {event["type"] for event in receiver.events[known:]} == {
        "customer.subscription.updated",
        "customer.subscription.deleted",
    }


async def test_nonsense_in_one_row_does_not_stop_time_for_the_others(
    sim: SimulatorHandle, client: stripe.StripeClient, caplog: pytest.LogCaptureFixture
) -> None:
    spoilt, sound = await subscribe(client, "price_month"), await subscribe(client, "price_month")
    await sim.change_subscription(spoilt["id"], cancel_at="tomorrow")
    await sim.change_subscription(sound["id"], cancel_at=int(time.time()))

    await until(lambda: sim.account.load("subscription", sound["id"])["status"] == "canceled")
    assert "a deed of account" in caplog.text


async def test_deleted_clock_takes_its_customers_along(client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    made = await subscribe_on(client, clock, "price_month")
    deleted = await ask(client, "delete", f"{CLOCKS}/{clock}")
    assert deleted == {"id": clock, "object": "test_helpers.test_clock", "deleted": True}
    assert (await ask(client, "get", f"/v1/customers/{made['customer']}"))["deleted"] is True
    assert (await read(client, made))["status"] == "canceled"
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await ask(client, "get", f"{CLOCKS}/{clock}")
    assert caught.value.http_status == 404


async def test_checkout_session_of_a_clock_expires_in_its_time(client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    session = await open_session(client, "price_once", customer=await customer_on(client, clock))
    assert session["expires_at"] == NEW_YEAR + DAY
    await advance(client, clock, NEW_YEAR + DAY - 1)
    path = f"/v1/checkout/sessions/{session['id']}"
    assert (await ask(client, "get", path))["status"] == "open"
    await advance(client, clock, NEW_YEAR + DAY)
    assert (await ask(client, "get", path))["status"] == "expired"


async def test_purchase_on_the_page_happens_in_the_clocks_time(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    clock = await new_clock(client)
    session = await open_session(client, "price_month", customer=await customer_on(client, clock))
    await sim.pay(session["id"])
    made = (await ask(client, "get", "/v1/subscriptions", test_clock=clock))["data"][0]
    assert (made["created"], made["items"]["data"][0]["current_period_end"]) == (NEW_YEAR, FEBRUARY)
    await advance(client, clock, FEBRUARY + HOUR)
    assert [row["status"] for row in await invoices_of(client, made)] == ["paid", "paid"]


async def test_webhooks_of_a_clock_are_signed_in_real_time(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    clock = await new_clock(client)
    await subscribe_on(client, clock, "price_month")
    await advance(client, clock, MARCH)
    await sim.settled()
    for signature, body in receiver.received:
        stripe.WebhookSignature.verify_header(body.decode(), signature, "whsec_test", tolerance=60)
    assert {event["created"] for event in receiver.events} >= {NEW_YEAR, FEBRUARY, MARCH}
