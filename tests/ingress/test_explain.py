"""`GET /api/v1/entitlements/{feature}/explain` as an app, a gateway and an operator see it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import msgspec
import pytest

from domain.flows.grant import Given, GrantWish, Operator, grant
from domain.flows.manage_keys import create_key
from domain.settings import Secret, Settings
from ingress import api, read
from ingress.lifespan import Running
from tests.ingress.doors import client_of, running_reader
from tests.proxy import proxied
from tests.seeds import make_catalog, seed_catalog

PATH = "/api/v1/entitlements/export/explain"
WORDS = "paid by bank transfer"
EVERYTHING = ("entitlements:read", "admin:read")


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[Running]:
    async with running_reader(settings) as opened:
        await seed_catalog(opened.context)
        await seed_catalog(opened.context, make_catalog("globex", "board"))
        yield opened


async def client_for(running: Running, kind: str = "app", **named: Any) -> Any:
    values = {"project": "acme", "app": "editor"} if kind == "app" else {}
    created = await create_key(running.context, kind=kind, name="test", **{**values, **named})  # type: ignore[arg-type]  # names of a test
    return client_of(read.app, running, created.key)


@pytest.fixture
async def app_client(running: Running) -> AsyncIterator[httpx2.AsyncClient]:
    async with await client_for(running) as client:
        yield client


async def give(running: Running, target: str = "export", *, user_id: str = "u_17") -> Given:
    wish = GrantWish(effect="allow", target_kind="feature", target=target, reason=WORDS)
    made = await grant(running.context, "acme", user_id, wish, Operator(actor="ops/ada"))
    return made.given


def fields(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return [error["field"] for error in answer.json()["errors"]]


async def test_an_app_reads_why_as_documented(running: Running, app_client: httpx2.AsyncClient) -> None:
    given = await give(running)
    answer = await app_client.get(PATH, params={"user_id": "u_17"})
    assert answer.status_code == 200
    assert (answer.headers["cache-control"], answer.headers["vary"]) == ("no-store", "Authorization")
    said = answer.json()
    assert list(said) == [
        "project", "app", "user_id", "feature", "at", "as_known", "basis", "version", "catalog_version",
        "cause", "answered_since", "verdict", "rule", "sources", "next_changes", "available_in",
        "would_change", "notes",
    ]  # fmt: skip
    assert (said["basis"], said["version"], said["cause"]) == ("answered", 1, "grant")
    assert said["rule"]["name"] == "grant.gives"
    (one,) = said["sources"]
    assert (one["source"]["id"], one["outcome"], one["why"]) == (given.id, "wins", "gives")


async def test_the_verdict_is_the_answer_of_the_read_door(
    running: Running, app_client: httpx2.AsyncClient
) -> None:
    await give(running)
    for feature in ("export", "seats"):
        path = f"/api/v1/entitlements/{feature}"
        read_answer = (await app_client.get(path, params={"user_id": "u_17"})).json()
        said = (await app_client.get(f"{path}/explain", params={"user_id": "u_17"})).json()
        assert said["version"] == read_answer["version"]
        assert said["verdict"] == {key: read_answer[key] for key in said["verdict"]}


async def test_the_api_serves_it_too(running: Running) -> None:
    created = await create_key(running.context, kind="app", project="acme", app="editor", name="test")
    async with client_of(api.app, running, created.key) as client:
        assert (await client.get(PATH, params={"user_id": "u_17"})).status_code == 200


async def test_an_app_never_sees_operators_words_or_names(
    running: Running, app_client: httpx2.AsyncClient
) -> None:
    await give(running)
    body = (await app_client.get(PATH, params={"user_id": "u_17"})).text
    assert WORDS not in body
    assert "ada" not in body


@pytest.mark.parametrize(
    ("kind", "scopes", "sees"),
    [
        ("operator", (), True),
        ("project", EVERYTHING, True),
        ("project", (), False),
        ("app", EVERYTHING, False),
        ("operator", ("entitlements:read",), False),
    ],
)
async def test_words_are_for_who_may_read_admin_and_is_no_app(
    running: Running, kind: str, scopes: tuple[str, ...], *, sees: bool
) -> None:
    await give(running)
    async with await client_for(running, kind, project="acme", scopes=scopes) as client:
        answer = await client.get(PATH, params={"user_id": "u_17", "app": "editor"})
    assert answer.status_code == 200, answer.text
    assert (WORDS in answer.text, "ops/ada" in answer.text) == (sees, sees)


async def test_an_app_sees_no_source_of_another_app(running: Running) -> None:
    await give(running, "seats")
    async with await client_for(running, app="viewer") as viewer:
        assert (await viewer.get(PATH, params={"user_id": "u_17"})).json()["sources"] == []
    async with await client_for(running, "operator") as operator:
        wanted = {"user_id": "u_17", "project": "acme", "app": "viewer"}
        (one,) = (await operator.get(PATH, params=wanted)).json()["sources"]
    assert one["why"] == "other_features"


async def test_another_projects_user_of_the_same_id_is_not_seen(running: Running) -> None:
    await give(running)
    async with await client_for(running, project="globex", app="board") as client:
        said = (await client.get(PATH, params={"user_id": "u_17"})).json()
    assert (said["project"], said["basis"], said["sources"]) == ("globex", "defaults", [])


async def test_an_unknown_user_has_the_defaults_explained(app_client: httpx2.AsyncClient) -> None:
    said = (await app_client.get("/api/v1/entitlements/seats/explain", params={"user_id": "nobody"})).json()
    assert (said["basis"], said["default"], said["verdict"]["reason"]) == ("defaults", 1, "catalog_default")


async def test_an_unknown_feature_is_told_the_nearest_names(app_client: httpx2.AsyncClient) -> None:
    answer = await app_client.get("/api/v1/entitlements/exprt/explain", params={"user_id": "u_17"})
    plain = await app_client.get("/api/v1/entitlements/exprt", params={"user_id": "u_17"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_feature")
    assert answer.json()["detail"] == plain.json()["detail"]


async def test_the_past_and_the_future_can_be_asked(running: Running, app_client: httpx2.AsyncClient) -> None:
    await give(running)
    for days, basis in ((-1, "defaults"), (1, "expected")):
        at = (datetime.now(UTC) + timedelta(days=days)).isoformat()
        said = (await app_client.get(PATH, params={"user_id": "u_17", "at": at})).json()
        assert said["basis"] == basis


async def test_today_can_be_asked_about_yesterday(running: Running, app_client: httpx2.AsyncClient) -> None:
    await give(running)
    at = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    wanted = {"user_id": "u_17", "at": at, "as_known": "now"}
    said = (await app_client.get(PATH, params=wanted)).json()
    assert (said["basis"], said["as_known"]) == ("recomputed", "now")
    assert said["verdict"]["reason"] == "not_started"


@pytest.mark.parametrize(
    "at",
    [
        "yesterday",
        "2026-11-22",
        "2026-11-22T13:00:00",
        "2026-11-22T13:00:00 01:00",
        "1763812800",
        "",
        "2026-13-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ],
)
async def test_an_instant_without_its_offset_is_refused(app_client: httpx2.AsyncClient, at: str) -> None:
    answer = await app_client.get(PATH, params={"user_id": "u_17", "at": at})
    assert fields(answer) == ["at"]
    assert "RFC 3339" in answer.text


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-11-22t13:00:00+05:30"])
async def test_any_instant_with_its_offset_is_taken(
    running: Running, app_client: httpx2.AsyncClient, at: str
) -> None:
    await give(running)
    for as_known in ("then", "now"):
        wanted = {"user_id": "u_17", "at": at, "as_known": as_known}
        assert (await app_client.get(PATH, params=wanted)).status_code == 200


@pytest.mark.parametrize(
    ("parameters", "wrong"),
    [
        ({}, ["user_id"]),
        ({"user_id": ""}, ["user_id"]),
        ({"user_id": "u_17", "as_known": "later"}, ["as_known"]),
        ({"user_id": "u_17", "when": "now"}, ["when"]),
    ],
)
async def test_a_wrong_question_names_what_is_wrong(
    app_client: httpx2.AsyncClient, parameters: dict[str, str], wrong: list[str]
) -> None:
    assert fields(await app_client.get(PATH, params=parameters)) == wrong


async def test_a_key_without_the_scope_is_refused(running: Running) -> None:
    async with await client_for(running, scopes=("billing:read",)) as client:
        answer = await client.get(PATH, params={"user_id": "u_17"})
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")


async def test_nobody_is_answered_without_a_key(running: Running) -> None:
    async with client_of(read.app, running) as client:
        assert (await client.get(PATH, params={"user_id": "u_17"})).status_code == 401


async def test_without_postgres_nothing_is_explained(settings: Settings) -> None:
    async with proxied(settings.database_url.reveal()) as proxy:
        behind = msgspec.structs.replace(settings, database_url=Secret(proxy.url))
        async with running_reader(behind) as running:
            await seed_catalog(running.context)
            async with await client_for(running) as client:
                assert (await client.get(PATH, params={"user_id": "u_17"})).status_code == 200
                await proxy.cut()
                answer = await client.get(PATH, params={"user_id": "u_17"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
