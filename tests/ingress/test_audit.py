"""`GET /api/v1/admin/audit` and `tollhouse audit`: who did what, for whoever may know."""

import getpass
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest

from domain.flows.grant import GrantWish, Operator, grant
from domain.flows.manage_keys import SCOPES, create_key
from domain.flows.revoke import ByGrant, revoke
from domain.settings import Settings
from ingress import api
from ingress.lifespan import Running, open_running
from tests.ingress.doors import client_of
from tests.ingress.test_cli import answer, call
from tests.seeds import make_catalog, seed_catalog

PATH = "/api/v1/admin/audit"
WISH = GrantWish(effect="allow", target_kind="feature", target="export", reason="case 12")


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[Running]:
    """Five actions: three grants of acme, a revocation, one grant of globex; and keys as they are made."""
    async with open_running("api", settings) as opened:
        context = opened.context
        await seed_catalog(context)
        await seed_catalog(context, make_catalog("globex", "board"))
        for actor, user in (("support:anna", "u_1"), ("cli:bea", "u_2"), ("support:anna", "u_2")):
            given = (await grant(context, "acme", user, WISH, Operator(actor=actor))).given
        operator = Operator(actor="cli:bea", request_id="req-7")
        await revoke(context, "acme", ByGrant(given.id), "case closed", operator)
        await grant(context, "globex", "u_1", WISH, Operator(actor="support:anna"))
        yield opened


async def keyed(running: Running, **named: Any) -> AbstractAsyncContextManager[httpx2.AsyncClient]:
    created = await create_key(running.context, **{"kind": "operator", "name": "support", **named})
    return client_of(api.app, running, created.key)


async def listed(client: httpx2.AsyncClient, **asked: str) -> list[tuple[str, str, str | None]]:
    said = await client.get(PATH, params=asked)
    assert said.status_code == 200, said.text
    return [(one["action"], one["actor"], one["user_id"]) for one in said.json()["data"]]


async def test_the_log_is_read_by_whatever_is_known_of_an_action(running: Running) -> None:
    async with await keyed(running, project="acme", name="chief") as client:
        whole = (await client.get(PATH)).json()["data"]
        assert [one["action"] for one in whole] == [
            "key.create",
            "grant.revoke",
            "grant.create",
            "grant.create",
            "grant.create",
        ]
        ended = whole[1]
        assert {name: ended[name] for name in ("project", "user_id", "reason", "request_id")} == {
            "project": "acme",
            "user_id": "u_2",
            "reason": "case closed",
            "request_id": "req-7",
        }
        assert ended["subject"] == {"grant": ended["details"]["revoked"][0]}
        anna, bea = ("grant.create", "support:anna"), ("grant.create", "cli:bea")
        revoked = ("grant.revoke", "cli:bea", "u_2")
        assert await listed(client, action="grant") == [
            revoked,
            (*anna, "u_2"),
            (*bea, "u_2"),
            (*anna, "u_1"),
        ]
        assert await listed(client, action="grant.revoke") == [revoked]
        assert await listed(client, action="gran") == []
        assert await listed(client, actor="support:anna") == [(*anna, "u_2"), (*anna, "u_1")]
        assert await listed(client, user_id="u_2", actor="cli:bea") == [revoked, (*bea, "u_2")]
        assert await listed(client, since=ended["at"]) == [("key.create", "system", None), revoked]
        assert await listed(client, until=whole[3]["at"]) == [(*anna, "u_1")]
        first = (await client.get(PATH, params={"limit": "2", "action": "grant"})).json()
        rest = (await client.get(PATH, params={"limit": "2", "cursor": first["next_cursor"]})).json()
        assert [one["id"] for one in first["data"] + rest["data"]] == [one["id"] for one in whole[1:]]
        assert rest["next_cursor"] is None


async def test_a_key_sees_the_actions_of_its_project_and_an_apps_key_none(running: Running) -> None:
    async with await keyed(running, project="globex") as other:
        assert await listed(other, action="grant") == [("grant.create", "support:anna", "u_1")]
        answered = await other.get(PATH, params={"project": "acme"})
        assert (answered.status_code, answered.json()["code"]) == (403, "wrong_project")
        assert (await other.get(PATH, params={"user_id": "u_2"})).json()["code"] == "unknown_user"
    app = {"kind": "app", "project": "acme", "app": "editor", "scopes": SCOPES}
    async with await keyed(running, **app) as client:
        answered = await client.get(PATH)
        assert (answered.status_code, answered.json()["code"]) == (403, "wrong_kind")
    async with await keyed(running) as chief:
        assert len(await listed(chief)) == 8
        assert len(await listed(chief, project="globex")) == 2
        for wrong, field in (
            ({"user_id": "u_1"}, "project"),
            ({"cursor": "x"}, "cursor"),
            ({"cursor": "9" * 19}, "cursor"),
            ({"limit": "101"}, "limit"),
            ({"since": "yesterday"}, "since"),
            ({"actor": "a\0b"}, "actor"),
            ({"who": "anna"}, "who"),
        ):
            answered = await chief.get(PATH, params=wrong)
            assert (answered.status_code, answered.json()["errors"][0]["field"]) == (422, field), wrong
        assert (await chief.get(PATH, params={"project": "acne"})).json()["code"] == "unknown_project"


async def test_the_log_is_read_in_a_terminal_too(running: Running, settings: Settings) -> None:
    words = ("--project", "acme", "--feature", "export", "--reason", "[bold]\tloud")
    assert call(settings, "grant", "u_1", *words).returncode == 0
    page = answer(call(settings, "audit", "--project", "acme", "--limit", "1", "--json"))
    assert [(one["action"], one["actor"]) for one in page["data"]] == [
        ("grant.create", f"cli:{getpass.getuser()}")
    ]
    shown = call(
        settings, "audit", "--project", "acme", "--user", "u_1", "--action", "grant", "--since", "1h"
    )
    assert shown.stdout.count("grant.create") == 2
    assert "[bold]" in shown.stdout
    assert "u_2" not in shown.stdout
    more = call(settings, "audit", "--limit", "1", "--until", "2099-01-01")
    assert f"--cursor {page['data'][0]['id']}" in more.stderr
    assert answer(call(settings, "audit", "--until", "1h", "--json"))["data"] == []
    for wrong, said in (
        (("--user", "u_1"), "--project: name the project"),
        (("--user", "nobody", "--project", "acme"), "Nobody knows a user 'nobody'"),
        (("--since", "soon"), "--since: is 'soon'"),
        (("--cursor", "x"), "--cursor: take the next_cursor"),
    ):
        refused = call(settings, "audit", *wrong)
        assert (refused.returncode, said in refused.stderr) == (2, True), (wrong, refused.stderr)
