"""`POST /api/v1/admin/grant` and `/revoke`, `GET /api/v1/admin/grants`: the operators' contract."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest

from domain.flows.manage_keys import SCOPES, create_key
from domain.settings import Settings
from ingress import api
from ingress.lifespan import Running, open_running
from tests.ingress.doors import client_of
from tests.seeds import make_catalog, seed_catalog

GRANT, REVOKE, GRANTS = (f"/api/v1/admin/{name}" for name in ("grant", "revoke", "grants"))
BODY: dict[str, Any] = {
    "user_id": "u_17",
    "effect": "allow",
    "target": {"feature": "export"},
    "reason": "paid by bank transfer, case 12",
}


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[Running]:
    async with open_running("api", settings) as opened:
        await seed_catalog(opened.context)
        await seed_catalog(opened.context, make_catalog("globex", "board"))
        yield opened


@pytest.fixture
async def operator(running: Running) -> AsyncIterator[httpx2.AsyncClient]:
    """An operator of acme, named `support`."""
    async with await keyed(running, kind="operator", project="acme", name="support") as client:
        yield client


async def keyed(running: Running, **named: Any) -> AbstractAsyncContextManager[httpx2.AsyncClient]:
    created = await create_key(running.context, **{"kind": "operator", "name": "support", **named})
    return client_of(api.app, running, created.key)


async def rows(running: Running, sql: str) -> list[dict[str, Any]]:
    async with running.context.database.connection() as connection:
        return [dict(row) for row in await connection.fetch(sql)]


def places(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return [error["field"] for error in answer.json()["errors"]]


# ── grant, ask, revoke, ask ─────────────────────────────────────────────────────────────────────────


async def test_a_grant_is_answered_whole_and_ends_what_readers_remember(
    running: Running, operator: httpx2.AsyncClient
) -> None:
    async with await keyed(running, kind="app", project="acme", app="editor") as app:
        asked = await app.get("/api/v1/entitlements/export?user_id=u_17")
        assert asked.json()["granted"] is False
        answer = await operator.post(GRANT, json={**BODY, "expires_at": "2099-01-01T01:00:00+01:00"})
        assert answer.status_code == 201, answer.text
        given = answer.json()
        async with asyncio.timeout(5):
            # A reader remembers for 10 s; the message that ends that was sent before the grant was answered.
            while (asked := await app.get("/api/v1/entitlements/export?user_id=u_17")).json()["version"] == 0:
                pass
    assert (asked.json()["granted"], asked.json()["reason"]) == (True, "grant")
    assert asked.json()["version"] == given["versions"]["editor"]
    assert asked.json()["sources"] == [{"kind": "grant", "id": given["id"], "effect": "allow"}]
    assert given["id"].startswith("gr_")
    assert {name: given[name] for name in ("project", "user_id", "effect", "target", "value", "actor")} == {
        "project": "acme",
        "user_id": "u_17",
        "effect": "allow",
        "target": {"feature": "export"},
        "value": None,
        "actor": "support",
    }
    assert given["expires_at"] == "2099-01-01T00:00:00Z"
    assert given["starts_at"] == given["created_at"]
    assert set(given["versions"]) == {"editor", "viewer"}
    assert "idempotent-replayed" not in answer.headers


async def test_a_revocation_says_what_ended_what_was_over_and_what_still_gives(
    running: Running, operator: httpx2.AsyncClient
) -> None:
    first = (await operator.post(GRANT, json=BODY)).json()
    second = (await operator.post(GRANT, json=BODY)).json()
    key = {"Idempotency-Key": "case-12"}
    ended = {"grant_id": first["id"], "reason": "case closed"}
    answer = await operator.post(REVOKE, json=ended, headers=key)
    repeated = await operator.post(REVOKE, json=ended, headers=key)
    assert (repeated.content, repeated.headers["idempotent-replayed"]) == (answer.content, "true")
    assert answer.status_code == 200
    revoked = answer.json()
    assert (revoked["revoked"], revoked["already_ended"]) == ([first["id"]], [])
    assert revoked["still_granted_by"][0] == {
        "app": "editor",
        "feature": "export",
        "value": True,
        "reason": "grant",
        "sources": [{"kind": "grant", "id": second["id"], "effect": "allow"}],
    }
    assert "effect deny" in revoked["hint"]
    named = {"user_id": "u_17", "target": {"feature": "export"}, "reason": "case closed"}
    last = (await operator.post(REVOKE, json=named)).json()
    assert last["revoked"] == [second["id"]]
    assert last["already_ended"] == [{"id": first["id"], "state": "revoked"}]
    assert (last["still_granted_by"], last["hint"]) == ([], None)
    again = await operator.post(REVOKE, json=named)
    assert (again.status_code, again.json()["revoked"]) == (200, [])
    async with await keyed(running, kind="app", project="acme", app="viewer") as app:
        asked = (await app.get("/api/v1/entitlements/export?user_id=u_17")).json()
    assert (asked["granted"], asked["reason"]) == (False, "revoked")
    assert asked["version"] == last["versions"]["viewer"]


async def test_the_list_shows_operators_the_words_and_nobody_else(
    running: Running, operator: httpx2.AsyncClient
) -> None:
    given = (await operator.post(GRANT, json=BODY)).json()
    await operator.post(REVOKE, json={"grant_id": given["id"], "reason": "case closed"})
    [listed] = (await operator.get(GRANTS)).json()["data"]
    assert (listed["id"], listed["state"], listed["user_id"]) == (given["id"], "revoked", "u_17")
    assert (listed["reason"], listed["revoke_reason"]) == (BODY["reason"], "case closed")
    assert (listed["actor"], listed["revoked_by"]) == ("support", "support")
    async with await keyed(running, kind="app", project="acme", app="editor") as app:
        assert (await app.get(GRANTS)).status_code == 403
        assert "case 12" not in (await app.get("/api/v1/entitlements?user_id=u_17")).text


async def test_the_list_goes_on_where_its_page_ended(operator: httpx2.AsyncClient) -> None:
    made = [(await operator.post(GRANT, json=BODY)).json()["id"] for _ in range(3)]
    first = (await operator.get(f"{GRANTS}?limit=2&state=active&user_id=u_17")).json()
    rest = (await operator.get(f"{GRANTS}?limit=2&cursor={first['next_cursor']}")).json()
    assert [listed["id"] for listed in first["data"] + rest["data"]] == made[::-1]
    assert rest["next_cursor"] is None


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────


#: Under which field each change of BODY is refused.
WRONG_GRANTS: list[tuple[dict[str, Any], str]] = [
    ({"user_id": ""}, "user_id"),
    ({"user_id": "a\0b"}, "user_id"),
    ({"user_id": "x" * 256}, "user_id"),
    ({"user_id": 17}, "user_id"),
    ({"effect": "give"}, "effect"),
    ({"effect": "override", "target": {"plan": "pro"}, "value": 1}, "effect"),
    ({"effect": "add", "value": 1}, "effect"),
    ({"target": {}}, "target"),
    ({"target": {"feature": "export", "plan": "pro"}}, "target"),
    ({"target": {"feature": "exprt"}}, "target.feature"),
    ({"target": {"feature": ""}}, "target.feature"),
    ({"target": {"plan": "a\0"}}, "target.plan"),
    ({"target": {"project": "globex"}}, "target.project"),
    ({"target": {"app": "board"}}, "target.app"),
    ({"target": {"role": "admin"}}, "target.role"),
    ({"target": "export"}, "target"),
    ({"value": "yes"}, "value"),
    ({"value": 1.5}, "value"),
    ({"value": {"per_unit": True}}, "value"),
    ({"target": {"feature": "seats"}, "value": 2**60}, "value"),
    ({"effect": "deny", "value": True}, "value"),
    ({"starts_at": "tomorrow"}, "starts_at"),
    ({"starts_at": "2099-01-01T00:00:00"}, "starts_at"),
    ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
    ({"expires_at": "9999-12-31T23:59:59-05:00"}, "expires_at"),
    ({"starts_at": "2099-01-01T00:00:00Z", "expires_at": "2098-01-01T00:00:00Z"}, "expires_at"),
    ({"reason": "  "}, "reason"),
    ({"reason": "x" * 501}, "reason"),
    ({"reason": "a\0b"}, "reason"),
    ({"reason": None}, "reason"),
    ({"project": "acme"}, "project"),
    ({"actor": "somebody"}, "actor"),
]


async def test_what_cannot_be_granted_is_refused_by_its_field_and_changes_nothing(
    running: Running, operator: httpx2.AsyncClient
) -> None:
    refused = [
        (change, places(await operator.post(GRANT, json={**BODY, **change}))) for change, _ in WRONG_GRANTS
    ]
    assert refused == [(change, [field]) for change, field in WRONG_GRANTS]
    assert (
        await rows(
            running, "SELECT 1 FROM users UNION ALL SELECT 1 FROM audit_log WHERE user_key IS NOT NULL"
        )
        == []
    )


async def test_a_field_that_is_missing_is_named(operator: httpx2.AsyncClient) -> None:
    for missing in BODY:
        body = {name: value for name, value in BODY.items() if name != missing}
        assert places(await operator.post(GRANT, json=body)) == [missing]


WRONG_REVOCATIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({"reason": "x"}, ["grant_id"]),
    ({"user_id": "u_17", "reason": "x"}, ["grant_id"]),
    ({"target": {"plan": "pro"}, "reason": "x"}, ["grant_id"]),
    ({"grant_id": "gr_1", "user_id": "u_17", "effect": "deny", "reason": "x"}, ["user_id", "effect"]),
    ({"grant_id": "gr\0", "reason": "x"}, ["grant_id"]),
    ({"user_id": "u_17", "target": {}, "reason": "x"}, ["target"]),
    ({"user_id": "u_17", "target": {"plan": "pro", "app": "editor"}, "reason": "x"}, ["target"]),
    ({"grant_id": "gr_1"}, ["reason"]),
    ({"grant_id": "gr_1", "reason": "\t"}, ["reason"]),
]


async def test_a_revocation_that_names_nothing_or_too_much_is_refused(operator: httpx2.AsyncClient) -> None:
    refused = [(body, places(await operator.post(REVOKE, json=body))) for body, _ in WRONG_REVOCATIONS]
    assert refused == WRONG_REVOCATIONS


WRONG_LISTS = [
    ("state=dead", "state"),
    ("limit=0", "limit"),
    ("limit=101", "limit"),
    ("limit=ten", "limit"),
    ("cursor=yesterday", "cursor"),
    ("user_id=", "user_id"),
    ("users=u_17", "users"),
    ("user_id=a%00b", "user_id"),
]


async def test_a_list_that_cannot_be_is_refused_by_its_parameter(operator: httpx2.AsyncClient) -> None:
    refused = [(query, places(await operator.get(f"{GRANTS}?{query}"))) for query, _ in WRONG_LISTS]
    assert refused == [(query, [field]) for query, field in WRONG_LISTS]


async def test_a_grant_or_user_that_is_not_there_is_404(operator: httpx2.AsyncClient) -> None:
    answer = await operator.post(REVOKE, json={"grant_id": "gr_none", "reason": "x"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_grant")
    named = {"user_id": "nobody", "target": {"plan": "pro"}, "reason": "x"}
    answer = await operator.post(REVOKE, json=named)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_user")


# ── whose key ───────────────────────────────────────────────────────────────────────────────────────


DOORS = [("POST", GRANT, "admin:write"), ("POST", REVOKE, "admin:write"), ("GET", GRANTS, "admin:read")]


async def test_each_door_asks_for_its_scope(running: Running) -> None:
    for method, path, scope in DOORS:
        await assert_scope_is_asked_for(running, method, path, scope)


async def assert_scope_is_asked_for(running: Running, method: str, path: str, scope: str) -> None:
    others = [other for other in SCOPES if other != scope]
    async with await keyed(running, project="acme", scopes=others) as client:
        answer = await client.request(method, path, json=BODY if method == "POST" else None)
        assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
    async with client_of(api.app, running) as nobody:
        assert (await nobody.request(method, path)).status_code == 401


async def test_a_key_of_one_project_reaches_nothing_of_another(
    running: Running, operator: httpx2.AsyncClient
) -> None:
    given = (await operator.post(GRANT, json=BODY)).json()
    async with await keyed(running, project="globex") as other:
        answer = await other.post(REVOKE, json={"grant_id": given["id"], "reason": "x"})
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_grant")
        named = {"user_id": "u_17", "target": {"feature": "export"}, "reason": "x"}
        assert (await other.post(REVOKE, json=named)).json()["code"] == "unknown_user"
        assert (await other.get(GRANTS)).json() == {"data": [], "next_cursor": None}
        answer = await other.post(f"{GRANT}?project=acme", json=BODY)
        assert (answer.status_code, answer.json()["code"]) == (403, "wrong_project")


async def test_a_key_of_an_app_reaches_no_admin_door_whatever_its_scopes(running: Running) -> None:
    async with await keyed(running, kind="app", project="acme", app="editor", scopes=SCOPES) as app:
        for method, path, _ in DOORS:
            answer = await app.request(method, path, json=BODY if method == "POST" else None)
            assert (answer.status_code, answer.json()["code"]) == (403, "wrong_kind")
            assert "key of the project or of an operator" in answer.json()["detail"]
    assert await rows(running, "SELECT 1 FROM grants") == []


async def test_an_operator_of_every_project_names_one(running: Running) -> None:
    async with await keyed(running) as client:
        assert places(await client.post(GRANT, json=BODY)) == ["project"]
        assert places(await client.get(GRANTS)) == ["project"]
        assert (await client.post(f"{GRANT}?project=globex", json=BODY)).json()["project"] == "globex"
        assert len((await client.get(f"{GRANTS}?project=globex")).json()["data"]) == 1
        answer = await client.post(f"{GRANT}?project=globx", json=BODY)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_project")
        assert "did you mean 'globex'" in answer.json()["detail"]


async def test_the_actor_of_an_operators_key_is_written_down(
    running: Running, operator: httpx2.AsyncClient
) -> None:
    named = {"Tollhouse-Actor": "anna", "X-Request-Id": "req-7"}
    given = (await operator.post(GRANT, json=BODY, headers=named)).json()
    assert given["actor"] == "support:anna"
    [entry] = await rows(running, "SELECT actor, request_id FROM audit_log WHERE action = 'grant.create'")
    assert entry == {"actor": "support:anna", "request_id": "req-7"}


async def test_an_actor_that_is_no_name_is_refused(operator: httpx2.AsyncClient) -> None:
    for actor in (b"", b" ", b"x" * 101, b"a\tb", b"\xff", b"a\x1bb"):
        answer = await operator.post(GRANT, json=BODY, headers={b"tollhouse-actor": actor})
        assert places(answer) == ["Tollhouse-Actor"]


async def test_only_an_operators_key_says_for_whom_it_acts(running: Running) -> None:
    async with await keyed(running, kind="project", project="acme", scopes=["admin:write"]) as client:
        answer = await client.post(GRANT, json=BODY, headers={"Tollhouse-Actor": "anna"})
        assert places(answer) == ["Tollhouse-Actor"]
        assert (await client.post(GRANT, json=BODY)).json()["actor"] == "support"


# ── the same call again ─────────────────────────────────────────────────────────────────────────────


async def test_a_repeat_under_its_key_is_the_same_answer_and_says_so(operator: httpx2.AsyncClient) -> None:
    key = {"Idempotency-Key": "case-12"}
    first = await operator.post(GRANT, json=BODY, headers=key)
    shuffled = dict(reversed(BODY.items()))
    again = await operator.post(GRANT, json=shuffled, headers=key)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    answer = await operator.post(GRANT, json={**BODY, "reason": "another"}, headers=key)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


async def test_twenty_parallel_calls_under_one_key_are_one_grant(
    running: Running, operator: httpx2.AsyncClient
) -> None:
    key = {"Idempotency-Key": "case-12"}
    answers = await asyncio.gather(*(operator.post(GRANT, json=BODY, headers=key) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert len(await rows(running, "SELECT 1 FROM grants")) == 1


async def test_an_idempotency_key_that_cannot_be_one_is_refused(operator: httpx2.AsyncClient) -> None:
    for key in [b"", b"x" * 256, b"a\tb", "ä".encode(), b"\xff"]:
        answer = await operator.post(GRANT, json=BODY, headers={b"idempotency-key": key})
        assert places(answer) == ["Idempotency-Key"]


async def test_a_header_that_comes_twice_is_refused(operator: httpx2.AsyncClient) -> None:
    twice = [("idempotency-key", "a"), ("idempotency-key", "b")]
    assert places(await operator.post(GRANT, json=BODY, headers=twice)) == ["Idempotency-Key"]
