from typing import Any

import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.sdk import Json, ask, event_types, new_payer, subscribe

CONFIGURATIONS, SESSIONS = "/v1/billing_portal/configurations", "/v1/billing_portal/sessions"
SWITCH: Json = {
    "enabled": True,
    "default_allowed_updates": ["price", "quantity"],
    "products": [{"product": "acme_pro", "prices": ["price_month", "price_year"]}],
}
EVERYTHING: Json = {
    "invoice_history": {"enabled": True},
    "payment_method_update": {"enabled": True},
    "subscription_cancel": {"enabled": True},
    "subscription_update": SWITCH,
}


async def configure(client: stripe.StripeClient, **features: Any) -> Json:
    return await ask(client, "post", CONFIGURATIONS, features={**EVERYTHING, **features})


async def open_portal(client: stripe.StripeClient, customer: str, **wish: Any) -> Json:
    return await ask(client, "post", SESSIONS, customer=customer, **wish)


async def open_for(client: stripe.StripeClient, made: Json, kind: str, **details: Any) -> Json:
    """A session for one flow about a subscription."""
    configuration = await configure(client)
    flow = {"type": kind, kind: {"subscription": made["id"], **details}}
    return await open_portal(client, made["customer"], configuration=configuration["id"], flow_data=flow)


async def reread(client: stripe.StripeClient, made: Json) -> Json:
    return await ask(client, "get", f"/v1/subscriptions/{made['id']}")


async def test_session_without_any_configuration_is_refused(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    payer = await new_payer(client)
    with pytest.raises(stripe.InvalidRequestError, match="default configuration has not been created"):
        await open_portal(client, payer["id"])
    default = await sim.save_portal()
    session = await open_portal(client, payer["id"])
    assert (session["configuration"], default["is_default"]) == (default["id"], True)
    assert session["url"].endswith(session["id"])
    assert (await sim.save_portal(features={"invoice_history": {"enabled": False}}))["id"] == default["id"]


async def test_configuration_is_kept_changed_and_listed(client: stripe.StripeClient) -> None:
    made = await client.v1.billing_portal.configurations.create_async(
        {"features": {"subscription_cancel": {"enabled": True}}, "metadata": {"project": "acme"}}
    )
    path = f"{CONFIGURATIONS}/{made.id}"
    changed = await ask(client, "post", path, features={"invoice_history": {"enabled": True}}, active=False)
    assert changed["features"]["subscription_cancel"]["enabled"] is True
    assert changed["features"]["subscription_cancel"]["mode"] == "at_period_end"
    assert (await ask(client, "get", path)) == changed
    assert (await ask(client, "get", CONFIGURATIONS, active=True))["data"] == []
    assert [row["id"] for row in (await ask(client, "get", CONFIGURATIONS))["data"]] == [made.id]
    payer = await new_payer(client)
    with pytest.raises(stripe.InvalidRequestError, match="not active"):
        await open_portal(client, payer["id"], configuration=made.id)
    portal_events = [name for name in await event_types(client) if name.startswith("billing_portal")]
    assert portal_events == ["billing_portal.configuration.created", "billing_portal.configuration.updated"]


async def test_products_of_a_configuration_are_shown_when_they_are_expanded(
    client: stripe.StripeClient,
) -> None:
    made = await configure(client)
    assert "products" not in made["features"]["subscription_update"]
    path = "features.subscription_update.products"
    shown = await ask(client, "get", f"{CONFIGURATIONS}/{made['id']}", expand=[path])
    assert shown["features"]["subscription_update"]["products"] == SWITCH["products"]
    listed = await ask(client, "get", CONFIGURATIONS, expand=[f"data.{path}"])
    assert listed["data"][0]["features"]["subscription_update"]["products"] == SWITCH["products"]


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({"subscription_update": {**SWITCH, "products": []}}, "products"),
        ({"subscription_update": {**SWITCH, "default_allowed_updates": []}}, "default_allowed_updates"),
        ({"subscription_update": {**SWITCH, "products": SWITCH["products"] * 11}}, "maximum 10"),
        (
            {
                "subscription_update": {
                    **SWITCH,
                    "products": [{"product": "acme_pass", "prices": ["price_once"]}],
                }
            },
            "recurring",
        ),
        (
            {
                "subscription_update": {
                    **SWITCH,
                    "products": [{"product": "acme_pass", "prices": ["price_month"]}],
                }
            },
            "does not belong",
        ),
        (
            {
                "subscription_update": {
                    **SWITCH,
                    "products": [{"product": "acme_pro", "prices": ["price_month", "price_month"]}],
                }
            },
            "unique billing intervals",
        ),
        ({"customer_update": {"enabled": True}}, "allowed_updates"),
        ({"subscription_cancel": {"enabled": True, "proration_behavior": "create_prorations"}}, "mode"),
        ({"subscription_pause": {"enabled": True}}, "unknown parameter"),
    ],
)
async def test_features_that_contradict_themselves_are_refused(
    client: stripe.StripeClient, features: Json, said: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError, match=said):
        await configure(client, **features)
    assert (await ask(client, "get", CONFIGURATIONS))["data"] == []


async def test_portal_cancels_by_a_date_and_takes_it_back(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    made = await subscribe(client, "price_month")
    url = (await open_for(client, made, "subscription_cancel"))["url"]
    assert "Cancel subscription" in await sim.portal(url)
    await sim.portal(url, "cancel", subscription=made["id"], feedback="too_expensive")
    leaving = await reread(client, made)
    assert leaving["cancel_at"] == made["items"]["data"][0]["current_period_end"]
    assert (leaving["cancel_at_period_end"], leaving["status"]) == (False, "active")
    assert leaving["cancellation_details"]["feedback"] == "too_expensive"
    with pytest.raises(stripe.InvalidRequestError, match="already set to be canceled"):
        await open_for(client, made, "subscription_cancel")
    with pytest.raises(AssertionError, match="already set to be canceled"):
        await sim.portal(url, "cancel", subscription=made["id"])
    assert "Don't cancel" in await sim.portal(url)
    await sim.portal(url, "resume", subscription=made["id"])
    assert (await reread(client, made))["cancel_at"] is None
    assert (await event_types(client)).count("customer.subscription.updated") == 2


async def test_portal_that_cancels_immediately_ends_at_once(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    made = await subscribe(client, "price_month")
    features = await configure(client, subscription_cancel={"enabled": True, "mode": "immediately"})
    session = await open_portal(client, made["customer"], configuration=features["id"])
    await sim.portal(session["url"], "cancel", subscription=made["id"])
    assert (await reread(client, made))["status"] == "canceled"


async def test_portal_switches_to_an_offered_price_only(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    made = await subscribe(client, "price_month")
    url = (await open_for(client, made, "subscription_update"))["url"]
    await sim.portal(url, "switch", subscription=made["id"], price="price_year")
    (item,) = (await reread(client, made))["items"]["data"]
    assert item["price"]["id"] == "price_year"
    with pytest.raises(AssertionError, match="not offered"):
        await sim.portal(url, "switch", subscription=made["id"], price="price_once")


async def test_confirmation_shows_the_wished_price_and_leads_back(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    made = await subscribe(client, "price_month")
    configuration = await configure(client)
    items = [{"id": made["items"]["data"][0]["id"], "price": "price_year"}]
    flow = {
        "type": "subscription_update_confirm",
        "subscription_update_confirm": {"subscription": made["id"], "items": items},
        "after_completion": {"type": "redirect", "redirect": {"return_url": "http://localhost/done"}},
    }
    wish = {"configuration": configuration["id"], "flow_data": flow}
    session = await open_portal(client, made["customer"], **wish)
    assert session["flow"]["subscription_update_confirm"]["items"] == items
    assert 'value="price_year" selected' in await sim.portal(session["url"])
    landed = await sim.portal(session["url"], "switch", subscription=made["id"], price="price_year")
    assert landed == "http://localhost/done"


async def test_flows_that_stripe_refuses_are_refused(client: stripe.StripeClient) -> None:
    made, other = await subscribe(client, "price_month"), await subscribe(client, "price_month")
    item = made["items"]["data"][0]["id"]

    async def refused(kind: str, subject: Json = made, **details: Any) -> str:
        with pytest.raises(stripe.InvalidRequestError) as caught:
            await open_for(client, subject, kind, **details)
        return str(caught.value)

    confirm = "subscription_update_confirm"
    assert "not among" in await refused(confirm, items=[{"id": item, "price": "price_once"}])
    assert "change nothing" in await refused(confirm, items=[{"id": item, "price": "price_month"}])
    assert "Exactly one" in await refused(confirm, items=[{"id": item}, {"id": item}])
    assert "No such" in await refused(confirm, items=[{"id": "si_unknown", "price": "price_year"}])
    assert "No such" in await refused("subscription_cancel", {**other, "customer": made["customer"]})
    wide = await subscribe(client, "price_month", "price_year")
    assert "multiple items" in await refused("subscription_update", wide)
    first = wide["items"]["data"][0]["id"]
    assert "multiple items" in await refused(confirm, wide, items=[{"id": first, "quantity": 2}])


async def test_flow_of_a_disabled_feature_is_refused(client: stripe.StripeClient) -> None:
    payer = await new_payer(client)
    off = await configure(client, payment_method_update={"enabled": False})
    flow = {"type": "payment_method_update"}
    with pytest.raises(stripe.InvalidRequestError, match="is disabled"):
        await open_portal(client, payer["id"], configuration=off["id"], flow_data=flow)


@pytest.mark.parametrize(
    ("action", "form"),
    [
        ("cancel", {}),
        ("resume", {}),
        ("switch", {"price": "price_year"}),
        ("payment-method", {}),
        ("pay", {"invoice": "in_x"}),
    ],
)
async def test_page_does_nothing_that_its_configuration_does_not_allow(
    sim: SimulatorHandle, client: stripe.StripeClient, action: str, form: dict[str, str]
) -> None:
    made = await subscribe(client, "price_month")
    off = await ask(client, "post", CONFIGURATIONS, features={"invoice_history": {"enabled": False}})
    session = await open_portal(client, made["customer"], configuration=off["id"])
    assert "<form" not in await sim.portal(session["url"])
    with pytest.raises(AssertionError, match="is disabled"):
        await sim.portal(session["url"], action, subscription=made["id"], **form)
    assert await reread(client, made) == made


async def test_new_card_becomes_the_default_everywhere(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    made = await subscribe(client, "price_month")
    old = (await ask(client, "get", f"/v1/customers/{made['customer']}"))["invoice_settings"]
    own = {"default_payment_method": old["default_payment_method"]}
    await ask(client, "post", f"/v1/subscriptions/{made['id']}", **own)
    configuration = await configure(client)
    session = await open_portal(client, made["customer"], configuration=configuration["id"])
    await sim.portal(session["url"], "payment-method", card="pm_card_mastercard")
    customer = await ask(client, "get", f"/v1/customers/{made['customer']}")
    chosen = customer["invoice_settings"]["default_payment_method"]
    assert chosen != old["default_payment_method"]
    assert (await reread(client, made))["default_payment_method"] == chosen
    assert (await ask(client, "get", f"/v1/payment_methods/{chosen}"))["card"]["brand"] == "mastercard"
    with pytest.raises(AssertionError, match="declined"):
        await sim.portal(session["url"], "payment-method", card="pm_card_chargeDeclined")


async def test_portal_of_another_customer_opens_nothing(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    made, other = await subscribe(client, "price_month"), await subscribe(client, "price_month")
    configuration = await configure(client)
    session = await open_portal(client, made["customer"], configuration=configuration["id"])
    with pytest.raises(AssertionError, match="No such subscription"):
        await sim.portal(session["url"], "cancel", subscription=other["id"])
    with pytest.raises(AssertionError, match="not yours"):
        await sim.portal(session["url"], "pay", invoice=other["latest_invoice"])
    for address in (session["url"].replace("bps_", "bps_x"), f"{session['url']}x"):
        with pytest.raises(AssertionError, match="404"):
            await sim.portal(address)
    await ask(client, "delete", f"/v1/customers/{made['customer']}")
    with pytest.raises(AssertionError, match="404"):
        await sim.portal(session["url"])


async def test_what_a_customer_wrote_does_not_become_html(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    payer = await new_payer(client, email="<script>@example.com")
    await sim.save_portal()
    session = await open_portal(client, payer["id"], return_url='http://localhost/"><script>')
    page = await sim.portal(session["url"])
    assert "<script>" not in page
    assert "&lt;script&gt;@example.com" in page


async def open_invoice(client: stripe.StripeClient, customer: str) -> Json:
    """A finalized invoice of 700 that nobody has tried to pay."""
    await ask(client, "post", "/v1/invoiceitems", customer=customer, amount=700, currency="usd")
    included = {"auto_advance": False, "pending_invoice_items_behavior": "include"}
    draft = await ask(client, "post", "/v1/invoices", customer=customer, **included)
    return await ask(client, "post", f"/v1/invoices/{draft['id']}/finalize", auto_advance=False)


async def test_open_invoice_is_paid_in_the_portal(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    payer = await new_payer(client)
    invoice = await open_invoice(client, payer["id"])
    await sim.save_portal()
    url = (await open_portal(client, payer["id"]))["url"]
    assert "Pay invoice" in await sim.portal(url)
    await sim.portal(url, "payment-method", card="pm_card_chargeCustomerFail")
    with pytest.raises(AssertionError, match="declined"):
        await sim.portal(url, "pay", invoice=invoice["id"])
    assert (await ask(client, "get", f"/v1/invoices/{invoice['id']}"))["status"] == "open"
    await sim.portal(url, "payment-method", card="pm_card_visa")
    await sim.portal(url, "pay", invoice=invoice["id"])
    assert (await ask(client, "get", f"/v1/invoices/{invoice['id']}"))["status"] == "paid"
    assert "Pay invoice" not in await sim.portal(url)


async def test_portal_acts_at_the_time_of_the_customers_test_clock(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    frozen = 1_900_000_000
    clock = await ask(client, "post", "/v1/test_helpers/test_clocks", frozen_time=frozen)
    payer = await new_payer(client, test_clock=clock["id"])
    items = [{"price": "price_month"}]
    made = await ask(client, "post", "/v1/subscriptions", customer=payer["id"], items=items)
    await sim.save_portal()
    session = await open_portal(client, payer["id"])
    assert session["created"] == frozen
    await sim.portal(session["url"], "cancel", subscription=made["id"])
    leaving = await reread(client, made)
    assert (leaving["canceled_at"], leaving["cancel_at"] > frozen) == (frozen, True)
