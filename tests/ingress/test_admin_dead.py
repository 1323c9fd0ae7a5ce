"""`/api/v1/admin/dead`: who may see and act, and what is refused."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest

from domain.flows.manage_keys import create_key
from domain.settings import Settings
from ingress import api
from ingress.lifespan import Running, open_running
from tests.ingress.doors import client_of
from tests.seeds import make_catalog, seed_catalog, seed_dead

DEAD = "/api/v1/admin/dead"


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[Running]:
    """A dead customer of acme's u_17 and a dead refund of nobody known."""
    async with open_running("api", settings) as opened:
        await seed_catalog(opened.context)
        await seed_catalog(opened.context, make_catalog("globex", "board"))
        await seed_dead(opened.context)
        yield opened


async def keyed(running: Running, **named: Any) -> AbstractAsyncContextManager[httpx2.AsyncClient]:
    created = await create_key(running.context, **{"kind": "operator", "name": "support", **named})
    return client_of(api.app, running, created.key)


async def ids(client: httpx2.AsyncClient, query: str = "") -> list[str]:
    answer = await client.get(DEAD + query)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["data"]]


async def test_an_operator_of_one_project_sees_and_changes_its_own_alone(running: Running) -> None:
    async with await keyed(running, project="acme") as client:
        assert await ids(client) == ["cus_1"]
        assert (await client.get(f"{DEAD}/re_1")).status_code == 404
        assert (await client.post(f"{DEAD}/re_1/retry", json={})).status_code == 404
        assert (await client.get(f"{DEAD}?project=globex")).status_code == 403
    async with await keyed(running, project="globex") as client:
        assert await ids(client) == []
        assert (await client.post(f"{DEAD}/cus_1/discard", json={"reason": "spam"})).status_code == 404


async def test_an_operator_of_all_may_leave_the_project_open(running: Running) -> None:
    async with await keyed(running) as client:
        assert sorted(await ids(client)) == ["cus_1", "re_1"]
        assert await ids(client, "?project=acme") == ["cus_1"]
        assert (await client.get(f"{DEAD}?project=acne")).status_code == 404
        first = (await client.get(f"{DEAD}?limit=1")).json()
        assert await ids(client, f"?cursor={first['next_cursor']}") != [first["data"][0]["id"]]
        shown = (await client.get(f"{DEAD}/cus_1")).json()
        assert (shown["dead"]["user_id"], shown["events"][0]["event_id"]) == ("u_17", "evt_1")


async def test_a_retry_and_a_discard_name_who_did_it(running: Running) -> None:
    async with await keyed(running) as client:
        actor = {"Tollhouse-Actor": "anna", "Idempotency-Key": "night-1"}
        retried = await client.post(f"{DEAD}/cus_1/retry", json={"reason": "repaired"}, headers=actor)
        assert (retried.status_code, retried.json()["id"]) == (200, "cus_1")
        discarded = await client.post(f"{DEAD}/re_1/discard", json={"reason": "not ours"}, headers=actor)
        assert discarded.json()["discarded"] == ["evt_2"]
        assert await ids(client) == []
        for verb, body, first in (
            ("cus_1/retry", {"reason": "repaired"}, retried),
            ("re_1/discard", {"reason": "not ours"}, discarded),
        ):
            repeated = await client.post(f"{DEAD}/{verb}", json=body, headers=actor)
            assert (repeated.status_code, repeated.content) == (200, first.content)
            assert repeated.headers["idempotent-replayed"] == "true"
            changed = await client.post(f"{DEAD}/{verb}", json={"reason": "else"}, headers=actor)
            assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_key_reused")
        again = await client.post(f"{DEAD}/re_1/discard", json={"reason": "not ours"})
        assert (again.status_code, again.json()["code"]) == (404, "unknown_dead")
    async with running.context.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT actor, action, request_id FROM audit_log WHERE action LIKE 'dead.%' ORDER BY id"
        )
    assert [(row["actor"], row["action"]) for row in rows] == [
        ("support:anna", "dead.retry"),
        ("support:anna", "dead.discard"),
    ]
    assert rows[0]["request_id"] == retried.headers["x-request-id"]


async def test_reading_and_writing_need_their_scopes(running: Running) -> None:
    async with await keyed(running, scopes=["admin:read"]) as client:
        assert len(await ids(client)) == 2
        for verb in ("retry", "discard"):
            refused = await client.post(f"{DEAD}/cus_1/{verb}", json={"reason": "x"})
            assert (refused.status_code, refused.json()["code"]) == (403, "missing_scope")
    async with await keyed(running, kind="app", project="acme", app="editor") as client:
        assert (await client.get(DEAD)).status_code == 403


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("cus_1/discard", {}, "reason"),
        ("cus_1/discard", {"reason": " "}, "reason"),
        ("cus_1/retry", {"reason": "x" * 501}, "reason"),
        ("cus_1/retry", {"why": "x"}, "why"),
        ("cus_1/retry?porject=acme", {}, "porject"),
    ],
)
async def test_a_wrong_call_is_told_what_is_wrong(
    running: Running, path: str, body: dict[str, Any], field: str
) -> None:
    async with await keyed(running) as client:
        answer = await client.post(f"{DEAD}/{path}", json=body)
        assert answer.status_code == 422, answer.text
        assert [error["field"] for error in answer.json()["errors"]] == [field]
        assert len(await ids(client)) == 2
