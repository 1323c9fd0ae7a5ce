import asyncio
import time
from typing import Any

import pytest
import stripe

from deploy.local.stripe_simulator.simulator import CLOCK_S
from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.clocks import (
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
from tests.ingress.stripe_simulator.sdk import ask, open_session
from tests.waiting import until

SUBSCRIPTION = "customer.subscription"


async def begin_trial(
    client: stripe.StripeClient, days: int = 10, **params: Any
) -> tuple[str, dict[str, Any]]:
    clock = await new_clock(client)
    return clock, await subscribe_on(client, clock, "price_month", trial_period_days=days, **params)


def ending(missing: str) -> dict[str, Any]:
    return {"trial_settings": {"end_behavior": {"missing_payment_method": missing}}}


async def test_trial_bills_nothing_and_is_told_three_days_before_it_ends(client: stripe.StripeClient) -> None:
    clock, made = await begin_trial(client)
    (first,) = await invoices_of(client, made)
    assert (first["status"], first["amount_due"]) == ("paid", 0)
    await advance(client, clock, NEW_YEAR + 7 * DAY - 1)
    assert await happened(client, f"{SUBSCRIPTION}.trial_will_end") == []
    await advance(client, clock, NEW_YEAR + 7 * DAY)
    told = [(f"{SUBSCRIPTION}.trial_will_end", NEW_YEAR + 7 * DAY)]
    assert await happened(client, f"{SUBSCRIPTION}.trial_will_end") == told


async def test_end_of_a_short_trial_is_told_at_once(client: stripe.StripeClient) -> None:
    await begin_trial(client, days=2)
    told = [(f"{SUBSCRIPTION}.trial_will_end", NEW_YEAR)]
    assert await happened(client, f"{SUBSCRIPTION}.trial_will_end") == told


async def test_ended_trial_becomes_active_and_is_billed_an_hour_later(client: stripe.StripeClient) -> None:
    clock, made = await begin_trial(client)
    await advance(client, clock, NEW_YEAR + 10 * DAY)
    active = await read(client, made)
    assert (active["status"], active["billing_cycle_anchor"]) == ("active", NEW_YEAR + 10 * DAY)
    assert active["items"]["data"][0]["current_period_end"] == NEW_YEAR + 41 * DAY
    await advance(client, clock, NEW_YEAR + 10 * DAY + HOUR)
    invoice = (await invoices_of(client, made))[0]
    assert (invoice["billing_reason"], invoice["status"], invoice["amount_paid"]) == (
        "subscription_cycle",
        "paid",
        1900,
    )


@pytest.mark.parametrize(
    ("missing", "status", "event"),
    [("cancel", "canceled", "deleted"), ("pause", "paused", "paused")],
)
async def test_trial_without_a_way_to_pay_ends_as_its_settings_say(
    client: stripe.StripeClient, missing: str, status: str, event: str
) -> None:
    clock, made = await begin_trial(client, card=None, **ending(missing))
    await advance(client, clock, NEW_YEAR + 10 * DAY)
    assert (await read(client, made))["status"] == status
    assert (f"{SUBSCRIPTION}.{event}", NEW_YEAR + 10 * DAY) in await happened(client, SUBSCRIPTION)
    assert len(await invoices_of(client, made)) == 1


@pytest.mark.parametrize(
    ("missing", "status", "told"),
    [
        ("cancel", "canceled", [f"{SUBSCRIPTION}.deleted"]),
        ("pause", "paused", [f"{SUBSCRIPTION}.updated", f"{SUBSCRIPTION}.paused"]),
    ],
)
async def test_trial_ended_by_a_call_without_a_way_to_pay_ends_as_its_settings_say(
    client: stripe.StripeClient, missing: str, status: str, told: list[str]
) -> None:
    clock, made = await begin_trial(client, card=None, **ending(missing))
    await advance(client, clock, NEW_YEAR + 2 * DAY)
    before = await happened(client, SUBSCRIPTION)
    ended = await ask(client, "post", f"/v1/subscriptions/{made['id']}", trial_end="now")
    assert (ended["status"], ended["trial_end"]) == (status, NEW_YEAR + 2 * DAY)
    since = (await happened(client, SUBSCRIPTION))[len(before) :]
    assert since == [(event, NEW_YEAR + 2 * DAY) for event in told]
    assert len(await invoices_of(client, made)) == 1


async def test_trial_ended_by_a_call_that_brings_a_card_is_billed(client: stripe.StripeClient) -> None:
    _, made = await begin_trial(client, card=None, **ending("pause"))
    card = await ask(client, "post", "/v1/payment_methods/pm_card_visa/attach", customer=made["customer"])
    ended = await ask(
        client, "post", f"/v1/subscriptions/{made['id']}", trial_end="now", default_payment_method=card["id"]
    )
    assert ended["status"] == "active"
    assert (await invoices_of(client, made))[0]["amount_paid"] == 1900


async def test_trial_bought_without_a_card_ends_as_the_session_said(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    clock = await new_clock(client)
    session = await open_session(
        client,
        "price_month",
        customer=await customer_on(client, clock, None),
        payment_method_collection="if_required",
        subscription_data={"trial_period_days": 10, **ending("cancel")},
    )
    await sim.pay(session["id"])
    made = (await ask(client, "get", "/v1/subscriptions", test_clock=clock))["data"][0]
    assert (made["status"], made["default_payment_method"]) == ("trialing", None)
    await advance(client, clock, NEW_YEAR + 10 * DAY)
    assert (await read(client, made))["status"] == "canceled"


async def test_trial_without_a_way_to_pay_goes_on_and_falls_behind_by_default(
    client: stripe.StripeClient,
) -> None:
    clock, made = await begin_trial(client, card=None)
    await advance(client, clock, NEW_YEAR + 10 * DAY)
    assert (await read(client, made))["status"] == "active"
    await advance(client, clock, NEW_YEAR + 10 * DAY + HOUR)
    assert (await read(client, made))["status"] == "past_due"
    assert (await invoices_of(client, made))[0]["status"] == "open"


async def test_trial_can_be_moved_and_then_tells_of_its_end_again(client: stripe.StripeClient) -> None:
    clock, made = await begin_trial(client)
    await advance(client, clock, NEW_YEAR + 8 * DAY)
    later = NEW_YEAR + 20 * DAY
    moved = await ask(client, "post", f"/v1/subscriptions/{made['id']}", trial_end=later)
    assert (moved["status"], moved["trial_start"], moved["trial_end"]) == ("trialing", NEW_YEAR, later)
    await advance(client, clock, later)
    moments = [at for _type, at in await happened(client, f"{SUBSCRIPTION}.trial_will_end")]
    assert moments == [NEW_YEAR + 7 * DAY, later - 3 * DAY]
    assert (await read(client, made))["status"] == "active"


async def test_cancellation_at_the_end_of_a_trial_is_never_billed(client: stripe.StripeClient) -> None:
    clock, made = await begin_trial(client)
    await ask(client, "post", f"/v1/subscriptions/{made['id']}", cancel_at_period_end=True)
    await advance(client, clock, NEW_YEAR + 11 * DAY)
    ended = await read(client, made)
    assert (ended["status"], ended["ended_at"], ended["canceled_at"]) == (
        "canceled",
        NEW_YEAR + 10 * DAY,
        NEW_YEAR,
    )
    assert len(await invoices_of(client, made)) == 1


async def test_a_trial_whose_end_has_passed_goes_on_while_the_clock_stands(
    client: stripe.StripeClient, sim: SimulatorHandle
) -> None:
    customer = await ask(client, "post", "/v1/customers")
    made = await ask(
        client,
        "post",
        "/v1/subscriptions",
        customer=customer["id"],
        items=[{"price": "price_month"}],
        trial_period_days=3,
        **ending("cancel"),
    )
    await sim.post("clock", stands=True)
    await sim.change_subscription(made["id"], trial_end=int(time.time()) - HOUR)
    await asyncio.sleep(1.5 * CLOCK_S)
    assert (await read(client, made))["status"] == "trialing"
    await sim.post("clock")
    await until(lambda: sim.account.load("subscription", made["id"])["status"] == "canceled")
