import pytest
import stripe

from tests.ingress.stripe_simulator.sdk import Json, ask, event_types, new_payer

AMOUNT = {"amount": 700, "currency": "usd"}


async def pay_by(client: stripe.StripeClient, card: str, **wish: object) -> Json:
    return await ask(
        client, "post", "/v1/payment_intents", **AMOUNT, confirm=True, payment_method=card, **wish
    )


async def test_card_pays_an_intent(client: stripe.StripeClient) -> None:
    paid = await pay_by(client, "pm_card_visa", metadata={"order": "7"})
    assert (paid["status"], paid["amount_received"], paid["metadata"]) == ("succeeded", 700, {"order": "7"})
    charge = await ask(client, "get", f"/v1/charges/{paid['latest_charge']}")
    assert (charge["paid"], charge["amount_captured"]) == (True, 700)


async def test_declined_card_is_an_error_and_the_intent_waits_for_another(
    client: stripe.StripeClient,
) -> None:
    with pytest.raises(stripe.CardError) as caught:
        await pay_by(client, "pm_card_chargeDeclined")
    assert caught.value.code == "card_declined"
    (intent,) = (await ask(client, "get", "/v1/payment_intents"))["data"]
    assert (intent["status"], intent["last_payment_error"]["code"]) == (
        "requires_payment_method",
        "card_declined",
    )
    path = f"/v1/payment_intents/{intent['id']}/confirm"
    assert (await ask(client, "post", path, payment_method="pm_card_visa"))["status"] == "succeeded"
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
        await ask(client, "post", path, payment_method="pm_card_visa")
    outcomes = [name for name in await event_types(client) if name.startswith("payment_intent")]
    assert outcomes == [f"payment_intent.{what}" for what in ("created", "payment_failed", "succeeded")]


async def test_attached_card_may_fail_at_each_charge(client: stripe.StripeClient) -> None:
    payer = await new_payer(client)
    path = "/v1/payment_methods/pm_card_chargeCustomerFail/attach"
    card = await ask(client, "post", path, customer=payer["id"])
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            await pay_by(client, card["id"], customer=payer["id"])
    with pytest.raises(stripe.InvalidRequestError, match="already been attached"):
        await pay_by(client, card["id"])


async def test_card_that_asks_for_authentication_leaves_the_intent_waiting(
    client: stripe.StripeClient,
) -> None:
    waiting = await pay_by(client, "pm_card_authenticationRequired")
    assert (waiting["status"], waiting["latest_charge"]) == ("requires_action", None)
    path = f"/v1/payment_intents/{waiting['id']}/cancel"
    canceled = await ask(client, "post", path, cancellation_reason="abandoned")
    assert (canceled["status"], canceled["cancellation_reason"]) == ("canceled", "abandoned")
    with pytest.raises(stripe.InvalidRequestError, match="cannot cancel"):
        await ask(client, "post", path)
    assert (await event_types(client))[-2:] == ["payment_intent.requires_action", "payment_intent.canceled"]


async def test_intent_without_a_method_waits_for_one(client: stripe.StripeClient) -> None:
    made = await ask(client, "post", "/v1/payment_intents", **AMOUNT)
    assert made["status"] == "requires_payment_method"
    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method"):
        await ask(client, "post", f"/v1/payment_intents/{made['id']}/confirm")
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await ask(client, "post", "/v1/payment_intents", amount=0, currency="usd")
    assert caught.value.param == "amount"


async def test_authorized_money_is_captured_in_part_without_a_refund(client: stripe.StripeClient) -> None:
    held = await pay_by(client, "pm_card_visa", capture_method="manual")
    assert (held["status"], held["amount_capturable"], held["amount_received"]) == (
        "requires_capture",
        700,
        0,
    )
    path = f"/v1/payment_intents/{held['id']}/capture"
    with pytest.raises(stripe.InvalidRequestError, match="has not been captured"):
        await ask(client, "post", "/v1/refunds", payment_intent=held["id"])
    with pytest.raises(stripe.InvalidRequestError, match="at most 700"):
        await ask(client, "post", path, amount_to_capture=701)
    taken = await ask(client, "post", path, amount_to_capture=300)
    assert (taken["status"], taken["amount_received"]) == ("succeeded", 300)
    charge = await ask(client, "get", f"/v1/charges/{taken['latest_charge']}")
    assert (charge["amount_captured"], charge["amount_refunded"], charge["refunded"]) == (300, 0, False)
    with pytest.raises(stripe.InvalidRequestError, match="could not be captured"):
        await ask(client, "post", path)
    refund = await ask(client, "post", "/v1/refunds", payment_intent=held["id"])
    assert refund["amount"] == 300
