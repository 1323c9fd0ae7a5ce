"""The doors of keys: what each role may do with them, and that nobody climbs by them."""

from typing import Any

from domain.flows.authenticate import KeyRing
from domain.flows.manage_keys import SCOPES, create_key
from domain.settings import Settings
from ingress import api
from tests.ingress.doors import client_of, running_reader
from tests.seeds import make_catalog, seed_catalog

EDITOR = "/api/v1/admin/apps/editor/keys"


async def test_a_key_is_made_listed_rotated_and_revoked_by_http(settings: Settings) -> None:
    async with running_reader(settings) as running:
        await seed_catalog(running.context)
        ops = await create_key(running.context, kind="operator", name="ops")
        async with client_of(api.app, running, ops.key) as client:
            acting = {"tollhouse-actor": "anna"}
            params = {"project": "acme"}
            made = await client.post(EDITOR, params=params, json={"name": "backend"}, headers=acting)
            assert made.status_code == 201, made.text
            assert made.headers["cache-control"] == "no-store"
            created = made.json()
            assert created["scopes"] == list(SCOPES[:5])
            assert (await KeyRing(running.context).authenticate(created["key"])).app == "editor"

            path = f"{EDITOR}/{created['key_id']}"
            rotated = await client.post(f"{path}/rotate", params=params, json={"overlap_s": 60})
            assert rotated.status_code == 201, rotated.text
            second = rotated.json()["created"]
            third = await client.post(EDITOR, params=params, json={"name": "third"})
            assert (third.status_code, third.json()["code"]) == (409, "too_many_keys")
            again = await client.post(f"{path}/rotate", params=params, json={})
            assert (again.status_code, again.json()["code"]) == (409, "key_ended")

            for _ in range(2):
                revoked = await client.post(f"{path}/revoke", params=params, json={"reason": "leaked"})
                assert (revoked.status_code, revoked.json()["state"]) == (200, "revoked")
            listed = await client.get(EDITOR, params=params)
            assert [key["key_id"] for key in listed.json()["data"]] == [second["key_id"]]
            ended = await client.get(EDITOR, params={**params, "ended": "true", "limit": "1"})
            assert ended.json()["next_cursor"]
            rest = await client.get(
                EDITOR, params={**params, "ended": "true", "cursor": ended.json()["next_cursor"]}
            )
            assert [key["created_by"] for key in rest.json()["data"]] == ["ops:anna"]
            for text in (listed.text, ended.text, rest.text, revoked.text):
                assert created["key"].split("_")[3] not in text
                assert second["key"].split("_")[3] not in text

            for path, body, status in (
                (EDITOR, {"name": ""}, 422),
                (EDITOR, {"name": "x", "scopes": ["root"]}, 422),
                (EDITOR, {"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, 422),
                (EDITOR, {"name": "x", "expires_at": "9999-12-31T23:59:59-23:59"}, 422),
                (EDITOR, {"name": "x", "kind": "operator"}, 422),
                ("/api/v1/admin/apps/nosuch/keys", {"name": "x"}, 404),
                (f"{EDITOR}/nosuch/revoke", {}, 404),
                (f"{EDITOR}/%00/rotate", {}, 404),
                (f"{EDITOR}/{second['key_id']}/rotate", {"overlap_s": -1}, 422),
            ):
                answer = await client.post(path, params=params, json=body)
                assert answer.status_code == status, (path, body, answer.text)


async def test_nobody_climbs_by_keys(settings: Settings) -> None:
    """Every role that is not let near a key, and what each tries: all refused, and nothing is made."""
    async with running_reader(settings) as running:
        context = running.context
        await seed_catalog(context)
        await seed_catalog(context, make_catalog("globex", "board"))
        target = await create_key(context, kind="app", project="acme", app="editor", name="target")

        async def make(kind: Any, project: str | None, *scopes: str, app: str | None = None) -> str:
            made = await create_key(
                context, kind=kind, project=project, app=app, name=kind, scopes=scopes or ("keys:write",)
            )
            return made.key

        narrow = await make("project", "acme", "keys:write", "entitlements:read")
        roles = {
            await make("app", "acme", *SCOPES, app="editor"): {403},
            await make("project", "acme", *(scope for scope in SCOPES if scope != "keys:write")): {403},
            await make("project", "globex"): {404},
            await make("operator", "globex"): {404, 403},
            narrow: {403},
        }
        wide = {"name": "x", "scopes": ["entitlements:read", "admin:write"]}
        for key, statuses in roles.items():
            async with client_of(api.app, running, key) as client:
                for path, body in (
                    (EDITOR, wide),
                    (f"{EDITOR}/{target.key_id}/rotate", {}),
                    (f"{EDITOR}?project=acme", wide),
                    (f"{EDITOR}/{target.key_id}/rotate?project=acme", {}),
                    *(((f"{EDITOR}/{target.key_id}/revoke", {}),) if key != narrow else ()),
                ):
                    answer = await client.post(path, json=body)
                    assert answer.status_code in statuses | {403}, (path, answer.text)
                    assert "th_" not in answer.text
                if key != narrow:
                    listed = await client.get(EDITOR)
                    assert listed.status_code in statuses, listed.text
        async with client_of(api.app, running) as client:
            for path in (EDITOR, f"{EDITOR}/x/rotate", f"{EDITOR}/x/revoke"):
                assert (await client.post(path, json={})).status_code == 401
        async with client_of(api.app, running, narrow) as client:
            own = {"name": "reader", "scopes": ["entitlements:read"]}
            given = await client.post("/api/v1/admin/apps/viewer/keys", json=own)
            assert given.status_code == 201, given.text
            assert given.json()["scopes"] == ["entitlements:read"]
            # To end a key gives nothing: whoever may manage keys may end the wider ones too.
            assert (await client.post(f"{EDITOR}/{target.key_id}/revoke", json={})).status_code == 200
