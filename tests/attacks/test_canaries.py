"""A-13, A-26: secrets and personal data go through a whole deployment, and are then looked for everywhere."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx2
import pytest
import redis
from prometheus_client import generate_latest

from deploy.local.ports import free_port
from domain.flows.manage_keys import create_key
from domain.settings import Settings
from ingress import api
from ingress.lifespan import Running
from tests.attacks.conftest import Line
from tests.attacks.sizes import IS_LONG
from tests.chaos.checks import until_quiet
from tests.chaos.sizes import COMPRESSED
from tests.chaos.stripe import Acknowledged
from tests.chaos.world import Setup, World, running_world
from tests.conftest import PEPPER
from tests.flows.event_path import SECRET, EventPath, running_path
from tests.ingress.doors import client_of

EMAIL, NAME, STREET = "canary.7f3a@example.org", "Kanarienvogel Q. Sieben", "Kanariengasse 7731"
PHONE = "+4915773317331"
#: What Stripe says about a call of ours is for nobody: it may quote what a customer typed.
STRIPES_WORDS = "the e-mail kanari.9917 is not valid"
#: Never anywhere; names and addresses are in the bodies of deliveries, for as long as those are kept.
PERSONAL = (EMAIL, NAME, STREET, PHONE)
#: A user that is named like a person, though the documents advise against it: in Postgres, and nowhere else.
USER = "user.canary.55aa@example.org"


PERSON = {"email": EMAIL, "name": NAME, "locale": "de"}
ORDER: dict[str, Any] = {
    "user_id": USER,
    "items": [{"plan": "pro", "price": "month", "quantity": 1}],
    "success_url": "http://localhost:3000/ok",
    "cancel_url": "http://localhost:3000/no",
    "customer": PERSON,
}


# 20 s of processor time, which `make test` has not.
@pytest.mark.skipif(not IS_LONG, reason="a whole deployment: make chaos FAULTS=A-13")
@pytest.mark.timeout(240)
async def test_secrets_and_personal_data_are_where_they_must_be_and_nowhere_else(
    alone: None, tmp_path: Path
) -> None:
    ports = {name: free_port() for name in ("webhook", "read", "api", "worker", "scheduler")}
    env = {name: {"TOLLHOUSE_METRICS_BIND": f"127.0.0.1:{port}"} for name, port in ports.items()}
    setup = Setup(workers=1, schedulers=1, has_api=True, settings=COMPRESSED, env=env, fsync=False)
    async with running_world(tmp_path / "state", setup) as world:
        errors = [body async for body in live(world)]
        acknowledged = Acknowledged(world.stripe)
        assert await until_quiet(world, acknowledged, within_s=60)
        redis_urls = (world.environment.servers.redis_url, world.environment.servers.cache_url)
        places = {f"metrics of {name}": await metrics_of(world, port) for name, port in ports.items()}
        places |= logs(world) | {"errors": b"\n".join(errors), "redis": b"\n".join(redis_of(*redis_urls))}
        places["processes"] = b"\n".join(arguments(world))
        database, payloads = await dump(world)
        # The canaries did go through: otherwise this test would find nothing whatever is wrong.
        assert all(word.encode() in payloads for word in (EMAIL, STREET))
        assert USER.encode() in database
        assert b"tollhouse_sync_seconds_count" in places["metrics of worker"]
        assert b'"event": "target_synced"' in b"".join(places.values())
        assert len(errors) > 15
        for word in (*PERSONAL, *secrets(world), USER, STRIPES_WORDS):
            found = {place for place, text in places.items() if word.encode() in text}
            # Whoever is refused may be shown his own words, but for keys.
            assert found <= ({"errors"} if word in {*PERSONAL, USER} else set()), (word, found)
        for word in (*PERSONAL, *secrets(world), STRIPES_WORDS):
            assert word.encode() not in database, word
            assert word.encode().hex().encode() not in database, word
        for word in secrets(world):
            assert word.encode() not in payloads, word


async def test_what_a_person_types_is_in_no_row_line_key_or_metric_of_the_doors(
    settings: Settings, logged: list[Line]
) -> None:
    """The same in one process, without what only whole processes have: arguments, and lines of libraries."""
    async with running_path(settings) as path:
        running = Running(path.context, "api")
        made = [
            await create_key(path.context, kind="app", project="acme", app="editor", name="app"),
            await create_key(path.context, kind="operator", name="operator"),
        ]
        async with (
            client_of(api.app, running, made[0].key) as app,
            client_of(api.app, running, made[1].key) as operator,
        ):
            errors = await refusals_of(path, app, operator)
        for event in await path.events():
            await path.deliver(event)
        await path.drain()
        database, payloads = await dump(path)
        places = {
            "lines": repr(logged).encode(),
            "errors": b"\n".join(errors),
            "redis": b"\n".join(redis_of(settings.redis_url.reveal(), settings.cache_url.reveal())),
            "metrics": generate_latest(),
        }
    assert all(word.encode() in payloads for word in (EMAIL, STREET))
    assert USER.encode() in database
    assert b"entitlements_recomputed" in places["lines"]
    assert len(errors) > 10
    password = urlsplit(settings.database_url.reveal()).password
    keys = [one.key for one in made] + [one.key.split("_")[3] for one in made]
    hidden = [*keys, PEPPER, SECRET, *([password] if password else [])]
    for word in (*PERSONAL, *hidden, USER, STRIPES_WORDS):
        found = {place for place, text in places.items() if word.encode() in text}
        assert found <= ({"errors"} if word in {*PERSONAL, USER} else set()), (word, found)
        assert word == USER or word.encode() not in database, word
        assert word in {*PERSONAL, USER} or word.encode() not in payloads, word


async def refusals_of(path: EventPath, app: httpx2.AsyncClient, operator: httpx2.AsyncClient) -> list[bytes]:
    """A person buys and changes their address, and much is wrong: what was refused."""
    opened = await app.post("/api/v1/checkout/session", json=ORDER)
    assert opened.status_code == 201, opened.text
    session = await path.retrieve(f"/v1/checkout/sessions/{opened.json()['id']}")
    await path.stripe.pay(opened.json()["id"])
    address = {"line1": STREET, "city": "Berlin", "country": "DE"}
    customer = {"email": EMAIL, "name": NAME, "phone": PHONE, "address": address}
    await path.create(f"/v1/customers/{session['customer']}", customer)
    asked = {"user_id": USER}
    assert (await app.get("/api/v1/entitlements", params=asked)).status_code == 200
    assert (await app.get("/api/v1/billing", params=asked)).status_code == 200
    refused = [await app.post("/api/v1/checkout/session", json=body) for body in spoiled(ORDER)]
    refused += [await operator.post("/api/v1/admin/grant?project=acme", json=body) for body in spoiled(ORDER)]
    for target in (EMAIL, f"entitlements/{EMAIL}", f"checkout/session/{EMAIL}"):
        refused.append(await app.get(f"/api/v1/{target}", params=asked))
    said = {"error": {"type": "api_error", "message": STRIPES_WORDS, "param": "customer_email"}}
    await path.stripe.fail("/v1/checkout/sessions", method="POST", status=400, body=said)
    refused.append(await app.post("/api/v1/checkout/session", json={**ORDER, "user_id": "u_400"}))
    assert all(answer.status_code >= 400 for answer in refused)
    return [answer.content + repr(sorted(answer.headers.items())).encode() for answer in refused]


def secrets(world: World) -> list[str]:
    environment, keys = world.environment, world.keys
    password = urlsplit(environment.servers.database_url).password
    api_keys = [keys.operator_key, *keys.app_keys.values()]
    return [
        environment.secrets.stripe_secret_key,
        environment.secrets.webhook_secret,
        environment.secrets.key_peppers.partition(":")[2],
        *([password] if password else []),
        *api_keys,
        # Without its id, which logs name, and its checksum.
        *(key.split("_")[3] for key in api_keys),
    ]


async def live(world: World) -> Any:
    """A person buys, changes their address, and everything that can be wrong is: yields what was refused."""
    app = Caller(world, world.keys.app_keys["acme/editor"])
    operator = Caller(world, world.keys.operator_key)
    person, order = PERSON, ORDER
    status, opened = await app.post("checkout/session", order)
    assert status == 201, opened
    session = await world.stripe.get(f"/v1/checkout/sessions/{opened['id']}")
    await world.stripe.press(opened["id"])
    address = {"line1": STREET, "city": "Berlin", "country": "DE"}
    await world.stripe.post(
        f"/v1/customers/{session['customer']}", email=EMAIL, name=NAME, phone=PHONE, address=address
    )
    assert (await app.get("entitlements", user_id=USER))[0] == 200
    assert (await app.get("billing", user_id=USER))[0] == 200
    grant = {"user_id": USER, "effect": "allow", "target": {"feature": "export"}, "reason": "a promise"}
    assert (await operator.post("admin/grant?project=acme", grant))[0] == 201
    for body in spoiled(order):
        yield await app.refused("checkout/session", body)
        yield await operator.refused("admin/grant?project=acme", {**grant, **body})
    yield await app.refused("checkout/session", {**order, "promotion_code": EMAIL})
    yield await app.refused("checkout/session", {**order, "items": [{"plan": EMAIL, "price": NAME}]})
    yield await app.refused_get(EMAIL)
    yield await app.refused_get("entitlements", user_id=USER, features=EMAIL, app=NAME)
    yield await app.refused_get(f"entitlements/{EMAIL}", user_id=USER)
    yield await app.refused_get(f"checkout/session/{EMAIL}")
    for wrong in wrong_keys(world):
        yield await Caller(world, wrong).refused_get("entitlements", user_id=USER)
    for status in (400, 401, 402):
        said = {"error": {"type": "api_error", "message": STRIPES_WORDS, "param": "customer_email"}}
        await world.stripe.control(
            "fail", path_pattern="/v1/checkout/sessions", method="POST", status=status, body=said
        )
        yield await app.refused("checkout/session", {**order, "user_id": f"u_{status}"})
    await world.stripe.control("fail", path_pattern="/v1/subscriptions/*", status=400, times=2, body=said)
    yield await deliver(world, {"data": {"object": person}}, world.environment.secrets.webhook_secret)
    yield await deliver(world, person, f"t=1,v1={EMAIL}")


def spoiled(order: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {**order, "customer": {"email": EMAIL, "name": NAME, EMAIL[:6]: PHONE}}
    yield {**order, "customer": EMAIL}
    yield {**order, "user_id": [EMAIL]}
    yield {**order, "items": EMAIL}
    yield {**order, "success_url": f"https://evil.example/?{EMAIL}"}


def wrong_keys(world: World) -> Iterator[str]:
    key = world.keys.app_keys["acme/editor"]
    yield key[:-1]
    yield key[:-1] + ("0" if key[-1] != "0" else "1")
    yield key.replace("th_test", "th_live")
    yield world.environment.secrets.stripe_secret_key
    yield f"{key} {EMAIL}"


class Caller:
    def __init__(self, world: World, key: str) -> None:
        self._world = world
        self._url = world.environment.ports.url("api") + "/api/v1/"
        self._headers = {"authorization": f"Bearer {key}"}

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        async with self._world.http.post(self._url + path, json=body, headers=self._headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def get(self, path: str, **query: str) -> tuple[int, Any]:
        async with self._world.http.get(self._url + path, params=query, headers=self._headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def refused(self, path: str, body: Any) -> bytes:
        async with self._world.http.post(self._url + path, json=body, headers=self._headers) as answer:
            return await _refusal(answer)

    async def refused_get(self, path: str, **query: str) -> bytes:
        async with self._world.http.get(self._url + path, params=query, headers=self._headers) as answer:
            return await _refusal(answer)


async def _refusal(answer: aiohttp.ClientResponse) -> bytes:
    said = await answer.read()
    assert answer.status >= 400, said
    return said + repr(sorted(answer.headers.items())).encode()


async def deliver(world: World, body: Any, signature: str) -> bytes:
    url = world.environment.ports.url("webhook") + "/api/v1/webhooks/stripe"
    async with world.http.post(url, json=body, headers={"stripe-signature": signature}) as answer:
        return await _refusal(answer)


async def metrics_of(world: World, port: int) -> bytes:
    async with world.http.get(f"http://127.0.0.1:{port}/metrics") as answer:
        return await answer.read()


def logs(world: World) -> dict[str, bytes]:
    """Of every process and server of ours; Stripe may write down what it likes."""
    found = (world.state.directory / "logs").glob("*.log")
    return {f"log of {path.stem}": path.read_bytes() for path in found if path.stem != "stripe"}


def redis_of(*urls: str) -> Iterator[bytes]:
    for url in urls:
        with redis.Redis.from_url(url) as client:
            for key in client.scan_iter():
                yield key
                yield from _values(client, key)


def _values(client: Any, key: bytes) -> Iterator[bytes]:
    match client.type(key):
        case b"string":
            yield client.get(key)
        case b"hash":
            yield repr(client.hgetall(key)).encode()
        case b"list":
            yield from client.lrange(key, 0, -1)
        case b"set":
            yield from client.smembers(key)
        case b"zset":
            yield from client.zrange(key, 0, -1)


def arguments(world: World) -> Iterator[bytes]:
    """What `ps` shows of every process that runs our code; the simulator is told its key in its words."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                words = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if b"stripe_simulator" not in words:
                yield words


async def dump(world: World | EventPath) -> tuple[bytes, bytes]:
    """Every row of every table as text, and apart from it the bodies of deliveries, unpacked."""
    tables = await world.rows("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
    rows: list[str] = []
    for table in tables:
        columns = await world.rows(
            "SELECT column_name AS name FROM information_schema.columns"
            " WHERE table_name = $1 AND (table_name, column_name) <> ('webhook_events', 'payload')",
            table["name"],
        )
        chosen = ", ".join(f'"{column["name"]}"' for column in columns)
        found = await world.rows(f'SELECT ROW({chosen})::text AS said FROM "{table["name"]}"')
        rows += [row["said"] for row in found]
    packed = await world.rows("SELECT payload FROM webhook_events WHERE payload IS NOT NULL")
    return "\n".join(rows).encode(), b"\n".join(zlib.decompress(row["payload"]) for row in packed)
