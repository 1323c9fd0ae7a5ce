"""`GET /api/v1/entitlements` and `/{feature}` as a micro-app sees them."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import httpx2
import msgspec
import pytest

from domain.context import Context
from domain.flows.manage_keys import create_key, revoke_key
from domain.flows.show_catalog import CatalogMemory
from domain.settings import Secret, Settings
from ingress import api, read
from ingress.lifespan import Running
from tests.ingress.doors import client_of, running_reader
from tests.proxy import proxied
from tests.seeds import make_catalog, make_segment, seed_catalog, seed_set
from tests.waiting import until

PATH = "/api/v1/entitlements"


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[Running]:
    async with running_reader(settings) as opened:
        await seed_catalog(opened.context)
        await seed_catalog(opened.context, make_catalog("globex", "board"))
        yield opened


async def make_key(context: Context, kind: str = "app", **names: str) -> str:
    named = {"project": "acme", "app": "editor"} if kind == "app" and not names else names
    created = await create_key(context, kind=kind, name="test", **named)  # type: ignore[arg-type]  # names of a test
    return created.key


@pytest.fixture
async def app_client(running: Running) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(read.app, running, await make_key(running.context)) as client:
        yield client


async def test_a_user_reads_as_documented(running: Running, app_client: httpx2.AsyncClient) -> None:
    await seed_set(running.context, version=42)
    answer = await app_client.get(PATH, params={"user_id": "u_17"})
    assert answer.status_code == 200
    assert list(answer.json()) == [
        "project", "app", "user_id", "version", "as_of", "valid_until", "freshness", "entitlements",
    ]  # fmt: skip
    assert answer.json()["entitlements"]["seats"]["value"] == 5
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["etag"] == '"42"'
    assert answer.headers["cache-control"] == "private, must-revalidate"
    assert answer.headers["vary"] == "Authorization"
    assert len(answer.headers["x-request-id"]) == 32


async def test_an_unknown_user_has_the_defaults(app_client: httpx2.AsyncClient) -> None:
    answer = await app_client.get(PATH, params={"user_id": "nobody"})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"d1"')
    assert answer.json()["version"] == 0


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        ('"42"', 304),
        ('W/"42"', 304),
        ('"41", "42"', 304),
        ('"41",W/"42"', 304),
        ("*", 304),
        ('"41"', 200),
        ("42", 200),
        ('"d42"', 200),
        ("", 200),
    ],
)
async def test_who_holds_these_bytes_gets_304(
    running: Running, app_client: httpx2.AsyncClient, tags: str, status: int
) -> None:
    await seed_set(running.context, version=42)
    for _ in range(2):
        answer = await app_client.get(PATH, params={"user_id": "u_17"}, headers={"if-none-match": tags})
        assert answer.status_code == status
        assert (answer.content == b"") == (status == 304)
        assert answer.headers["etag"] == '"42"'


async def test_no_304_is_sent_across_valid_until(running: Running, app_client: httpx2.AsyncClient) -> None:
    end = datetime.now(UTC) + timedelta(seconds=0.5)
    await seed_set(running.context, make_segment(ends_at=end), make_segment(end, export=False), version=8)
    conditional = {"if-none-match": '"8"'}
    before = await app_client.get(PATH, params={"user_id": "u_17"}, headers=conditional)
    assert before.status_code == 304
    await asyncio.sleep(max(0.0, (end - datetime.now(UTC)).total_seconds()))
    after = await app_client.get(PATH, params={"user_id": "u_17"}, headers=conditional)
    assert (after.status_code, after.headers["etag"]) == (200, '"9"')
    assert after.json()["entitlements"]["export"]["granted"] is False


async def test_head_says_what_get_says_without_the_body(
    running: Running, app_client: httpx2.AsyncClient
) -> None:
    await seed_set(running.context)
    for path in (PATH, PATH + "/export"):
        get = await app_client.get(path, params={"user_id": "u_17"})
        head = await app_client.head(path, params={"user_id": "u_17"})
        assert (head.status_code, head.content) == (200, b"")
        assert {k: v for k, v in head.headers.items() if k != "x-request-id"} == {
            k: v for k, v in get.headers.items() if k != "x-request-id"
        }


async def test_one_feature_is_answered_flat(running: Running, app_client: httpx2.AsyncClient) -> None:
    await seed_set(running.context, version=42)
    answer = await app_client.get(PATH + "/seats", params={"user_id": "u_17"})
    assert answer.json()["feature"] == "seats"
    assert (answer.json()["value"], answer.json()["version"], answer.headers["etag"]) == (5, 42, '"42"')


async def test_chosen_features_are_answered_alone(running: Running, app_client: httpx2.AsyncClient) -> None:
    await seed_set(running.context)
    answer = await app_client.get(PATH, params={"user_id": "u_17", "features": "seats"})
    assert list(answer.json()["entitlements"]) == ["seats"]


@pytest.mark.parametrize("path", [f"{PATH}/seat?user_id=u", f"{PATH}?user_id=u&features=export,seat"])
async def test_an_unknown_feature_is_404_with_the_nearest(app_client: httpx2.AsyncClient, path: str) -> None:
    answer = await app_client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_feature")
    assert "did you mean seats" in answer.json()["detail"]


async def test_a_feature_another_app_sees_is_unknown_to_this_one(running: Running) -> None:
    key = await make_key(running.context, project="acme", app="viewer")
    async with client_of(read.app, running, key) as client:
        answer = await client.get(PATH + "/seats", params={"user_id": "u"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_feature")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "user_id"),
        ("user_id=", "user_id"),
        ("user_id=" + "x" * 256, "user_id"),
        ("user_id=a%00b", "user_id"),
        ("user_id=a&user_id=b", "user_id"),
        ("user_id=a&usr=b", "usr"),
        ("user_id=a&features=", "features"),
        ("user_id=a&features=export,,seats", "features"),
    ],
)
async def test_a_wrong_parameter_is_named(app_client: httpx2.AsyncClient, query: str, field: str) -> None:
    answer = await app_client.get(f"{PATH}?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize(
    "query", ["user_id=%ff", "user_id", "user_id=a&b", "&".join(f"a{n}=1" for n in range(99))]
)
async def test_a_query_string_that_cannot_be_read_is_refused(
    app_client: httpx2.AsyncClient, query: str
) -> None:
    assert (await app_client.get(f"{PATH}?{query}")).status_code == 422


@pytest.mark.parametrize("user_id", ["x" * 255, "ü 💳/&=%", "a\nb", "' OR 1=1 --", '"', "\\"])
async def test_user_ids_are_opaque(running: Running, app_client: httpx2.AsyncClient, user_id: str) -> None:
    await seed_set(running.context, user_id=user_id, version=3)
    answer = await app_client.get(f"{PATH}?user_id={quote(user_id, safe='')}")
    assert (answer.status_code, answer.json()["user_id"], answer.json()["version"]) == (200, user_id, 3)


async def test_a_project_key_names_the_app(running: Running) -> None:
    await seed_set(running.context, version=5)
    async with client_of(
        read.app, running, await make_key(running.context, "project", project="acme")
    ) as client:
        assert (await client.get(PATH, params={"user_id": "u_17"})).json()["errors"][0]["field"] == "app"
        named = await client.get(PATH, params={"user_id": "u_17", "app": "editor"})
        assert named.json()["version"] == 5
        unknown = await client.get(PATH, params={"user_id": "u_17", "app": "nosuch"})
        assert unknown.status_code == 404


async def test_an_operator_names_project_and_app(running: Running) -> None:
    await seed_set(running.context, version=5)
    async with client_of(read.app, running, await make_key(running.context, "operator")) as client:
        missing = await client.get(PATH, params={"user_id": "u_17", "app": "editor"})
        assert missing.json()["errors"][0]["field"] == "project"
        named = await client.get(PATH, params={"user_id": "u_17", "project": "acme", "app": "editor"})
        assert named.json()["version"] == 5
        other = await client.get(PATH, params={"user_id": "u_17", "project": "globex", "app": "board"})
        assert other.json()["version"] == 0
        nosuch = await client.get(PATH, params={"user_id": "u", "project": "nosuch", "app": "board"})
        assert (nosuch.status_code, nosuch.json()["code"]) == (404, "unknown_project")


async def test_a_key_never_reads_past_its_project_and_app(running: Running) -> None:
    await seed_set(running.context, project="globex", app="board", version=77)
    app_key, project_key = (
        await make_key(running.context),
        await make_key(running.context, "project", project="acme"),
    )
    tries = [
        (app_key, {"app": "viewer"}),
        (app_key, {"project": "globex"}),
        (app_key, {"project": "globex", "app": "board"}),
        (project_key, {"project": "globex", "app": "board"}),
    ]
    for key, names in tries:
        async with client_of(read.app, running, key) as client:
            answer = await client.get(PATH, params={"user_id": "u_17", **names})
            assert answer.status_code == 403
            assert "77" not in answer.json()["detail"]


async def test_the_api_process_serves_the_same_routes(running: Running) -> None:
    await seed_set(running.context, version=5)
    async with client_of(api.app, running, await make_key(running.context)) as client:
        assert (await client.get(PATH, params={"user_id": "u_17"})).json()["version"] == 5
        assert (await client.get(PATH + "/export", params={"user_id": "u_17"})).json()["granted"] is True


async def test_a_revoked_key_is_refused_at_a_warm_process(running: Running) -> None:
    created = await create_key(running.context, kind="app", project="acme", app="editor", name="x")
    async with client_of(read.app, running, created.key) as client:
        assert (await client.get(PATH, params={"user_id": "u"})).status_code == 200
        await revoke_key(running.context, created.key_id)
        await until(lambda: running.keys.find_fresh(created.key) is None)
        assert (await client.get(PATH, params={"user_id": "u"})).status_code == 401


async def test_while_postgres_is_away_answers_are_marked_stale_and_carry_no_tag(settings: Settings) -> None:
    async with proxied(settings.database_url.reveal()) as proxy:
        changed = msgspec.structs.replace(settings, database_url=Secret(proxy.url), fresh_s=0.1)
        async with running_reader(changed) as running:
            await seed_catalog(running.context)
            await seed_set(running.context, version=6)
            async with client_of(read.app, running, await make_key(running.context)) as client:
                await client.get(PATH, params={"user_id": "u_17"})
                pricing = await client.get("/api/v1/catalog")
                await client.get("/api/v1/catalog", params={"user_id": "u_17"})
                await proxy.cut()
                await asyncio.sleep(0.11)
                conditional = {"if-none-match": '"6", *'}
                answer = await client.get(PATH, params={"user_id": "u_17"}, headers=conditional)
                assert (answer.status_code, answer.json()["freshness"]) == (200, "stale")
                assert "etag" not in answer.headers
                assert answer.headers["cache-control"] == "no-store"
                one = await client.get(PATH + "/export", params={"user_id": "u_17"}, headers=conditional)
                assert (one.status_code, one.json()["freshness"], one.json()["granted"]) == (
                    200,
                    "stale",
                    True,
                )

                # The pricing page of everybody; what a user stands to is nobody's guess.
                tagged = {"if-none-match": pricing.headers["etag"]}
                known = await client.get("/api/v1/catalog", headers=tagged)
                assert (known.status_code, known.content) == (200, pricing.content)
                assert "etag" not in known.headers
                assert (known.headers["cache-control"], known.headers["age"]) == ("no-store", "1")
                own = await client.get("/api/v1/catalog", params={"user_id": "u_17"})
                assert own.status_code == 503
                running.catalogs = CatalogMemory(running.context)
                assert (await client.get("/api/v1/catalog")).status_code == 503

                began = time.perf_counter()
                unknown = await client.get(PATH, params={"user_id": "nobody"})
                assert (unknown.status_code, unknown.headers["retry-after"]) == (503, "1")
                assert time.perf_counter() - began < 0.5
                assert "entitlements" not in unknown.text


async def test_a_nul_in_any_parameter_is_the_callers_mistake(running: Running) -> None:
    key = (await create_key(running.context, kind="operator", name="o")).key
    async with client_of(read.app, running, key) as client:
        answer = await client.get("/api/v1/entitlements?user_id=a&project=acme&app=%00")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "app"
