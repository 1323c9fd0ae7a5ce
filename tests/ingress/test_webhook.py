"""Stripe's door: 2xx only once the event is durable, one refusal for everything, Redis never matters."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import asyncpg
import httpx2
import msgspec
import pytest
from starlette.types import Receive, Scope, Send

from domain.flows.receive import Receiver
from domain.rules.signature import SignatureRefused
from domain.settings import Secret, Settings, WebhookSecret
from ingress.lifespan import open_running
from ingress.webhook import PATH, app
from tests.conftest import with_settings
from tests.flows.event_path import SECRET, sign
from tests.proxy import Proxy
from tests.workers.test_bell import make_stub, rung
from workers.bell import Bell
from workers.broker import make_broker

EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "customer.subscription.updated",
    "livemode": False,
    "api_version": "2020-08-27",
    "created": 1_700_000_000,
    "data": {"object": {"id": "sub_1", "object": "subscription", "customer": "cus_1"}},
}


@asynccontextmanager
async def open_door(settings: Settings, bell: Bell) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the webhook app with the parts its lifespan would have opened."""
    own = with_settings(
        settings, stripe_webhook_secrets=(WebhookSecret(Secret(SECRET)),), stripe_secret_key=Secret("")
    )
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(open_running("webhook", own))
        state = {"running": running, "receiver": Receiver(running.context), "bell": bell}

        async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": state}, receive, send)

        transport = httpx2.ASGITransport(app=with_state)
        yield await stack.enter_async_context(httpx2.AsyncClient(transport=transport, base_url="http://door"))


async def post(client: httpx2.AsyncClient, body: bytes, **headers: str) -> httpx2.Response:
    given = {"stripe-signature": sign(body).decode(), **headers}
    return await client.post(PATH, content=body, headers=given)


def encoded(**changes: Any) -> bytes:
    return msgspec.json.encode({**EVENT, **changes})


@pytest.fixture
async def bell() -> AsyncIterator[Bell]:
    ringing = Bell(make_stub())
    ringing.start()
    yield ringing
    await ringing.stop()


@pytest.fixture
async def client(settings: Settings, bell: Bell) -> AsyncIterator[httpx2.AsyncClient]:
    async with open_door(settings, bell) as opened:
        yield opened


@pytest.fixture
async def database(database_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_a_delivery_is_durable_marked_and_rung(
    client: httpx2.AsyncClient, bell: Bell, database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    body = encoded()
    answer = await post(client, body, **{"x-request-id": "req-7"})
    assert (answer.status_code, answer.json()) == (200, {"received": True, "duplicate": False})
    row = await database.fetchrow("SELECT * FROM webhook_events")
    assert row is not None
    assert zlib.decompress(row["payload"]) == body
    assert row["payload_sha256"] == sha256(body).digest()
    assert (row["state"], row["target_ref"], row["request_id"]) == ("pending", "cus_1", "req-7")
    target = await database.fetchrow("SELECT * FROM sync_targets")
    assert target is not None
    assert (target["dirty_seq"], target["synced_seq"]) == (1, 0)
    await bell.stop()
    assert rung(bell._broker) == [target["id"]]  # type: ignore[arg-type] # the stub of this test


async def test_a_repeated_delivery_is_said_to_be_one_and_changes_nothing(
    client: httpx2.AsyncClient, database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    answers = [(await post(client, encoded())).json()["duplicate"] for _ in range(3)]
    assert answers == [False, True, True]
    assert await database.fetchval("SELECT dirty_seq FROM sync_targets") == 1


async def test_one_delivery_a_hundred_times_at_once_is_one_row(
    client: httpx2.AsyncClient, database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    answers = await asyncio.gather(*(post(client, encoded()) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert sum(not answer.json()["duplicate"] for answer in answers) == 1
    assert await database.fetchval("SELECT count(*) FROM webhook_events") == 1


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (encoded(), {"stripe-signature": "t=1,v1=0"}),
        (encoded(), {"stripe-signature": ""}),
        (b"not json", {}),
        (b"[]", {}),
        (encoded(id="th_" + "0" * 32), {}),
    ],
)
async def test_every_refusal_says_the_same_and_stores_nothing(
    client: httpx2.AsyncClient,
    database: "asyncpg.Connection[asyncpg.Record]",
    body: bytes,
    headers: dict[str, str],
) -> None:
    answer = await post(client, body, **headers)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "The signature or the body is not valid."
    assert await database.fetchval("SELECT count(*) FROM webhook_events") == 0


async def test_a_delivery_without_a_signature_is_refused(client: httpx2.AsyncClient) -> None:
    assert (await client.post(PATH, content=encoded())).status_code == 400


async def test_two_signature_headers_are_no_signature(client: httpx2.AsyncClient) -> None:
    body = encoded()
    headers = [("stripe-signature", sign(body).decode()), ("stripe-signature", sign(body).decode())]
    assert (await client.post(PATH, content=body, headers=headers)).status_code == 400


async def test_a_body_over_the_limit_is_refused_whether_or_not_its_length_is_declared(
    client: httpx2.AsyncClient,
) -> None:
    large = b"x" * (256 * 1024 + 1)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 64 * 1024

    assert (await post(client, large)).status_code == 413
    chunked = await client.post(PATH, content=chunks(), headers={"stripe-signature": "t=1,v1=0"})
    assert chunked.status_code == 413


async def test_a_body_at_the_limit_is_taken(client: httpx2.AsyncClient) -> None:
    body = encoded(pad="")
    padded = encoded(pad="x" * (256 * 1024 - len(body)))
    assert len(padded) == 256 * 1024
    assert (await post(client, padded)).status_code == 200


async def test_an_encoded_body_is_refused_unread(client: httpx2.AsyncClient) -> None:
    body = zlib.compress(encoded())
    assert (await post(client, body, **{"content-encoding": "deflate"})).status_code == 415
    assert (await post(client, encoded(), **{"content-encoding": "identity"})).status_code == 200


async def test_other_methods_and_paths_are_problems(client: httpx2.AsyncClient) -> None:
    assert (await client.get(PATH)).status_code == 405
    assert (await client.post("/api/v1/webhooks/other")).json()["code"] == "not_found"


async def test_redis_away_does_not_change_the_answer(settings: Settings) -> None:
    away = with_settings(settings, redis_url=Secret("redis://127.0.0.1:1/0"))
    bell = Bell(make_broker(away))
    bell.start()
    async with open_door(away, bell) as client:
        assert (await post(client, encoded())).status_code == 200
    await bell.stop()


async def test_redis_hanging_does_not_delay_the_answer(settings: Settings) -> None:
    proxy = Proxy(settings.redis_url.reveal())
    await proxy.start()
    proxy.stall()
    hanging = with_settings(settings, redis_url=Secret(proxy.url), ring_timeout_s=5.0)
    bell = Bell(make_broker(hanging))
    bell.start()
    async with open_door(hanging, bell) as client, asyncio.timeout(3):
        assert (await post(client, encoded())).status_code == 200
    await proxy.stop()
    await bell.stop()


async def test_postgres_away_is_503_and_stripe_comes_back(settings: Settings, bell: Bell) -> None:
    proxy = Proxy(settings.database_url.reveal())
    await proxy.start()
    async with open_door(with_settings(settings, database_url=Secret(proxy.url)), bell) as client:
        assert (await post(client, encoded())).status_code == 200
        await proxy.cut()
        refused = await post(client, encoded(id="evt_2"))
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert refused.headers["retry-after"]
        await proxy.restore()
        assert (await post(client, encoded(id="evt_2"))).json() == {"received": True, "duplicate": False}
    await proxy.stop()


async def test_postgres_hanging_is_503_within_the_time_limit(settings: Settings, bell: Bell) -> None:
    proxy = Proxy(settings.database_url.reveal())
    await proxy.start()
    slow = with_settings(settings, database_url=Secret(proxy.url), database_timeout_s=0.3)
    async with open_door(slow, bell) as client:
        assert (await post(client, encoded())).status_code == 200
        proxy.stall()
        async with asyncio.timeout(3):
            assert (await post(client, encoded(id="evt_2"))).status_code == 503
        await proxy.restore()
        assert (await post(client, encoded(id="evt_2"))).status_code == 200
    await proxy.stop()


async def test_a_secret_is_valid_until_its_end(settings: Settings, bell: Bell) -> None:
    async with open_door(settings, bell) as client:
        assert (await post(client, encoded())).status_code == 200
    ended = WebhookSecret(Secret(SECRET), datetime.now(tz=UTC) - timedelta(seconds=1))
    async with open_running("webhook", with_settings(settings, stripe_webhook_secrets=(ended,))) as running:
        body = encoded()
        with pytest.raises(SignatureRefused):
            await Receiver(running.context).receive(body, sign(body), "r")


async def test_the_webhook_process_never_loads_the_stripe_client(settings: Settings) -> None:
    async with open_running("webhook", settings) as running:
        assert running.context.stripe is None
        assert running.context.cache is None
