"""`GET /api/v1/entitlements/changes` as a micro-app sees it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx2
import msgspec
import pytest

from domain.context import Context
from domain.flows.manage_keys import create_key
from domain.settings import Secret, Settings
from domain.store import changes
from ingress import api, read
from ingress.lifespan import Running
from tests.ingress.doors import client_of, running_reader
from tests.proxy import proxied
from tests.seeds import make_catalog, seed_catalog, seed_set

PATH = "/api/v1/entitlements/changes"


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


async def change(context: Context, user_id: str, version: int, app: str = "editor") -> None:
    stored = await seed_set(context, user_id=user_id, version=version, app=app)
    async with context.database.transaction() as connection:
        await changes.append_changes(connection, stored, [(version, ["export", "seats"])], cause="test")


async def test_a_page_reads_as_documented(running: Running, client: httpx2.AsyncClient) -> None:
    await change(running.context, "u_1", 1)
    answer = await client.get(PATH)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    page = answer.json()
    recorded_at = datetime.fromisoformat(page["data"][0].pop("recorded_at"))
    assert timedelta() < datetime.now(UTC) - recorded_at < timedelta(minutes=1)
    assert page["data"] == [{"user_id": "u_1", "version": 1, "changed": ["export", "seats"], "cause": "test"}]
    assert list(page) == ["data", "next_cursor"]


async def test_a_poller_goes_on_from_next_cursor_also_where_nothing_has_changed(
    running: Running, client: httpx2.AsyncClient
) -> None:
    empty = (await client.get(PATH)).json()
    assert empty["data"] == []
    for version in (1, 2, 3):
        await change(running.context, "u_1", version)
    first = (await client.get(PATH, params={"cursor": empty["next_cursor"], "limit": 2})).json()
    second = (await client.get(PATH, params={"cursor": first["next_cursor"], "limit": 2})).json()
    third = (await client.get(PATH, params={"cursor": second["next_cursor"]})).json()
    assert [[row["version"] for row in page["data"]] for page in (first, second, third)] == [[1, 2], [3], []]
    assert third["next_cursor"] == second["next_cursor"]
    now = (await client.get(PATH, params={"cursor": "now"})).json()
    assert now == {"data": [], "next_cursor": second["next_cursor"]}


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"cursor": "yesterday"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "c99"}, "cursor"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "1.5"}, "limit"),
        ({"limit": "٣"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"since": "c1"}, "since"),
    ],
)
async def test_a_wrong_parameter_is_refused_by_name(
    client: httpx2.AsyncClient, parameters: dict[str, str], field: str
) -> None:
    answer = await client.get(PATH, params=parameters)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


async def test_an_app_reads_its_own_changes_and_a_project_names_one(running: Running) -> None:
    await seed_catalog(running.context, make_catalog("globex", "board"))
    await change(running.context, "u_1", 1)
    await change(running.context, "u_2", 4, app="viewer")
    async with client_of(read.app, running, await make_key(running.context)) as client:
        assert [row["user_id"] for row in (await client.get(PATH)).json()["data"]] == ["u_1"]
        assert (await client.get(PATH, params={"app": "viewer"})).json()["code"] == "wrong_app"
    key = await make_key(running.context, "project", project="acme")
    async with client_of(api.app, running, key) as client:
        assert (await client.get(PATH)).status_code == 422
        page = (await client.get(PATH, params={"app": "viewer"})).json()
        assert [row["user_id"] for row in page["data"]] == ["u_2"]
        assert (await client.get(PATH, params={"app": "nosuch"})).json()["code"] == "unknown_app"


async def test_without_a_key_or_its_scope_nothing_is_answered(running: Running) -> None:
    created = await create_key(
        running.context, kind="app", project="acme", app="editor", name="x", scopes=["checkout:write"]
    )
    async with client_of(read.app, running, created.key) as client:
        assert (await client.get(PATH)).json()["code"] == "missing_scope"
    async with client_of(read.app, running) as client:
        assert (await client.get(PATH)).status_code == 401


async def test_while_postgres_is_away_the_feed_is_503_and_goes_on_afterwards(settings: Settings) -> None:
    async with proxied(settings.database_url.reveal()) as proxy:
        behind = msgspec.structs.replace(settings, database_url=Secret(proxy.url))
        async with running_reader(behind) as running:
            await seed_catalog(running.context)
            await change(running.context, "u_1", 1)
            async with client_of(read.app, running, await make_key(running.context)) as client:
                cursor = (await client.get(PATH)).json()["next_cursor"]
                await change(running.context, "u_1", 2)
                await proxy.cut()
                answer = await client.get(PATH, params={"cursor": cursor})
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                await proxy.restore()
                page = (await client.get(PATH, params={"cursor": cursor})).json()
                assert [row["version"] for row in page["data"]] == [2]
