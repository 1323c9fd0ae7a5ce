import pytest
import stripe

from tests.ingress.stripe_simulator.sdk import ask, event_types, new_payer


async def test_customer_is_created_changed_and_found_by_email(client: stripe.StripeClient) -> None:
    created = await client.v1.customers.create_async(
        {"email": "a@example.com", "metadata": {"tollhouse_ref": "r1", "old": "x"}}
    )
    assert created.id.startswith("cus_")
    await client.v1.customers.update_async(created.id, {"name": "Ada", "metadata": {"old": ""}})
    found = await ask(client, "get", "/v1/customers", email="a@example.com")
    assert [(c["name"], c["metadata"]) for c in found["data"]] == [("Ada", {"tollhouse_ref": "r1"})]
    assert (await ask(client, "get", "/v1/customers", email="b@example.com"))["data"] == []


async def test_update_event_tells_what_was_before(client: stripe.StripeClient) -> None:
    created = await ask(client, "post", "/v1/customers", email="a@example.com")
    await ask(client, "post", f"/v1/customers/{created['id']}", email="b@example.com")
    await ask(client, "post", f"/v1/customers/{created['id']}", email="b@example.com")
    events = (await ask(client, "get", "/v1/events", type="customer.updated"))["data"]
    assert [event["data"]["previous_attributes"] for event in events] == [{"email": "a@example.com"}]
    assert events[0]["data"]["object"]["email"] == "b@example.com"
    assert events[0]["request"]["idempotency_key"]


async def test_deleted_customer_is_a_tombstone_and_ends_its_subscriptions(
    client: stripe.StripeClient,
) -> None:
    payer = await new_payer(client)
    items = [{"price": "price_month"}]
    subscription = await ask(client, "post", "/v1/subscriptions", customer=payer["id"], items=items)
    await client.v1.customers.delete_async(payer["id"])
    gone = await ask(client, "get", f"/v1/customers/{payer['id']}")
    assert gone == {"id": payer["id"], "object": "customer", "deleted": True}
    assert (await ask(client, "get", "/v1/customers"))["data"] == []
    ended = await ask(client, "get", f"/v1/subscriptions/{subscription['id']}", expand=["customer"])
    assert (ended["status"], ended["customer"]) == ("canceled", gone)
    assert (await event_types(client))[-2:] == ["customer.subscription.deleted", "customer.deleted"]
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await ask(client, "post", f"/v1/customers/{payer['id']}", name="x")
    assert caught.value.code == "resource_missing"


async def test_declined_test_card_creates_no_customer(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.CardError) as caught:
        await ask(client, "post", "/v1/customers", payment_method="pm_card_chargeDeclined")
    assert caught.value.code == "card_declined"
    assert (await ask(client, "get", "/v1/customers"))["data"] == []
    assert await event_types(client) == []


async def test_payment_method_belongs_to_one_customer(client: stripe.StripeClient) -> None:
    first, second = await new_payer(client), await ask(client, "post", "/v1/customers")
    method = first["invoice_settings"]["default_payment_method"]
    listed = await ask(client, "get", "/v1/payment_methods", customer=first["id"])
    assert [row["id"] for row in listed["data"]] == [method]
    with pytest.raises(stripe.InvalidRequestError, match="already been attached"):
        await ask(client, "post", f"/v1/payment_methods/{method}/attach", customer=second["id"])
