"""Who asks too often is told so by name, and nobody else notices."""

import httpx2
from starlette.types import Scope

from domain.flows.manage_keys import create_key, revoke_key
from domain.rules.api_key import format_key, make_key
from domain.settings import Settings
from ingress import api, read
from ingress.limits import KeyLimits
from tests.conftest import with_settings
from tests.ingress.doors import client_of, running_reader
from tests.seeds import seed_catalog

PATH = "/api/v1/entitlements?user_id=u_17"


async def test_a_key_over_its_rate_is_refused_and_others_are_not(settings: Settings) -> None:
    limited = with_settings(settings, read_rate=4.0, write_rate=0.2)
    async with running_reader(limited) as running:
        await seed_catalog(running.context)
        greedy, modest = [
            (await create_key(running.context, kind="project", project="acme", name=name, scopes=SCOPES)).key
            for name in ("greedy", "modest")
        ]
        async with client_of(api.app, running, greedy) as client:
            answers = [await client.get(f"{PATH}&app=editor") for _ in range(80)]
            refused = [answer for answer in answers if answer.status_code == 429]
            # 20 at once, and what four a second bring meanwhile.
            assert len(refused) >= 20
            assert {answer.status_code for answer in answers[:20]} == {200}
            one = refused[-1]
            assert one.json()["code"] == "rate_limited"
            assert "TOLLHOUSE_READ_RATE" in one.json()["detail"]
            assert one.headers["retry-after"] == "1"
            assert one.headers["ratelimit-policy"] == '"read";q=20;w=5'
            assert one.headers["ratelimit"] == '"read";r=0;t=1'
            # Its writes have a bucket of their own, and say what is left.
            first, second = [await client.post(f"{KEYS}/nosuch/revoke", json={}) for _ in range(2)]
            assert (first.status_code, first.headers["ratelimit"]) == (404, '"write";r=0;t=5')
            assert first.headers["ratelimit-policy"] == '"write";q=1;w=5'
            assert (second.status_code, second.headers["ratelimit"][:12]) == (429, '"write";r=0;')
        async with client_of(api.app, running, modest) as client:
            assert {(await client.get(f"{PATH}&app=editor")).status_code for _ in range(20)} == {200}
        async with client_of(read.app, running, greedy) as client:
            # A caller that hurries on is refused all the same.
            assert (await client.get(f"{PATH}&app=editor")).status_code in {200, 429}


async def test_who_asks_on_is_refused_at_once_with_the_very_same_answer(settings: Settings) -> None:
    """The short way of `ingress.hasty` and the routes: the same bytes, and nobody else is refused by it."""
    limited = with_settings(settings, read_rate=0.2, allowed_hosts=("door",))
    async with running_reader(limited) as running:
        await seed_catalog(running.context)
        created = await create_key(
            running.context, kind="app", project="acme", app="editor", name="x", scopes=SCOPES
        )
        named = {"x-request-id": "mine"}
        async with client_of(api.app, running, created.key) as client:
            assert (await client.get(PATH)).status_code == 200
            routed = await client.get(PATH, headers=named)
            hasty = running.hasty.find_refusal
            assert hasty(_scope(created.key)) is not None
            assert hasty(_scope(created.key + "0")) is None
            assert hasty({**_scope(created.key), "headers": []}) is None
            assert hasty({**_scope(created.key), "path": "/api/v1/entitlements/seats"}) is None
            assert hasty({**_scope(created.key), "method": "POST"}) is None
            assert hasty(_scope(created.key, host=b"other")) is None
            at_once = await client.get(PATH, headers=named)
            assert (at_once.status_code, at_once.content) == (routed.status_code, routed.content)
            assert sorted(at_once.headers.multi_items()) == sorted(routed.headers.multi_items())
            head = await client.head(PATH, headers=named)
            assert (head.content, head.headers["content-length"]) == (b"", str(len(at_once.content)))
            assert (await client.get("/live")).status_code == 200
            # What is no read has its own limit.
            assert (await client.post(f"{KEYS}/nosuch/revoke", json={})).status_code == 403
            assert (await client.get(PATH, headers={"host": "other"})).status_code == 421
            # A key that was revoked is no key any more, whatever it was told before.
            await revoke_key(running.context, created.key_id)
            running.keys.forget(created.key_id)
            assert (await client.get(PATH)).status_code == 401


def _scope(key: str, host: bytes = b"door") -> Scope:
    headers = [(b"host", host), (b"authorization", b"Bearer " + key.encode())]
    return {"type": "http", "method": "GET", "path": "/api/v1/entitlements", "headers": headers}


async def test_a_query_counts_by_its_users(settings: Settings) -> None:
    async with running_reader(with_settings(settings, read_rate=2.0)) as running:
        await seed_catalog(running.context)
        key = (await create_key(running.context, kind="app", project="acme", app="editor", name="x")).key
        async with client_of(api.app, running, key) as client:

            async def query(users: int) -> httpx2.Response:
                ids = [f"u_{number}" for number in range(users)]
                return await client.post("/api/v1/entitlements/query", json={"user_ids": ids})

            # Of ten at once: eight for 40 users, then one, then too many.
            assert [(await query(users)).status_code for users in (40, 5)] == [200, 200]
            refused = await query(100)
            assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
            assert int(refused.headers["retry-after"]) >= 4
        # A key whose limit is below a whole query gets one with a full bucket.
        slow = with_settings(settings, read_rate=0.5)
        running.limits = KeyLimits(slow)
        async with client_of(api.app, running, key) as client:
            assert [(await query(500)).status_code for _ in range(2)] == [200, 429]


KEYS = "/api/v1/admin/apps/editor/keys"
SCOPES = ("entitlements:read", "keys:write")


async def test_a_door_that_is_asked_with_invented_keys_says_when_to_come_back(settings: Settings) -> None:
    async with running_reader(with_settings(settings, failed_login_rate=0.1)) as running:
        await seed_catalog(running.context)
        good = await create_key(running.context, kind="app", project="acme", app="editor", name="x")
        async with client_of(read.app, running) as client:
            answers = [
                await client.get(
                    PATH,
                    headers={
                        "authorization": f"Bearer {format_key(make_key('test', b'%010d' % n, b'1' * 32))}"
                    },
                )
                for n in range(25)
            ]
            assert [answer.status_code for answer in answers] == [401] * 20 + [429] * 5
            assert answers[-1].json()["code"] == "too_many_failed_logins"
            assert 1 <= int(answers[-1].headers["retry-after"]) <= 10
            malformed = {"authorization": "Bearer th_test_nonsense"}
            assert (await client.get(PATH, headers=malformed)).status_code == 401
        # Somebody else's address is not this one's.
        async with client_of(read.app, running, good.key, address="203.0.113.7") as client:
            assert (await client.get(PATH)).status_code == 200
