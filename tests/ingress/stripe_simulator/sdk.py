"""Calls through the real SDK, as plain JSON."""

from typing import Any

import msgspec
import stripe

Json = dict[str, Any]


async def ask(client: stripe.StripeClient, method: str, path: str, **params: Any) -> Json:
    """`raw_request_async`, the answer decoded; errors come out as the SDK's classes."""
    options = {"idempotency_key": params.pop("key")} if "key" in params else {}
    answer = await client.raw_request_async(method, path, **params, **options)
    decoded: Json = msgspec.json.decode(answer.body)
    return decoded


async def open_session(client: stripe.StripeClient, *prices: str, **params: Any) -> Json:
    """A checkout session; the mode follows from the first price."""
    mode = "payment" if prices[0] == "price_once" else "subscription"
    wanted = {
        "mode": mode,
        "line_items": [{"price": price, "quantity": 1} for price in prices],
        "success_url": "http://localhost:3000/ok?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "http://localhost:3000/cancel",
        **params,
    }
    return await ask(client, "post", "/v1/checkout/sessions", **wanted)


async def event_types(client: stripe.StripeClient) -> list[str]:
    """Types of all events so far, oldest first."""
    listed = await ask(client, "get", "/v1/events", limit=100)
    return [event["type"] for event in reversed(listed["data"])]


async def new_payer(client: stripe.StripeClient, **params: Any) -> Json:
    """A customer with a card that pays."""
    card = {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    return await ask(client, "post", "/v1/customers", **card, **params)


async def subscribe(client: stripe.StripeClient, *prices: str, **params: Any) -> Json:
    payer = await new_payer(client)
    items = [{"price": price} for price in prices]
    return await ask(client, "post", "/v1/subscriptions", customer=payer["id"], items=items, **params)
