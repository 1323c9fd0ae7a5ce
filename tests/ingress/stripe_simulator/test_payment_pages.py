"""What the Stripe CLI does to finish a checkout: it names no API version and presses Pay by an API call."""

from typing import Any

import aiohttp
import msgspec
import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.sdk import Json, ask, event_types, open_session

IBANS = {"AT611904300234573201": "succeeded", "IT60X0542811101000000123456": "failed"}


async def new_card(client: stripe.StripeClient, token: str = "tok_visa") -> Json:  # noqa: S107 (a test card)
    card = {"type": "card", "card": {"token": token}, "billing_details": {"name": "Jenny Rosen"}}
    return await ask(client, "post", "/v1/payment_methods", **card)


async def confirm(client: stripe.StripeClient, session: Json, method: Json, **wish: Any) -> Json:
    path = f"/v1/payment_pages/{session['id']}/confirm"
    return await ask(client, "post", path, payment_method=method["id"], **wish)


async def test_confirmed_page_completes_its_session(client: stripe.StripeClient) -> None:
    session = await open_session(client, "price_once")
    assert (await ask(client, "get", f"/v1/payment_pages/{session['id']}"))["id"] == session["id"]
    done = await confirm(client, session, await new_card(client), expected_amount=500)
    assert (done["status"], done["payment_status"]) == ("complete", "paid")
    with pytest.raises(stripe.InvalidRequestError, match="is complete"):
        await confirm(client, session, await new_card(client))


async def test_confirmed_subscription_pays_with_the_given_card(client: stripe.StripeClient) -> None:
    session = await open_session(client, "price_month")
    method = await new_card(client)
    done = await confirm(client, session, method)
    made = await ask(client, "get", f"/v1/subscriptions/{done['subscription']}")
    assert (made["status"], made["default_payment_method"]) == ("active", method["id"])
    assert (await ask(client, "get", f"/v1/payment_methods/{method['id']}"))["customer"] == made["customer"]


async def test_page_that_expects_another_amount_is_refused(client: stripe.StripeClient) -> None:
    session = await open_session(client, "price_once")
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await confirm(client, session, await new_card(client), expected_amount=499)
    assert caught.value.param == "expected_amount"


async def test_declined_card_leaves_the_page_open(client: stripe.StripeClient) -> None:
    session = await open_session(client, "price_once")
    with pytest.raises(stripe.CardError):
        await confirm(client, session, await new_card(client, "tok_chargeCustomerFail"))
    read = await ask(client, "get", f"/v1/checkout/sessions/{session['id']}", expand=["payment_intent"])
    assert (read["status"], read["payment_intent"]["status"]) == ("open", "requires_payment_method")
    assert (await confirm(client, session, await new_card(client)))["payment_status"] == "paid"


async def test_card_that_asks_for_authentication_leaves_the_page_waiting(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    session = await open_session(client, "price_once")
    waiting = await confirm(client, session, await new_card(client, "tok_threeDSecure2Required"))
    assert waiting["status"] == "open"
    await sim.pay(session["id"])
    assert "payment_intent.requires_action" in await event_types(client)


@pytest.mark.parametrize(("iban", "outcome"), IBANS.items())
async def test_test_ibans_settle_at_once(client: stripe.StripeClient, iban: str, outcome: str) -> None:
    session = await open_session(client, "price_once")
    method = await ask(client, "post", "/v1/payment_methods", type="sepa_debit", sepa_debit={"iban": iban})
    done = await confirm(client, session, method)
    assert done["payment_status"] == ("paid" if outcome == "succeeded" else "unpaid")
    types = await event_types(client)
    assert types[-1] == f"checkout.session.async_payment_{outcome}"
    assert "checkout.session.completed" in types


async def test_unknown_token_is_refused(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="No such token"):
        await new_card(client, "tok_gold")


async def test_method_is_described_later(client: stripe.StripeClient) -> None:
    method = await new_card(client)
    path = f"/v1/payment_methods/{method['id']}"
    changed = await ask(client, "post", path, metadata={"order": "7"})
    assert (changed["metadata"], changed["billing_details"]["name"]) == ({"order": "7"}, "Jenny Rosen")
    assert (await event_types(client))[-1] == "payment_method.updated"


@pytest.mark.parametrize(("version", "status"), [(None, 200), (stripe.api_version, 400)])
async def test_older_parameters_are_for_calls_that_name_no_version(
    sim: SimulatorHandle, version: str | None, status: int
) -> None:
    headers = {"Authorization": f"Bearer {sim.secret_key}"}
    if version is not None:
        headers["Stripe-Version"] = version
    form = {"amount": "100", "currency": "usd", "payment_method_types[0]": "card"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{sim.url}/v1/payment_intents", data=form, headers=headers) as answer,
    ):
        body = msgspec.json.decode(await answer.read())
    assert answer.status == status
    assert body.get("object", body.get("error", {}).get("param")) in {
        "payment_intent",
        "payment_method_types",
    }


async def test_3d_secure_on_the_page_is_passed_or_failed(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    session = await open_session(client, "price_once")
    address = await sim.authenticate(session["id"])
    async with aiohttp.ClientSession() as http, http.get(f"{sim.url}{address}") as page:
        assert "Complete authentication" in await page.text()
    await sim.decline(session["id"])
    async with aiohttp.ClientSession() as http, http.get(f"{sim.url}{address}") as page:
        assert "card_declined" in await page.text()
    await sim.authenticate(session["id"])
    await sim.pay(session["id"])
    assert (await ask(client, "get", f"/v1/checkout/sessions/{session['id']}"))["payment_status"] == "paid"
