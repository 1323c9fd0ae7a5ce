"""Paid things to give back: purchases and subscriptions, by the shortest way."""

import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.sdk import Json, ask, open_session


async def buy(sim: SimulatorHandle, client: stripe.StripeClient) -> Json:
    """The charge of a one-time purchase of 500."""
    session = await open_session(client, "price_once")
    await sim.pay(session["id"])
    return await charge_of_session(client, session["id"])


async def charge_of_session(client: stripe.StripeClient, session_id: str) -> Json:
    session = await ask(client, "get", f"/v1/checkout/sessions/{session_id}")
    listed = await ask(client, "get", "/v1/charges", payment_intent=session["payment_intent"])
    charge: Json = listed["data"][0]
    return charge


async def events_about(client: stripe.StripeClient, *prefixes: str) -> list[str]:
    """Types of the events so far that begin with one of these, oldest first."""
    listed = await ask(client, "get", "/v1/events", limit=100)
    types = [event["type"] for event in reversed(listed["data"])]
    return [name for name in types if name.startswith(prefixes)]
