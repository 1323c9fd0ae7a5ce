"""`POST /api/v1/checkout/session` against the real SDK and the simulator."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import msgspec
import pytest

from deploy.local.stripe_simulator.testing import SimulatorHandle, running_simulator
from domain.context import Context
from domain.flows.manage_keys import create_key
from domain.flows.publish_catalog import publish_locally
from domain.rules.catalog import CheckoutOptions
from domain.settings import Secret, Settings
from ingress import api
from ingress.lifespan import Running, open_running
from tests.ingress.doors import client_of
from tests.seeds import make_catalog

PATH = "/api/v1/checkout/session"
BODY: dict[str, Any] = {
    "user_id": "u_17",
    "items": [{"plan": "pro", "price": "month", "quantity": 5}],
    "success_url": "http://localhost:3000/ok?s={CHECKOUT_SESSION_ID}",
    "cancel_url": "https://editor.acme.example/no",
}


@pytest.fixture
async def stripe() -> AsyncIterator[SimulatorHandle]:
    async with running_simulator() as handle:
        yield handle


@pytest.fixture
async def running(settings: Settings, stripe: SimulatorHandle) -> AsyncIterator[Running]:
    changed = msgspec.structs.replace(
        settings, stripe_secret_key=Secret(stripe.secret_key), stripe_api_base=stripe.url, stripe_rate=0.0
    )
    async with open_running("api", changed) as opened:
        await publish(opened.context, stripe)
        yield opened


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx2.AsyncClient]:
    created = await create_key(running.context, kind="app", project="acme", app="editor", name="backend")
    async with client_of(api.app, running, created.key) as opened:
        yield opened


async def publish(context: Context, stripe: SimulatorHandle, options: CheckoutOptions | None = None) -> None:
    catalog = msgspec.structs.replace(make_catalog(), checkout=options or CheckoutOptions())
    published = await publish_locally(context, {"acme": catalog})
    await stripe.seed(**published.stripe)


async def rows(running: Running, table: str) -> list[dict[str, Any]]:
    async with running.context.database.connection() as connection:
        return [dict(row) for row in await connection.fetch(f"SELECT * FROM {table}")]


async def read(running: Running, path: str) -> dict[str, Any]:
    async def no_reserve() -> None:
        return None

    return await running.context.stripe_or_raise.read(path, no_reserve)


def count(stripe: SimulatorHandle, kind: str) -> int:
    """Objects of a kind that Stripe has."""
    return len(stripe.account.rows.get(kind, {}))


def made(stripe: SimulatorHandle) -> int:
    return count(stripe, "customer") + count(stripe, "checkout.session")


async def test_a_checkout_is_opened_paid_for_and_names_everybody(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    answer = await client.post(PATH, json=BODY)
    assert answer.status_code == 201, answer.text
    opened = answer.json()
    assert set(opened) == {"id", "ref", "url", "expires_at", "status"}
    assert opened["status"] == "open"

    session = await read(running, f"/v1/checkout/sessions/{opened['id']}")
    assert session["client_reference_id"] == opened["ref"]
    assert session["mode"] == "subscription"
    assert session["url"] == opened["url"]
    assert session["metadata"] == {
        "tollhouse_v": "1",
        "tollhouse_env": "test",
        "tollhouse_project": "acme",
        "tollhouse_app": "editor",
        "tollhouse_user": "u_17",
        "tollhouse_ref": str(await customer_ref(running)),
    }
    lines = await read(running, f"/v1/checkout/sessions/{opened['id']}/line_items")
    assert [(line["price"]["id"], line["quantity"]) for line in lines["data"]] == [
        (await price_id(running), 5)
    ]

    [checkout] = await rows(running, "checkout_sessions")
    assert (checkout["stripe_session_id"], str(checkout["ref"])) == (opened["id"], opened["ref"])
    assert (checkout["status"], checkout["mode"], checkout["app"]) == ("open", "subscription", "editor")
    assert msgspec.json.decode(checkout["items"]) == [{"plan": "pro", "price": "month", "quantity": 5}]

    await stripe.pay(opened["id"])
    paid = await read(running, f"/v1/checkout/sessions/{opened['id']}")
    subscription = await read(running, f"/v1/subscriptions/{paid['subscription']}")
    assert subscription["status"] == "active"
    assert subscription["metadata"] == session["metadata"]


async def customer_ref(running: Running) -> object:
    [row] = await rows(running, "stripe_customers")
    return row["ref"]


async def price_id(running: Running) -> str:
    [row] = [row for row in await rows(running, "prices") if row["plan"] == "pro"]
    return str(row["price_id"])


async def test_the_customer_is_ours_before_anybody_pays(running: Running, client: httpx2.AsyncClient) -> None:
    await client.post(PATH, json=BODY)
    [row] = await rows(running, "stripe_customers")
    customer = await read(running, f"/v1/customers/{row['stripe_customer_id']}")
    assert customer["metadata"]["tollhouse_ref"] == str(row["ref"])
    assert row["is_primary"]
    [target] = await rows(running, "sync_targets")
    assert (target["stripe_id"], target["owner"]) == (row["stripe_customer_id"], "ours")
    assert await rows(running, "webhook_events") == []


async def test_a_user_has_one_customer_for_all_checkouts_and_apps(
    running: Running, client: httpx2.AsyncClient
) -> None:
    first = (await client.post(PATH, json=BODY)).json()
    second = (await client.post(PATH, json=BODY)).json()
    viewer = await create_key(running.context, kind="app", project="acme", app="viewer", name="x")
    async with client_of(api.app, running, viewer.key) as other:
        third = (await other.post(PATH, json=BODY)).json()
    assert len(await rows(running, "stripe_customers")) == 1
    # One page is open at a time for the group, whichever app opened it.
    ids = {checkout["id"] for checkout in (first, second, third)}
    read_back = [await read(running, f"/v1/checkout/sessions/{one}") for one in sorted(ids)]
    assert {one["id"] for one in read_back if one["status"] == "open"} == {third["id"]}
    assert len({row["stripe_session_id"] for row in await rows(running, "checkout_sessions")}) == 3


async def test_many_first_checkouts_at_once_make_one_customer(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    bodies = [{**BODY, "customer": {"name": f"Name {number}"}} for number in range(8)]
    answers = await asyncio.gather(*(client.post(PATH, json=body) for body in bodies))
    assert [answer.status_code for answer in answers] == [201] * 8
    assert count(stripe, "customer") == 1
    assert len(await rows(running, "stripe_customers")) == 1
    assert count(stripe, "checkout.session") == 8


async def test_a_one_time_plan_is_a_payment_and_its_payment_carries_our_names(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    body = {**BODY, "items": [{"plan": "pass", "price": "once"}]}
    opened = (await client.post(PATH, json=body)).json()
    await stripe.pay(opened["id"])
    session = await read(running, f"/v1/checkout/sessions/{opened['id']}")
    intent = await read(running, f"/v1/payment_intents/{session['payment_intent']}")
    assert (session["mode"], intent["metadata"]["tollhouse_ref"]) == (
        "payment",
        str(await customer_ref(running)),
    )


async def test_a_trial_is_given_when_asked_for_and_at_most_the_catalogs(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    for days, status in ((0, "active"), (7, "trialing")):
        opened = (await client.post(PATH, json={**BODY, "user_id": f"u{days}", "trial_days": days})).json()
        await stripe.pay(opened["id"])
        session = await read(running, f"/v1/checkout/sessions/{opened['id']}")
        assert (await read(running, f"/v1/subscriptions/{session['subscription']}"))["status"] == status
    refused = await client.post(PATH, json={**BODY, "trial_days": 15})
    assert refused.json()["errors"] == [
        {"field": "trial_days", "detail": "the catalog allows 14 for these items"}
    ]


async def test_what_the_app_knows_of_the_customer_reaches_stripe(
    running: Running, client: httpx2.AsyncClient
) -> None:
    person = {"email": "a@acme.example", "name": "A", "locale": "de"}
    opened = (await client.post(PATH, json={**BODY, "customer": person})).json()
    session = await read(running, f"/v1/checkout/sessions/{opened['id']}")
    customer = await read(running, f"/v1/customers/{session['customer']}")
    assert (customer["email"], customer["name"], session["locale"]) == ("a@acme.example", "A", "de")


async def test_metadata_of_the_app_is_passed_on_beside_ours(
    running: Running, client: httpx2.AsyncClient
) -> None:
    opened = (await client.post(PATH, json={**BODY, "metadata": {"order": "7"}})).json()
    session = await read(running, f"/v1/checkout/sessions/{opened['id']}")
    assert session["metadata"]["order"] == "7"
    assert session["metadata"]["tollhouse_user"] == "u_17"


async def test_the_catalogs_options_are_passed_on(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    options = CheckoutOptions(automatic_tax=True, tax_id_collection=True, allow_promotion_codes=True)
    await publish(running.context, stripe, options)
    opened = (await client.post(PATH, json=BODY)).json()
    session = await read(running, f"/v1/checkout/sessions/{opened['id']}")
    assert session["automatic_tax"]["enabled"] is True
    assert session["tax_id_collection"]["enabled"] is True
    assert session["allow_promotion_codes"] is True


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"user_id": ""}, "user_id"),
        ({"user_id": "a\0b"}, "user_id"),
        ({"items": []}, "items"),
        ({"items": [{"plan": "pro", "price": "month", "quantity": 0}]}, "items[0].quantity"),
        ({"items": [{"plan": "por", "price": "month"}]}, "items[0].plan"),
        ({"items": [{"plan": "pro", "price": "week"}]}, "items[0].price"),
        ({"items": [{"plan": "pro", "price": "month", "amount": 1}]}, "items[0].amount"),
        ({"success_url": "https://evil.example"}, "success_url"),
        ({"cancel_url": "https://editor.acme.example@evil.example"}, "cancel_url"),
        ({"trial_days": -1}, "trial_days"),
        ({"metadata": {"Tollhouse_user": "other"}}, "metadata.Tollhouse_user"),
        ({"metadata": {"a": ""}}, "metadata.a"),
        ({"metadata": {"a[b]": "x"}}, "metadata.a[b]"),
        ({"metadata": {str(number): "x" for number in range(41)}}, "metadata"),
        ({"customer": {"email": "no mail"}}, "customer.email"),
        ({"customer": {"locale": "xx"}}, "customer.locale"),
        ({"customer": {"id": "cus_1"}}, "customer.id"),
        ({"on_existing": "ask"}, "on_existing"),
        ({"promotion_code": "X"}, "promotion_code"),
        ({"promotion_code": "../customers/cus_1"}, "promotion_code"),
        ({"project": "globex"}, "project"),
    ],
)
async def test_what_cannot_be_is_refused_by_name_before_anything_is_created(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient, change: dict[str, Any], field: str
) -> None:
    answer = await client.post(PATH, json={**BODY, **change})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert made(stripe) == 0
    assert await rows(running, "users") == []


async def test_a_price_that_is_not_in_stripe_yet_says_what_to_run(
    running: Running, client: httpx2.AsyncClient
) -> None:
    async with running.context.database.transaction() as connection:
        await connection.execute("DELETE FROM prices")
    answer = await client.post(PATH, json=BODY)
    assert (answer.status_code, answer.json()["code"]) == (409, "price_not_in_stripe")
    assert "tollhouse catalog apply" in answer.json()["detail"]


async def test_a_key_without_the_scope_opens_nothing(running: Running, stripe: SimulatorHandle) -> None:
    created = await create_key(
        running.context, kind="app", project="acme", app="editor", name="x", scopes=["entitlements:read"]
    )
    async with client_of(api.app, running, created.key) as client:
        assert (await client.post(PATH, json=BODY)).status_code == 403
    assert made(stripe) == 0


async def test_other_kinds_of_keys_name_the_app_in_the_query(running: Running) -> None:
    created = await create_key(running.context, kind="project", project="acme", name="x")
    async with client_of(api.app, running, created.key) as client:
        assert (await client.post(PATH, json=BODY)).json()["errors"][0]["field"] == "app"
        assert (await client.post(f"{PATH}?app=editor", json=BODY)).status_code == 201


async def test_while_stripe_is_away_a_checkout_is_503_and_afterwards_one_customer(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    await stripe.fail("/v1/customers", status=500, times=50)
    away = await client.post(PATH, json=BODY)
    assert (away.status_code, away.headers["content-type"]) == (503, "application/problem+json")
    await stripe.clear_faults()
    assert (await client.post(PATH, json=BODY)).status_code == 201
    assert count(stripe, "customer") == 1
    assert len(await rows(running, "stripe_customers")) == 1


async def test_a_session_that_stripe_fails_to_make_leaves_a_row_that_says_so(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    await stripe.fail("/v1/checkout/sessions", status=500, times=50)
    assert (await client.post(PATH, json=BODY)).status_code == 503
    [row] = await rows(running, "checkout_sessions")
    assert (row["status"], row["stripe_session_id"]) == ("creating", None)


async def test_a_429_to_a_checkout_makes_every_reader_slower(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    await stripe.fail("/v1/checkout/sessions", status=429, times=50)
    answer = await client.post(PATH, json=BODY)
    assert (answer.status_code, answer.json()["code"]) == (503, "stripe_rate_limited")
    [budget] = await rows(running, "stripe_budget")
    assert budget["slow_until"] > datetime.now(UTC)


async def test_a_definitive_refusal_of_a_customer_is_not_replayed_for_ever(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    await stripe.fail("/v1/customers", status=400, times=1)
    refused = await client.post(PATH, json=BODY)
    assert (refused.status_code, refused.json()["code"]) == (422, "stripe_refused")
    [row] = await rows(running, "stripe_customers")
    assert row["generation"] == 2
    assert (await client.post(PATH, json=BODY)).status_code == 201


async def test_a_failure_that_stripe_keeps_under_a_key_stands_in_nobodys_way(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    """Stripe repeats a 5xx under its idempotency key for a day."""
    await stripe.fail("/v1/customers", method="POST", status=500, saved=True)
    assert (await client.post(PATH, json=BODY)).status_code == 201
    [customer] = await rows(running, "stripe_customers")
    assert (customer["generation"], count(stripe, "customer")) == (2, 1)

    await stripe.fail("/v1/checkout/sessions/*/expire", status=500, saved=True)
    assert (await client.post(PATH, json=BODY)).status_code == 503
    assert (await client.post(PATH, json=BODY)).status_code == 201

    key = {"Idempotency-Key": "click-1"}
    await stripe.fail("/v1/checkout/sessions", method="POST", status=500, saved=True)
    assert (await client.post(PATH, json=BODY, headers=key)).status_code == 503
    assert (await client.post(PATH, json=BODY, headers=key)).status_code == 201


async def test_a_deleted_customer_is_replaced_by_a_new_one(
    running: Running, client: httpx2.AsyncClient
) -> None:
    await client.post(PATH, json=BODY)
    async with running.context.database.transaction() as connection:
        await connection.execute(
            "UPDATE stripe_customers SET is_primary = false, deleted_at = clock_timestamp()"
        )
    assert (await client.post(PATH, json=BODY)).status_code == 201
    assert sorted(row["is_primary"] for row in await rows(running, "stripe_customers")) == [False, True]
