"""`POST /api/v1/entitlements/query` as a micro-app sees it."""

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import msgspec
import pytest
from starlette.types import ASGIApp

from domain.cache import cache_key
from domain.context import Context
from domain.flows.manage_keys import create_key
from domain.settings import Secret, Settings
from ingress import api, read
from ingress.lifespan import Running
from tests.ingress.doors import client_of, running_reader
from tests.proxy import proxied
from tests.seeds import cached, make_catalog, make_segment, seed_catalog, seed_set

PATH = "/api/v1/entitlements/query"


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[Running]:
    async with running_reader(settings) as opened:
        await seed_catalog(opened.context)
        yield opened


async def make_key(context: Context, kind: str = "app", **names: str) -> str:
    named = {"project": "acme", "app": "editor"} if kind == "app" else names
    created = await create_key(context, kind=kind, name="test", **named)  # type: ignore[arg-type]  # names of a test
    return created.key


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(read.app, running, await make_key(running.context)) as opened:
        yield opened


async def ask(client: httpx2.AsyncClient, user_ids: list[str], **more: Any) -> list[dict[str, Any]]:
    answer = await client.post(PATH, json={"user_ids": user_ids, **more})
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def count_user_reads(context: Context) -> int:
    """Scans of the table of users so far."""
    async with context.database.connection() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        return int(
            await connection.fetchval(
                "SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'users'"
            )
        )


async def test_answers_come_in_the_order_of_the_request_each_as_the_single_read_gives_it(
    running: Running, client: httpx2.AsyncClient
) -> None:
    await seed_set(running.context, user_id="u_1", version=4)
    await seed_set(running.context, make_segment(seats=9), user_id="u_2", version=7)
    response = await client.post(PATH, json={"user_ids": ["u_2", "nobody", "u_1"]})
    singles = [
        (await client.get("/api/v1/entitlements", params={"user_id": user_id})).content
        for user_id in ("u_2", "nobody", "u_1")
    ]
    assert response.content == b'{"data":[' + b",".join(singles) + b"]}"
    assert [answer["version"] for answer in response.json()["data"]] == [7, 0, 4]
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"


async def test_chosen_features_read_as_in_the_single_read(
    running: Running, client: httpx2.AsyncClient
) -> None:
    await seed_set(running.context, user_id="u_1")
    response = await client.post(PATH, json={"user_ids": ["u_1", "x"], "features": ["seats"]})
    singles = [
        (await client.get("/api/v1/entitlements", params={"user_id": user_id, "features": "seats"})).content
        for user_id in ("u_1", "x")
    ]
    assert response.content == b'{"data":[' + b",".join(singles) + b"]}"


async def test_a_feature_that_no_answer_has_is_unknown_with_the_nearest(client: httpx2.AsyncClient) -> None:
    answer = await client.post(PATH, json={"user_ids": ["u_1", "u_2"], "features": ["exprt"]})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_feature")
    assert "export" in answer.json()["detail"]


async def test_a_feature_younger_than_an_answer_is_left_out_of_that_one_only(
    running: Running, client: httpx2.AsyncClient
) -> None:
    lagging = msgspec.structs.replace(
        make_segment(), entitlements=msgspec.Raw(b'{"export":{"granted":true}}')
    )
    await seed_set(running.context, lagging, user_id="behind")
    behind, ahead = await ask(client, ["behind", "ahead"], features=["seats", "export"])
    assert list(behind["entitlements"]) == ["export"]
    assert list(ahead["entitlements"]) == ["seats", "export"]


async def test_500_users_cost_one_statement_and_then_none(
    running: Running, client: httpx2.AsyncClient
) -> None:
    user_ids = [f"u_{number}" for number in range(500)]
    for user_id in user_ids[:3]:
        await seed_set(running.context, user_id=user_id, version=2)
    # One read of Postgres is several scans of its index; so one of one user is the measure.
    before = await count_user_reads(running.context)
    await ask(client, ["one"])
    single = await count_user_reads(running.context) - before
    before += single
    assert [answer["version"] for answer in await ask(client, user_ids)] == [2, 2, 2] + [0] * 497
    cold = await count_user_reads(running.context) - before
    assert 0 < cold < 500 + single
    await running.lookup.close()
    await ask(client, user_ids)
    assert await count_user_reads(running.context) == before + cold


async def test_users_redis_knows_are_not_asked_of_postgres(
    running: Running, client: httpx2.AsyncClient
) -> None:
    stored = await seed_set(running.context, user_id="u_1", version=2)
    newer = msgspec.structs.replace(stored, first_version=5, last_version=5)
    assert running.context.cache is not None
    await running.context.cache.store([(cache_key("acme", "u_1", "editor"), cached(newer, time.time()))])
    assert [answer["version"] for answer in await ask(client, ["u_1", "x"])] == [5, 0]


async def test_duplicates_are_refused_by_name(client: httpx2.AsyncClient) -> None:
    answer = await client.post(PATH, json={"user_ids": ["a", "b", "a", "b"], "features": ["x", "x"]})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert answer.json()["errors"] == [
        {"field": "user_ids[2]", "detail": "the same as user_ids[0]"},
        {"field": "user_ids[3]", "detail": "the same as user_ids[1]"},
    ]
    answer = await client.post(PATH, json={"user_ids": ["a"], "features": ["x", "x"]})
    assert answer.json()["errors"] == [{"field": "features[1]", "detail": "the same as features[0]"}]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "user_ids"),
        ({"user_ids": []}, "user_ids"),
        ({"user_ids": [f"u_{n}" for n in range(501)]}, "user_ids"),
        ({"user_ids": ["b", ""]}, "user_ids[1]"),
        ({"user_ids": ["b", "a\0"]}, "user_ids[1]"),
        ({"user_ids": ["b", "a" * 256]}, "user_ids[1]"),
        ({"user_ids": "a"}, "user_ids"),
        ({"user_ids": ["a"], "features": []}, "features"),
        ({"user_ids": ["a"], "feature": ["export"]}, "feature"),
    ],
)
async def test_a_body_of_another_shape_is_refused_by_name(
    client: httpx2.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await client.post(PATH, json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


async def test_a_nul_is_named_in_words_not_as_a_pattern(client: httpx2.AsyncClient) -> None:
    answer = await client.post(PATH, json={"user_ids": ["b", "a\0"]})
    assert answer.json()["errors"] == [{"field": "user_ids[1]", "detail": "must not contain a NUL character"}]


@pytest.mark.parametrize("door", [read.app, api.app])
async def test_500_ids_of_any_255_characters_fit_and_other_doors_stay_small(
    running: Running, door: ASGIApp
) -> None:
    user_ids = [f"{number:03}" + "\N{PILE OF POO}" * 252 for number in range(500)]
    body = msgspec.json.encode({"user_ids": user_ids, "features": ["export"]})
    assert len(body) > 500_000
    async with client_of(door, running, await make_key(running.context)) as client:
        headers = {"content-type": "application/json"}
        answer = await client.post(PATH, content=body, headers=headers)
        assert (answer.status_code, len(answer.json()["data"])) == (200, 500)
        answer = await client.post(PATH, content=b" " * (512 * 1024 + 1), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        answer = await client.post("/api/v1/entitlements", content=body, headers=headers)
        assert answer.status_code == 413


async def test_the_key_says_the_app_or_leaves_it_to_the_query_string(running: Running) -> None:
    await seed_catalog(running.context, make_catalog("globex", "board"))
    project_key = await make_key(running.context, "project", project="acme")
    operator_key = await make_key(running.context, "operator")
    body = {"user_ids": ["u_1"]}
    async with client_of(read.app, running, project_key) as client:
        assert (await client.post(PATH, json=body)).status_code == 422
        assert (await client.post(PATH, json=body, params={"app": "viewer"})).json()["data"][0][
            "app"
        ] == "viewer"
        answer = await client.post(PATH, json=body, params={"app": "board", "project": "globex"})
        assert answer.json()["code"] == "wrong_project"
    async with client_of(read.app, running, operator_key) as client:
        answer = await client.post(PATH, json=body, params={"app": "board", "project": "globex"})
        assert answer.json()["data"][0]["project"] == "globex"
        answer = await client.post(PATH, json=body, params={"app": "nosuch", "project": "globex"})
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_app")


async def test_without_a_key_or_its_scope_nothing_is_answered(running: Running) -> None:
    created = await create_key(
        running.context, kind="app", project="acme", app="editor", name="x", scopes=["checkout:write"]
    )
    async with client_of(read.app, running, created.key) as client:
        assert (await client.post(PATH, json={"user_ids": ["a"]})).json()["code"] == "missing_scope"
    async with client_of(read.app, running) as client:
        assert (await client.post(PATH, json={"user_ids": ["a"]})).status_code == 401


async def test_while_postgres_is_away_known_users_are_stale_and_an_unknown_one_makes_it_503(
    settings: Settings,
) -> None:
    async with proxied(settings.database_url.reveal()) as proxy:
        behind = msgspec.structs.replace(settings, database_url=Secret(proxy.url), fresh_s=0.0)
        async with running_reader(behind) as running:
            await seed_catalog(running.context)
            await seed_set(running.context, user_id="u_1", version=3)
            async with client_of(read.app, running, await make_key(running.context)) as client:
                live = await ask(client, ["u_1", "x"])
                await running.lookup.close()
                await proxy.cut()
                stale = await ask(client, ["x", "u_1"])
                assert [answer["freshness"] for answer in [*live, *stale]] == ["live"] * 2 + ["stale"] * 2
                assert [answer["version"] for answer in stale] == [0, 3]
                answer = await client.post(PATH, json={"user_ids": ["u_1", "never_asked"]})
                assert answer.status_code == 503
