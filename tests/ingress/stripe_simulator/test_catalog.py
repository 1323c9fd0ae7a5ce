from typing import Any

import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.sdk import ask, event_types


async def test_product_may_have_an_id_we_choose_but_not_twice(client: stripe.StripeClient) -> None:
    created = await client.v1.products.create_async({"id": "acme_team", "name": "Team"})
    assert created.id == "acme_team"
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.products.create_async({"id": "acme_team", "name": "Team"})
    assert caught.value.code == "resource_already_exists"


async def test_price_has_an_id_of_stripes(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await ask(
            client, "post", "/v1/prices", id="price_x", product="acme_pro", currency="usd", unit_amount=1
        )
    assert (caught.value.code, caught.value.param) == ("parameter_unknown", "id")


async def test_lookup_key_moves_only_when_asked(client: stripe.StripeClient) -> None:
    wanted: dict[str, Any] = {
        "product": "acme_pro",
        "currency": "usd",
        "unit_amount": 2900,
        "recurring": {"interval": "month"},
        "lookup_key": "acme:pro:month",
    }
    with pytest.raises(stripe.InvalidRequestError, match="price_month") as caught:
        await ask(client, "post", "/v1/prices", **wanted)
    assert caught.value.param == "lookup_key"
    newer = await ask(client, "post", "/v1/prices", **wanted, transfer_lookup_key=True)
    found = await ask(client, "get", "/v1/prices", lookup_keys=["acme:pro:month"])
    assert [price["id"] for price in found["data"]] == [newer["id"]]
    assert (await ask(client, "get", "/v1/prices/price_month"))["lookup_key"] is None
    assert await event_types(client) == ["price.updated", "price.created"]


async def test_archived_price_leaves_the_active_list_and_cannot_be_bought(
    client: stripe.StripeClient,
) -> None:
    await ask(client, "post", "/v1/prices/price_month", active=False)
    active = await ask(client, "get", "/v1/prices", active=True, product="acme_pro")
    assert [price["id"] for price in active["data"]] == ["price_year"]
    with pytest.raises(stripe.InvalidRequestError, match="inactive") as caught:
        await ask(
            client,
            "post",
            "/v1/checkout/sessions",
            mode="subscription",
            line_items=[{"price": "price_month"}],
            success_url="http://localhost/ok",
        )
    assert caught.value.param == "line_items[0][price]"


async def test_a_price_that_is_its_products_default_cannot_be_archived(client: stripe.StripeClient) -> None:
    product = await client.v1.products.create_async({"name": "Pro"})
    price = await client.v1.prices.create_async(
        {"product": product.id, "currency": "usd", "unit_amount": 100}
    )
    await client.v1.products.update_async(product.id, {"default_price": price.id})
    with pytest.raises(stripe.InvalidRequestError, match="default price of its product"):
        await client.v1.prices.update_async(price.id, {"active": False})
    await client.v1.products.update_async(product.id, {"default_price": ""})
    assert (await client.v1.prices.update_async(price.id, {"active": False})).active is False


async def test_currency_options_are_shown_only_when_expanded(client: stripe.StripeClient) -> None:
    plain = await ask(client, "get", "/v1/prices/price_month")
    full = await ask(client, "get", "/v1/prices/price_month", expand=["currency_options"])
    assert "currency_options" not in plain
    assert full["currency_options"]["eur"]["unit_amount"] == 1800
    assert full["currency_options"]["usd"]["unit_amount"] == 1900


async def test_product_with_prices_cannot_be_deleted_and_a_deleted_one_is_missing(
    client: stripe.StripeClient,
) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="prices"):
        await client.v1.products.delete_async("acme_pro")
    lonely = await client.v1.products.create_async({"name": "Lonely"})
    assert (await client.v1.products.delete_async(lonely.id)).deleted is True
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.products.retrieve_async(lonely.id)
    assert caught.value.http_status == 404


async def test_seed_twice_changes_nothing_and_emits_nothing(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    product = {"id": "p1", "name": "One"}
    price = {"id": "price_1", "product": "p1", "currency": "usd", "unit_amount": 5, "lookup_key": "k"}
    assert (await sim.seed(products=[product], prices=[price]))["changed"] == 2
    assert (await sim.seed(products=[product], prices=[price]))["changed"] == 0
    assert (await sim.seed(products=[{**product, "name": "Two"}], prices=[price]))["changed"] == 1
    portal = {"features": {"invoice_history": {"enabled": True}}, "metadata": {"tollhouse_project": "p"}}
    assert (await sim.seed(portal_configurations=[portal]))["changed"] == 1
    assert (await sim.seed(portal_configurations=[portal]))["changed"] == 0
    assert await event_types(client) == []
    await sim.seed(products=[{**product, "name": "Three"}], emit=True)
    assert await event_types(client) == ["product.updated"]


async def test_seed_with_a_field_stripe_does_not_have_is_refused(sim: SimulatorHandle) -> None:
    with pytest.raises(AssertionError, match="colour"):
        await sim.seed(products=[{"id": "p1", "name": "One", "colour": "red"}])
