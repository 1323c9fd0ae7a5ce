"""Customers and subscriptions in simulated time, by the shortest way."""

from typing import Any

import stripe

from tests.ingress.stripe_simulator.sdk import Json, ask

#: 1 January 2026, midnight UTC: where the clocks of the tests begin.
NEW_YEAR = 1_767_225_600
HOUR, DAY = 3600, 86_400
CLOCKS = "/v1/test_helpers/test_clocks"


async def new_clock(client: stripe.StripeClient, at: int = NEW_YEAR) -> str:
    """The id of a clock that stands at this moment."""
    clock_id: str = (await ask(client, "post", CLOCKS, frozen_time=at))["id"]
    return clock_id


async def advance(client: stripe.StripeClient, clock: str, to: int) -> None:
    await ask(client, "post", f"{CLOCKS}/{clock}/advance", frozen_time=to)


async def pass_time(client: stripe.StripeClient, clock: str, seconds: int) -> None:
    now = (await ask(client, "get", f"{CLOCKS}/{clock}"))["frozen_time"]
    await advance(client, clock, now + seconds)


async def customer_on(client: stripe.StripeClient, clock: str, card: str | None = "pm_card_visa") -> str:
    """The id of a customer in the clock's time; None: one without a way to pay."""
    method: dict[str, Any] = {}
    if card is not None:
        method = {"payment_method": card, "invoice_settings": {"default_payment_method": card}}
    customer_id: str = (await ask(client, "post", "/v1/customers", test_clock=clock, **method))["id"]
    return customer_id


async def change_card(client: stripe.StripeClient, customer: str, card: str) -> str:
    """The customer's default method becomes a new one; returns its id."""
    method: str = (await ask(client, "post", f"/v1/payment_methods/{card}/attach", customer=customer))["id"]
    settings = {"default_payment_method": method}
    await ask(client, "post", f"/v1/customers/{customer}", invoice_settings=settings)
    return method


async def subscribe_on(
    client: stripe.StripeClient, clock: str, *prices: str, card: str | None = "pm_card_visa", **params: Any
) -> Json:
    """A subscription of a new customer in the clock's time."""
    customer = await customer_on(client, clock, card)
    items = [{"price": price} for price in prices]
    return await ask(client, "post", "/v1/subscriptions", customer=customer, items=items, **params)


async def read(client: stripe.StripeClient, subscription: Json) -> Json:
    return await ask(client, "get", f"/v1/subscriptions/{subscription['id']}")


async def invoices_of(client: stripe.StripeClient, subscription: Json) -> list[Json]:
    """Newest first."""
    found = await ask(client, "get", "/v1/invoices", subscription=subscription["id"], limit=100)
    invoices: list[Json] = found["data"]
    return invoices


async def happened(client: stripe.StripeClient, *prefixes: str) -> list[tuple[str, int]]:
    """Type and `created` of all events so far that begin with one of these, oldest first."""
    found: list[Json] = []
    cursor: dict[str, str] = {}
    while True:
        page = await ask(client, "get", "/v1/events", limit=100, **cursor)
        found += page["data"]
        if not page["has_more"]:
            break
        cursor = {"starting_after": found[-1]["id"]}
    return [
        (event["type"], event["created"]) for event in reversed(found) if event["type"].startswith(prefixes)
    ]
