"""Reads answer the past while `read_lag` is on. An hour is longer than any test: nothing waits for it."""

import asyncio

import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.sdk import Json, ask, subscribe

HOUR_S = 3600.0


async def email_of(client: stripe.StripeClient, customer: Json) -> str | None:
    email: str | None = (await ask(client, "get", f"/v1/customers/{customer['id']}"))["email"]
    return email


async def test_read_answers_the_past_and_a_write_the_present(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    customer = await ask(client, "post", "/v1/customers", email="old@example.com")
    await sim.read_lag(HOUR_S)
    changed = await ask(client, "post", f"/v1/customers/{customer['id']}", email="new@example.com")
    assert changed["email"] == "new@example.com"
    assert await email_of(client, customer) == "old@example.com"
    await sim.read_lag(0)
    assert await email_of(client, customer) == "new@example.com"


async def test_what_is_new_is_not_there_yet(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    await sim.read_lag(HOUR_S)
    made = await subscribe(client, "price_month")
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await ask(client, "get", f"/v1/subscriptions/{made['id']}")
    assert caught.value.code == "resource_missing"
    for path in ("/v1/subscriptions", "/v1/events", "/v1/invoices"):
        assert (await ask(client, "get", path))["data"] == []
    await sim.reset()
    assert sim.simulator.read_lag.lag.seconds == 0


async def test_lists_filters_and_items_are_of_the_past(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    made = await subscribe(client, "price_month")
    (item,) = made["items"]["data"]
    await sim.read_lag(HOUR_S)
    change = {"items": [{"id": item["id"], "price": "price_year"}]}
    await ask(client, "post", f"/v1/subscriptions/{made['id']}", **change, proration_behavior="none")
    await ask(client, "delete", f"/v1/subscriptions/{made['id']}")
    (seen,) = (await ask(client, "get", "/v1/subscriptions", customer=made["customer"]))["data"]
    assert (seen["status"], seen["items"]["data"][0]["price"]["id"]) == ("active", "price_month")
    items = await ask(client, "get", "/v1/subscription_items", subscription=made["id"])
    assert [row["id"] for row in items["data"]] == [item["id"]]


async def test_deleted_row_is_still_seen_in_its_place(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    made = await subscribe(client, "price_month", "price_year")
    first, second = made["items"]["data"]
    await sim.read_lag(HOUR_S)
    change = {"items": [{"id": first["id"], "deleted": True}]}
    await ask(client, "post", f"/v1/subscriptions/{made['id']}", **change, proration_behavior="none")
    seen = await ask(client, "get", f"/v1/subscriptions/{made['id']}")
    assert [item["id"] for item in seen["items"]["data"]] == [first["id"], second["id"]]


async def test_lag_ends_when_its_time_has_passed(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    customer = await ask(client, "post", "/v1/customers", email="old@example.com")
    await sim.read_lag(0.05)
    await ask(client, "post", f"/v1/customers/{customer['id']}", email="new@example.com")
    async with asyncio.timeout(5):
        while await email_of(client, customer) != "new@example.com":
            pass


async def test_share_and_seed_choose_the_same_objects_again(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    customers = [await ask(client, "post", "/v1/customers", email="old@example.com") for _ in range(12)]

    async def behind(seed: int) -> list[bool]:
        await sim.read_lag(HOUR_S, share=0.5, seed=seed)
        for customer in customers:
            await ask(client, "post", f"/v1/customers/{customer['id']}", email=f"{seed}@example.com")
        return [await email_of(client, customer) != f"{seed}@example.com" for customer in customers]

    first, other, again = [await behind(seed) for seed in (1, 2, 1)]
    assert first == again
    assert len({tuple(first), tuple(other)}) == 2
    assert 0 < sum(first) < 12


async def test_only_the_addresses_asked_for_are_behind(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    customer = await ask(client, "post", "/v1/customers", email="old@example.com")
    await sim.read_lag(HOUR_S, path_pattern="/v1/customers/*")
    await ask(client, "post", f"/v1/customers/{customer['id']}", email="new@example.com")
    assert await email_of(client, customer) == "old@example.com"
    listed = await ask(client, "get", "/v1/customers")
    assert listed["data"][0]["email"] == "new@example.com"


@pytest.mark.parametrize("wish", [{"seconds": -1}, {"seconds": 1, "share": 2}, {"colour": "red"}])
async def test_impossible_lag_is_refused(sim: SimulatorHandle, wish: Json) -> None:
    with pytest.raises(AssertionError, match="400"):
        await sim.post("read_lag", **wish)
