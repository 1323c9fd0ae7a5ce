import asyncio
from collections.abc import Callable

import aiohttp
import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from deploy.local.stripe_simulator.versions import API_VERSION
from tests.ingress.stripe_simulator.sdk import ask

Connect = Callable[..., stripe.StripeClient]


def test_the_simulator_answers_at_the_version_the_sdk_pins() -> None:
    assert stripe.api_version == API_VERSION


async def test_answer_names_its_request_and_the_version(client: stripe.StripeClient) -> None:
    answer = await client.raw_request_async("get", "/v1/account")
    assert answer.headers["Request-Id"].startswith("req_")
    assert answer.headers["Stripe-Version"] == stripe.api_version


async def test_unknown_key_is_an_authentication_error(sim: SimulatorHandle, connect: Connect) -> None:
    with pytest.raises(stripe.AuthenticationError) as caught:
        await connect("sk_test_somebody_else").v1.customers.list_async()
    assert caught.value.http_status == 401
    assert "somebody_else" not in str(caught.value)


async def test_restricted_key_opens_the_same_account(sim: SimulatorHandle, connect: Connect) -> None:
    key = sim.secret_key.replace("sk_", "rk_", 1)
    assert (await ask(connect(key), "get", "/v1/account"))["id"] == sim.account_id


async def test_another_accounts_key_sees_nothing_of_the_first(sim: SimulatorHandle, connect: Connect) -> None:
    customer = await ask(connect(), "post", "/v1/customers")
    await sim.add_account("sk_test_other", "acct_other")
    other = connect("sk_test_other")
    assert (await ask(other, "get", "/v1/account"))["id"] == "acct_other"
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await ask(other, "get", f"/v1/customers/{customer['id']}")
    assert (caught.value.http_status, caught.value.code, caught.value.param) == (
        404,
        "resource_missing",
        "id",
    )


@pytest.mark.parametrize(
    ("auth", "status"),
    [("key", 200), ("", 401), ("Basic !!", 401), ("Digest x", 401)],
)
async def test_basic_auth_carries_the_key_as_user_name(sim: SimulatorHandle, auth: str, status: int) -> None:
    basic = aiohttp.encode_basic_auth(sim.secret_key, "")
    headers = {"Authorization": basic if auth == "key" else auth}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{sim.url}/v1/account", headers=headers) as answer,
    ):
        assert answer.status == status


async def test_other_api_version_is_refused(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError, match=API_VERSION):
        await client.raw_request_async("get", "/v1/account", stripe_version="2023-10-16")


async def test_unknown_address_is_404(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="Unrecognized request URL") as caught:
        await ask(client, "get", "/v1/nothing_here")
    assert caught.value.http_status == 404


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"emial": "x"}, "parameter_unknown", "emial"),
        ({"address": {"town": "x"}}, "parameter_unknown", "address[town]"),
        ({"invoice_settings": "x"}, None, "invoice_settings"),
    ],
)
async def test_bad_parameter_is_named(
    client: stripe.StripeClient, params: dict[str, str], code: str | None, param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await ask(client, "post", "/v1/customers", **params)
    assert (caught.value.http_status, caught.value.code, caught.value.param) == (400, code, param)


async def test_missing_parameter_is_named(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await ask(client, "post", "/v1/subscriptions", customer="cus_x")
    assert (caught.value.code, caught.value.param) == ("parameter_missing", "items")


async def test_same_key_and_parameters_replay_the_same_answer(client: stripe.StripeClient) -> None:
    params = {"email": "a@example.com", "metadata": {"a": "1", "b": "2"}}
    first = await client.raw_request_async("post", "/v1/customers", idempotency_key="k1", **params)
    params["metadata"] = {"b": "2", "a": "1"}
    again = await client.raw_request_async("post", "/v1/customers", idempotency_key="k1", **params)
    assert again.body == first.body
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Request-Id"] == first.headers["Request-Id"]
    assert len((await ask(client, "get", "/v1/customers"))["data"]) == 1


async def test_same_key_with_other_parameters_is_an_idempotency_error(client: stripe.StripeClient) -> None:
    await ask(client, "post", "/v1/customers", email="a@example.com", key="k1")
    with pytest.raises(stripe.IdempotencyError) as caught:
        await ask(client, "post", "/v1/customers", email="b@example.com", key="k1")
    assert caught.value.http_status == 400


async def test_saved_error_replays_though_the_cause_is_gone(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    price = {"product": "acme_late", "currency": "usd", "unit_amount": 1}
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError, match="acme_late"):
            await ask(client, "post", "/v1/prices", **price, key="k1")
        await sim.seed(products=[{"id": "acme_late", "name": "Late"}])
    assert (await ask(client, "post", "/v1/prices", **price, key="k2"))["product"] == "acme_late"


async def test_malformed_call_does_not_use_up_its_key(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        await ask(client, "post", "/v1/customers", emial="x", key="k1")
    assert (await ask(client, "post", "/v1/customers", email="x@example.com", key="k1"))[
        "object"
    ] == "customer"


async def test_key_in_flight_is_a_conflict(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    await sim.fail("/v1/customers", latency_s=0.3)
    slow = asyncio.create_task(ask(client, "post", "/v1/customers", key="k1"))
    await asyncio.sleep(0.1)
    with pytest.raises(stripe.APIError) as caught:
        await ask(client, "post", "/v1/customers", key="k1")
    assert (await slow)["object"] == "customer"
    assert caught.value.http_status == 409
    assert "idempotency_key_in_use" in str(caught.value.http_body)


async def test_the_sdks_own_retry_finds_its_first_answer(
    sim: SimulatorHandle, client: stripe.StripeClient, connect: Connect
) -> None:
    """The call took effect, only its answer was lost: the retry must not create a second customer."""
    await sim.fail("/v1/customers", method="POST", status=500, when="after")
    created = await ask(connect(retries=2), "post", "/v1/customers", email="a@example.com")
    listed = await ask(client, "get", "/v1/customers")
    assert [customer["id"] for customer in listed["data"]] == [created["id"]]
    assert (await sim.stats())["calls"]["POST /v1/customers"] == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, stripe.AuthenticationError),
        (402, stripe.CardError),
        (403, stripe.PermissionError),
        (429, stripe.RateLimitError),
        (400, stripe.InvalidRequestError),
        (500, stripe.APIError),
        (503, stripe.APIError),
    ],
)
async def test_injected_status_comes_out_as_the_sdks_class(
    sim: SimulatorHandle, client: stripe.StripeClient, status: int, error: type[stripe.StripeError]
) -> None:
    await sim.fail("/v1/customers/*", status=status, times=1)
    with pytest.raises(error) as caught:
        await ask(client, "get", "/v1/customers/cus_x")
    assert caught.value.http_status == status
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        await ask(client, "get", "/v1/customers/cus_x")


async def test_a_failure_can_strike_a_share_of_the_calls(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    await sim.fail("/v1/customers", method="POST", status=500, times=None, share=0.5)
    said: set[bool] = set()
    while said != {True, False}:
        try:
            await ask(client, "post", "/v1/customers")
            said.add(True)
        except stripe.APIError:
            said.add(False)


async def test_stalled_call_has_no_effect_and_ends_with_the_clients_patience(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    await sim.fail("/v1/customers", method="POST", stall=True)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(client, "post", "/v1/customers"), 0.2)
    assert (await ask(client, "get", "/v1/customers"))["data"] == []


async def test_answer_cut_short_has_taken_effect(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    await sim.fail("/v1/customers", method="POST", cut=True)
    with pytest.raises(aiohttp.ClientError):
        await ask(client, "post", "/v1/customers", email="a@example.com")
    listed = await ask(client, "get", "/v1/customers")
    assert [customer["email"] for customer in listed["data"]] == ["a@example.com"]


async def test_calls_are_counted_by_their_template(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    await ask(client, "get", "/v1/prices/price_once")
    await ask(client, "get", "/v1/prices/price_month")
    stats = await sim.stats()
    assert stats["calls"]["GET /v1/prices/{id}"] == 2
    assert sum(stats["per_second"]["GET /v1/prices/{id}"].values()) == 2
    assert stats["busiest_second"] == stats["total_calls"] == 2
