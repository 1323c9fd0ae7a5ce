"""Keys: who gets one, who is recognised, and what an outage changes about it."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from domain.context import Context, open_context
from domain.errors import Invalid, Unauthorized, Unavailable, Unknown
from domain.flows.authenticate import KeyRing
from domain.flows.manage_keys import SCOPES, CreatedKey, create_key, revoke_key
from domain.rules.api_key import format_key, make_key, parse_key
from domain.settings import Secret, Settings, SettingsInvalid
from tests.proxy import Proxy, proxied
from tests.seeds import make_catalog, seed_catalog


@pytest.fixture
async def ready(context: Context) -> Context:
    await seed_catalog(context)
    return context


async def make_app_key(context: Context, **changes: object) -> CreatedKey:
    named = {"kind": "app", "project": "acme", "app": "editor", "name": "backend"}
    return await create_key(context, **{**named, **changes})  # type: ignore[arg-type]  # overrides of a test


async def count_questions(context: Context, ring: KeyRing, text: str) -> int:
    """Rows read from api_keys while `text` is authenticated, whatever the outcome."""
    before = await _reads(context)
    with contextlib.suppress(Unauthorized):
        await ring.authenticate(text)
    return await _reads(context) - before


async def _reads(context: Context) -> int:
    async with context.database.connection() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        row = await connection.fetchrow(
            "SELECT seq_scan + coalesce(idx_scan, 0) AS n FROM pg_stat_user_tables WHERE relname = 'api_keys'"
        )
        assert row is not None
        return int(row["n"])


async def test_a_new_key_is_recognised_as_what_it_was_made_for(ready: Context) -> None:
    created = await make_app_key(ready)
    principal = await KeyRing(ready).authenticate(created.key)
    assert (principal.kind, principal.project, principal.app) == ("app", "acme", "editor")
    assert (principal.key_id, principal.name) == (created.key_id, "backend")
    assert principal.scopes == set(SCOPES[:5])


async def test_defaults_of_scopes_widen_from_app_to_project_to_operator(ready: Context) -> None:
    ring = KeyRing(ready)
    project = await create_key(ready, kind="project", project="acme", name="gateway")
    operator = await create_key(ready, kind="operator", name="ops")
    assert (await ring.authenticate(project.key)).scopes == {*SCOPES[:5], "metrics:read"}
    assert (await ring.authenticate(operator.key)).scopes == set(SCOPES)
    narrow = await make_app_key(ready, scopes=["entitlements:read"])
    assert (await ring.authenticate(narrow.key)).scopes == {"entitlements:read"}


async def test_the_secret_is_nowhere_in_the_database(ready: Context) -> None:
    created = await make_app_key(ready)
    key = parse_key(created.key)
    assert key is not None
    async with ready.database.connection() as connection:
        row = await connection.fetchval("SELECT row_to_json(k)::text FROM api_keys k")
    assert created.key_id in row
    assert key.secret not in row
    assert key.secret.encode().hex() not in row


async def test_the_prefix_says_the_mode_of_the_deployment(ready: Context) -> None:
    assert (await make_app_key(ready)).key.startswith("th_test_")
    async with ready.database.transaction() as connection:
        await connection.execute(
            "INSERT INTO deployment (account_id, mode, env) VALUES ('acct_1', 'live', 'x')"
        )
    assert (await make_app_key(ready)).key.startswith("th_live_")


async def test_unknown_projects_and_apps_are_refused_with_the_nearest(ready: Context) -> None:
    with pytest.raises(Unknown, match="no app of project acme 'edtor'; did you mean 'editor'"):
        await make_app_key(ready, app="edtor")
    with pytest.raises(Unknown, match="no project 'zzz'; known: acme") as refused:
        await make_app_key(ready, project="zzz")
    assert refused.value.code == "unknown_project"


async def test_before_the_first_catalog_the_refusal_says_what_to_run(context: Context) -> None:
    with pytest.raises(Unknown, match="tollhouse catalog apply"):
        await make_app_key(context)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"app": None}, "names its project and its app"),
        ({"kind": "project", "project": None, "app": None}, "names its project"),
        ({"kind": "operator"}, "names no app"),
        ({"name": "  "}, "1 to 100 printable"),
        ({"name": "a\nb"}, "1 to 100 printable"),
        ({"scopes": ["entitlements:write"]}, "no scope 'entitlements:write'"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "in the future"),
    ],
)
async def test_what_does_not_fit_is_refused(ready: Context, changes: dict[str, object], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        await make_app_key(ready, **changes)


async def test_without_a_pepper_no_key_is_made(ready: Context) -> None:
    bare = msgspec.structs.replace(ready, settings=msgspec.structs.replace(ready.settings, key_peppers=()))
    with pytest.raises(SettingsInvalid, match="TOLLHOUSE_KEY_PEPPERS"):
        await make_app_key(bare)


async def test_garbage_is_refused_without_asking_the_database(ready: Context) -> None:
    ring = KeyRing(ready)
    created = await make_app_key(ready)
    for text in ("", "th_test_x", created.key[:-1], created.key.replace("th_test", "th_live"), "é" * 80):
        assert await count_questions(ready, ring, text) == 0


async def test_a_wrong_secret_and_an_unknown_id_cost_the_same_and_are_asked_once(ready: Context) -> None:
    ring = KeyRing(ready)
    created = await make_app_key(ready)
    key = parse_key(created.key)
    assert key is not None
    wrong = format_key(msgspec.structs.replace(key, secret=key.secret[::-1]))
    unknown = format_key(make_key("test", b"0" * 10, b"1" * 32))
    for text in (wrong, unknown):
        with pytest.raises(Unauthorized) as refused:
            await KeyRing(ready).authenticate(text)
        assert "valid API key" in refused.value.detail
    assert [await count_questions(ready, ring, text) for text in (wrong, unknown)] == [1, 1]
    assert [await count_questions(ready, ring, text) for text in (wrong, unknown)] == [0, 0]


async def test_a_verified_key_is_not_asked_for_again_while_fresh(ready: Context) -> None:
    ring = KeyRing(ready)
    created = await make_app_key(ready)
    assert ring.find_fresh(created.key) is None
    assert await count_questions(ready, ring, created.key) == 1
    assert await count_questions(ready, ring, created.key) == 0
    assert ring.find_fresh(created.key) is not None


async def test_a_hundred_requests_with_one_new_key_ask_once(ready: Context) -> None:
    ring = KeyRing(ready)
    created = await make_app_key(ready)
    before = await _reads(ready)
    await asyncio.gather(*(ring.authenticate(created.key) for _ in range(100)))
    assert await _reads(ready) - before == 1


async def test_a_revoked_key_is_refused_once_its_message_arrived(ready: Context) -> None:
    ring = KeyRing(ready)
    created, other = await make_app_key(ready), await make_app_key(ready)
    await ring.authenticate(created.key)
    await ring.authenticate(other.key)
    await revoke_key(ready, created.key_id)
    ring.forget(created.key_id)
    with pytest.raises(Unauthorized):
        await ring.authenticate(created.key)
    assert ring.find_fresh(other.key) is not None


async def test_a_revocation_whose_message_was_lost_applies_when_the_key_is_no_longer_fresh(
    ready: Context,
) -> None:
    ring = KeyRing(with_waits(ready, fresh_s=0.05))
    created = await make_app_key(ready)
    await ring.authenticate(created.key)
    await revoke_key(ready, created.key_id)
    await asyncio.sleep(0.06)
    with pytest.raises(Unauthorized):
        await ring.authenticate(created.key)


async def test_revoking_twice_is_revoked_and_an_unknown_id_is_named(ready: Context) -> None:
    created = await make_app_key(ready)
    await revoke_key(ready, created.key_id)
    await revoke_key(ready, created.key_id)
    with pytest.raises(Unknown, match="nosuch"):
        await revoke_key(ready, "nosuch")


async def test_a_key_is_refused_from_its_expiry_on_even_from_memory(ready: Context) -> None:
    ring = KeyRing(ready)
    created = await make_app_key(ready, expires_at=datetime.now(UTC) + timedelta(seconds=0.2))
    await ring.authenticate(created.key)
    await asyncio.sleep(0.21)
    assert ring.find_fresh(created.key) is None
    with pytest.raises(Unauthorized):
        await ring.authenticate(created.key)


async def test_peppers_rotate_and_a_removed_one_ends_its_keys(ready: Context) -> None:
    created = await make_app_key(ready)
    newer = ((2, Secret("cd" * 32)), *ready.settings.key_peppers)
    rotated = msgspec.structs.replace(
        ready, settings=msgspec.structs.replace(ready.settings, key_peppers=newer)
    )
    second = await make_app_key(rotated)
    await KeyRing(rotated).authenticate(created.key)
    await KeyRing(rotated).authenticate(second.key)
    with pytest.raises(Unauthorized):
        await KeyRing(ready).authenticate(second.key)


async def test_known_keys_work_while_postgres_is_away_but_never_longer_than_stale_s(
    settings: Settings,
) -> None:
    async with proxied(settings.database_url.reveal()) as proxy, behind(proxy, settings) as ready:
        await seed_catalog(ready)
        created, unseen = await make_app_key(ready), await make_app_key(ready)
        ring = KeyRing(with_waits(ready, fresh_s=0.05, stale_s=0.6))
        await ring.authenticate(created.key)
        await proxy.cut()
        await asyncio.sleep(0.06)
        assert (await ring.authenticate(created.key)).app == "editor"
        with pytest.raises(Unavailable):
            await ring.authenticate(unseen.key)
        await asyncio.sleep(0.6)
        with pytest.raises(Unavailable):
            await ring.authenticate(created.key)
        await proxy.restore()
        await asyncio.sleep(0.55)
        assert (await ring.authenticate(created.key)).app == "editor"


async def test_a_postgres_that_hangs_delays_a_known_key_by_a_second_once(settings: Settings) -> None:
    async with proxied(settings.database_url.reveal()) as proxy, behind(proxy, settings) as ready:
        await seed_catalog(ready)
        created = await make_app_key(ready)
        ring = KeyRing(with_waits(ready, fresh_s=0.01))
        await ring.authenticate(created.key)
        proxy.stall()
        await asyncio.sleep(0.02)
        began = time.perf_counter()
        for _ in range(20):
            await ring.authenticate(created.key)
        assert time.perf_counter() - began < 1.4
        await proxy.restore()


async def test_an_app_of_another_project_does_not_open_this_one(ready: Context) -> None:
    await seed_catalog(ready, make_catalog("globex", "board"))
    with pytest.raises(Unknown):
        await make_app_key(ready, project="globex", app="editor")


def with_waits(context: Context, **waits: float) -> Context:
    return msgspec.structs.replace(context, settings=msgspec.structs.replace(context.settings, **waits))


def behind(proxy: Proxy, settings: Settings):
    return open_context("cli", msgspec.structs.replace(settings, database_url=Secret(proxy.url)))
