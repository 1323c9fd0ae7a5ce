"""Stripe's errors: one table, and nothing of the SDK left out of it."""

import inspect

import pytest
import stripe
from stripe import _error, oauth_error

from deploy.local.stripe_simulator.testing import running_simulator
from domain.errors import Broken, ObjectMissing, TollhouseError, Unavailable
from domain.settings import Secret, Settings
from domain.stripe_gateway import FAMILIES, SlowDown, StripeGateway, StripeRefused


async def reserve() -> None:
    """As much budget as one likes."""


def classes_of_the_sdk() -> set[type[stripe.StripeError]]:
    return {
        found
        for module in (_error, oauth_error)
        for _, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, stripe.StripeError)
    }


def test_every_error_class_of_the_sdk_is_in_the_table() -> None:
    abstract = {_error.StripeErrorWithParamCode}
    oauth = {found for found in classes_of_the_sdk() if found.__module__ == oauth_error.__name__}
    missing = classes_of_the_sdk() - set(FAMILIES) - abstract - oauth
    assert not missing, f"decide in FAMILIES what becomes of {sorted(found.__name__ for found in missing)}"


def gateway(url: str, key: str, timeout_s: float = 5.0) -> StripeGateway:
    return StripeGateway(
        Settings(stripe_secret_key=Secret(key), stripe_api_base=url, stripe_timeout_s=timeout_s)
    )


@pytest.mark.parametrize(
    ("status", "expected", "code"),
    [
        (429, SlowDown, "stripe_rate_limited"),
        (500, Unavailable, "unavailable"),
        (503, Unavailable, "unavailable"),
        (401, Unavailable, "stripe_key_refused"),
        (403, Unavailable, "stripe_key_refused"),
        (409, Unavailable, "unavailable"),
        (400, Broken, "internal_error"),
        (402, Broken, "internal_error"),
    ],
)
async def test_what_becomes_of_an_answer_of_stripe(
    status: int, expected: type[TollhouseError], code: str
) -> None:
    async with running_simulator() as stripe_:
        client = gateway(stripe_.url, stripe_.secret_key)
        await stripe_.fail("/v1/account", status=status, times=10)
        with pytest.raises(expected) as raised:
            await client.read("/v1/account", reserve)
        assert raised.value.code == code
        await client.close()


async def test_an_object_that_does_not_exist_is_missing_not_broken_data() -> None:
    async with running_simulator() as stripe_:
        client = gateway(stripe_.url, stripe_.secret_key)
        with pytest.raises(ObjectMissing, match="cus_none"):
            await client.read("/v1/customers/cus_none", reserve)
        await client.close()


async def test_a_stripe_that_cannot_be_reached_is_unavailable() -> None:
    client = gateway("http://127.0.0.1:1", "sk_test_1")
    with pytest.raises(Unavailable):
        await client.read("/v1/account", reserve)
    await client.close()


async def test_a_stripe_that_does_not_answer_in_time_is_unavailable() -> None:
    async with running_simulator() as stripe_:
        client = gateway(stripe_.url, stripe_.secret_key, timeout_s=0.2)
        await stripe_.fail("/v1/account", latency_s=2, times=5)
        with pytest.raises(Unavailable):
            await client.read("/v1/account", reserve)
        await client.close()


async def test_a_list_is_read_to_its_end() -> None:
    async with running_simulator() as stripe_:
        client = gateway(stripe_.url, stripe_.secret_key)
        for number in range(105):
            await client.create("/v1/customers", {"name": f"{number}"}, idempotency_key=f"k{number}")
        found = [customer["id"] async for customer in client.read_list("/v1/customers", reserve)]
        assert len(set(found)) == 105
        await client.close()


async def test_what_stripe_refuses_says_why_without_quoting_anybody() -> None:
    async with running_simulator() as stripe_:
        client = gateway(stripe_.url, stripe_.secret_key)
        with pytest.raises(StripeRefused) as raised:
            await client.create("/v1/customers", {"balance": "anna@acme.example"}, idempotency_key="k1")
        assert (raised.value.param, raised.value.is_decline) == ("balance", False)
        assert "anna" not in raised.value.detail
        card = "pm_card_chargeCustomerFail"
        intent = {"amount": 5, "currency": "usd", "payment_method": card, "confirm": True}
        with pytest.raises(StripeRefused) as declined:
            await client.create("/v1/payment_intents", intent, idempotency_key="k2")
        assert (declined.value.reason, declined.value.is_decline) == ("card_declined", True)
        assert declined.value.decline_code == "generic_decline"
        with pytest.raises(ObjectMissing):
            await client.delete("/v1/subscriptions/sub_none")
        await client.close()


async def test_the_same_idempotency_key_creates_once() -> None:
    async with running_simulator() as stripe_:
        client = gateway(stripe_.url, stripe_.secret_key)
        one = await client.create("/v1/customers", {"name": "x"}, idempotency_key="k")
        two = await client.create("/v1/customers", {"name": "x"}, idempotency_key="k")
        assert one["id"] == two["id"]
        await client.close()


def test_every_family_is_one_the_translation_knows() -> None:
    assert set(FAMILIES.values()) <= {"away", "refused", "slow_down", "request", "declined", "broken"}
