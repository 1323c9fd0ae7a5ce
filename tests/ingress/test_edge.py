"""What every answer says of caches, and who is let in by host and origin."""

from domain.addresses import parse_networks
from domain.flows.manage_keys import create_key
from domain.settings import Settings
from ingress import api
from tests.conftest import with_settings
from tests.ingress.doors import client_of, running_reader
from tests.seeds import seed_catalog

CONSOLE = {"origin": "https://console.example"}


async def test_only_reads_with_a_tag_may_be_kept_and_every_answer_varies_by_its_key(
    settings: Settings,
) -> None:
    async with running_reader(settings) as running:
        await seed_catalog(running.context)
        ops = await create_key(running.context, kind="operator", name="ops")
        async with client_of(api.app, running, ops.key) as client:
            answers = [
                await client.get(path)
                for path in (
                    "/api/v1/entitlements?user_id=u_1&app=editor&project=acme",
                    "/api/v1/entitlements/seats?user_id=u_1&app=editor&project=acme",
                    "/api/v1/entitlements/changes?app=editor&project=acme",
                    "/api/v1/admin/grants?project=acme",
                    "/api/v1/entitlements",
                    "/api/v1/nothing",
                    "/live",
                )
            ]
            answers.append(await client.post("/api/v1/admin/grant?project=acme", json={}))
            answers.append(await client.post("/live"))
            # No page is let in by default.
            assert not [
                n for n in (await client.get("/live", headers=CONSOLE)).headers if "access-control" in n
            ]
        for answer in answers:
            is_tagged = answer.status_code == 200 and "etag" in answer.headers
            kept = "private, must-revalidate" if is_tagged else "no-store"
            assert answer.headers.get_list("cache-control") == [kept], answer.request.url
            assert "Authorization" in answer.headers["vary"], answer.request.url
            assert answer.headers["x-request-id"]
        assert sum("etag" in answer.headers for answer in answers) == 2


async def test_hosts_and_pages_that_are_listed_are_let_in_and_no_others(settings: Settings) -> None:
    watched = with_settings(
        settings,
        allowed_hosts=("api.example.com",),
        cors_origins=("https://console.example",),
        trusted_proxies=parse_networks("127.0.0.1"),
    )
    async with running_reader(watched) as running:
        await seed_catalog(running.context)
        key = (await create_key(running.context, kind="app", project="acme", app="editor", name="x")).key
        path = "/api/v1/entitlements?user_id=u_1"
        async with client_of(api.app, running, key) as client:
            wrong = await client.get(path)
            assert (wrong.status_code, wrong.json()["code"]) == (421, "unknown_host")
            assert wrong.headers["content-type"] == "application/problem+json"
            # A probe comes by address.
            assert (await client.get("/ready")).status_code == 200

            client.headers["host"] = "api.example.com:8000"
            shown = await client.get(path, headers=CONSOLE)
            assert (shown.status_code, shown.headers["access-control-allow-origin"]) == (
                200,
                CONSOLE["origin"],
            )
            assert "etag" in shown.headers["access-control-expose-headers"]
            assert "Origin" in shown.headers["vary"]
            assert "Authorization" in shown.headers["vary"]
            refused = await client.get("/api/v1/nothing", headers=CONSOLE)
            assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (
                404,
                CONSOLE["origin"],
            )
            other = await client.get(path, headers={"origin": "https://evil.example"})
            assert "access-control-allow-origin" not in other.headers

            asks = {**CONSOLE, "access-control-request-method": "POST"}
            preflight = await client.options("/api/v1/admin/grant", headers=asks)
            assert (preflight.status_code, preflight.content) == (204, b"")
            assert preflight.headers["access-control-allow-origin"] == CONSOLE["origin"]
            assert "authorization" in preflight.headers["access-control-allow-headers"]
            assert "access-control-allow-credentials" not in preflight.headers
            evil = await client.options(
                "/api/v1/admin/grant", headers={**asks, "origin": "https://evil.example"}
            )
            assert evil.status_code == 405
            assert "access-control-allow-origin" not in evil.headers
