"""Subscription schedules: the next phase begins with its period, and the subscription goes on without it."""

from typing import Any

import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.clocks import DAY, NEW_YEAR, new_clock, read, subscribe_on
from tests.ingress.stripe_simulator.sdk import Json, ask

SCHEDULES = "/v1/subscription_schedules"
MONTH = 31 * DAY


async def plan_next(
    client: stripe.StripeClient, subscription: Json, *items: Json, **duration: Any
) -> tuple[str, Json]:
    """A schedule whose next phase has these items; answers its path and what it is then."""
    made = await ask(client, "post", SCHEDULES, from_subscription=subscription["id"])
    path, current = f"{SCHEDULES}/{made['id']}", made["phases"][0]
    held = [{"price": item["price"], "quantity": item["quantity"]} for item in current["items"]]
    begun = {"items": held, "start_date": current["start_date"], "end_date": current["end_date"]}
    coming = {"items": list(items), "proration_behavior": "none", **duration}
    return path, await ask(client, "post", path, phases=[begun, coming])


def held(subscription: Json) -> list[tuple[str, int]]:
    return sorted((item["price"]["id"], item["quantity"]) for item in subscription["items"]["data"])


@pytest.mark.parametrize(
    ("price", "quantity", "total", "days"), [("price_month", 3, 5700, 59), ("price_year", 1, 19000, 396)]
)
async def test_the_next_phase_begins_with_the_renewal_which_bills_it_whole(
    sim: SimulatorHandle, client: stripe.StripeClient, price: str, quantity: int, total: int, days: int
) -> None:
    clock = await new_clock(client)
    made = await subscribe_on(client, clock, "price_month")
    path, planned = await plan_next(client, made, {"price": price, "quantity": quantity})
    assert [phase["start_date"] for phase in planned["phases"]] == [NEW_YEAR, NEW_YEAR + MONTH]
    assert (await read(client, made))["schedule"] == planned["id"]
    await sim.advance(clock, NEW_YEAR + MONTH - 1)
    assert held(await read(client, made)) == [("price_month", 1)]
    await sim.advance(clock, NEW_YEAR + MONTH + 7200)
    after = await read(client, made)
    assert held(after) == [(price, quantity)]
    [item] = after["items"]["data"]
    period = (item["current_period_start"], item["current_period_end"])
    assert period == (NEW_YEAR + MONTH, NEW_YEAR + days * DAY)
    invoice = await ask(client, "get", f"/v1/invoices/{after['latest_invoice']}")
    assert (invoice["status"], invoice["total"], len(invoice["lines"]["data"])) == ("paid", total, 1)
    # The schedule lasts as long as its last phase, and then lets go.
    assert after["schedule"] == planned["id"]
    await sim.advance(clock, NEW_YEAR + days * DAY + 7200)
    assert (await read(client, made))["schedule"] is None
    assert (await ask(client, "get", path))["status"] == "released"


async def test_a_released_schedule_changes_nothing_and_says_so_by_two_events(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    clock = await new_clock(client)
    made = await subscribe_on(client, clock, "price_month")
    path, planned = await plan_next(client, made, {"price": "price_year", "quantity": 1})
    with pytest.raises(stripe.InvalidRequestError, match="managed by the subscription schedule"):
        await ask(client, "post", f"/v1/subscriptions/{made['id']}", cancel_at_period_end=True)
    with pytest.raises(stripe.InvalidRequestError, match="already attached"):
        await ask(client, "post", SCHEDULES, from_subscription=made["id"])
    released = await ask(client, "post", f"{path}/release")
    assert (released["status"], released["released_subscription"]) == ("released", made["id"])
    with pytest.raises(stripe.InvalidRequestError, match="currently in the `released` status"):
        await ask(client, "post", f"{path}/release")
    told = [row for row in sim.account.rows["event"].values() if row["type"].startswith("subscription_sch")]
    assert [row["type"].rpartition(".")[2] for row in told] == ["created", "updated", "released"]
    updates = [
        row["data"]["previous_attributes"]
        for row in sim.account.rows["event"].values()
        if row["type"] == "customer.subscription.updated"
    ]
    assert updates == [{"schedule": None}, {"schedule": planned["id"]}]
    await sim.advance(clock, NEW_YEAR + MONTH + 7200)
    assert held(await read(client, made)) == [("price_month", 1)]


async def test_a_trial_goes_over_into_the_next_phase(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    clock = await new_clock(client)
    made = await subscribe_on(client, clock, "price_month", trial_period_days=7)
    await plan_next(client, made, {"price": "price_year", "quantity": 2})
    await sim.advance(clock, NEW_YEAR + 8 * DAY)
    after = await read(client, made)
    assert (after["status"], held(after)) == ("active", [("price_year", 2)])
    assert (await ask(client, "get", f"/v1/invoices/{after['latest_invoice']}"))["total"] == 38000


async def test_the_end_of_a_subscription_cancels_its_schedule(client: stripe.StripeClient) -> None:
    made = await subscribe_on(client, await new_clock(client), "price_month")
    path, _ = await plan_next(client, made, {"price": "price_year"})
    await ask(client, "delete", f"/v1/subscriptions/{made['id']}")
    assert (await ask(client, "get", path))["status"] == "canceled"
