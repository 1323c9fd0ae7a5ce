"""What a reader answers, from which of its three places, and what an outage of each changes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from domain.cache import CatalogChanged, cache_key
from domain.context import Context, open_context
from domain.errors import Unavailable, Unknown
from domain.flows.authenticate import KeyRing
from domain.flows.follow_changes import follow_changes
from domain.flows.lookup import Answer, Lookup
from domain.flows.manage_keys import create_key, revoke_key
from domain.model import StoredSet
from domain.settings import Secret, Settings
from tests.proxy import Proxy, proxied
from tests.seeds import cached, make_catalog, make_segment, seed_catalog, seed_set, seed_user
from tests.waiting import until

WHO = ("acme", "editor", "u_17")
KEY = cache_key("acme", "u_17", "editor")


@pytest.fixture
async def ready(context: Context) -> Context:
    await seed_catalog(context)
    return context


@asynccontextmanager
async def following(context: Context, keys: KeyRing | None = None, **options: int) -> AsyncIterator[Lookup]:
    """A reader whose subscription is up."""
    lookup = Lookup(context, **options)
    task = asyncio.create_task(follow_changes(context, lookup, keys or KeyRing(context)))
    try:
        await until(lambda: lookup.is_watching)
        yield lookup
    finally:
        task.cancel()
        await asyncio.wait([task])
        await lookup.close()


def known(lookup: Lookup) -> Answer:
    answer = lookup.find_ready(*WHO)
    assert answer is not None
    return answer


async def _settle(lookup: Lookup) -> None:
    """Until the lookup's own copies reached Redis and came back as messages."""
    await lookup.close()
    await asyncio.sleep(0.02)


async def count_statements(context: Context) -> int:
    async with context.database.connection() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        row = await connection.fetchrow(
            "SELECT seq_scan + coalesce(idx_scan, 0) AS n FROM pg_stat_user_tables WHERE relname = 'users'"
        )
        assert row is not None
        return int(row["n"])


def freshness(answer: Answer) -> str:
    return str(msgspec.json.decode(answer.body)["freshness"])


async def publish(context: Context, stored: StoredSet, read_at: float | None = None) -> None:
    assert context.cache is not None
    key = cache_key(stored.project, "u_17", stored.app)
    await context.cache.store([(key, cached(stored, read_at or time.time()))])


async def test_a_stored_set_is_answered_and_then_known(ready: Context) -> None:
    stored = await seed_set(ready, version=42)
    async with following(ready) as lookup:
        assert lookup.find_ready(*WHO) is None
        answer = await lookup.find(*WHO)
        assert (answer.version, answer.etag) == (42, '"42"')
        assert answer.body.endswith(bytes(stored.segments[0].entitlements) + b"}")
        await _settle(lookup)
        assert lookup.find_ready(*WHO) == answer


async def test_an_unknown_user_has_the_defaults_of_the_catalog_head(ready: Context) -> None:
    async with following(ready) as lookup:
        answer = await lookup.find("acme", "editor", "nobody")
        assert (answer.version, answer.etag) == (0, '"d1"')
        said = msgspec.json.decode(answer.body)["entitlements"]
        assert said["seats"]["reason"] == "catalog_default"
        assert said["export"]["granted"] is False
        assert msgspec.json.decode((await lookup.find("acme", "viewer", "nobody")).body)["app"] == "viewer"


async def test_a_user_without_a_set_for_this_app_has_the_defaults(ready: Context) -> None:
    await seed_user(ready)
    async with following(ready) as lookup:
        assert (await lookup.find(*WHO)).version == 0


async def test_an_unknown_project_or_app_is_refused(ready: Context) -> None:
    async with following(ready) as lookup:
        with pytest.raises(Unknown):
            await lookup.find("nosuch", "editor", "u_17")
        with pytest.raises(Unknown):
            await lookup.find("acme", "nosuch", "u_17")


async def test_users_of_two_projects_with_one_id_are_two_users(ready: Context) -> None:
    await seed_catalog(ready, make_catalog("globex", "editor"))
    await seed_set(ready, version=7)
    await seed_set(ready, make_segment(seats=9), project="globex", version=8)
    async with following(ready) as lookup:
        assert (await lookup.find("acme", "editor", "u_17")).version == 7
        assert (await lookup.find("globex", "editor", "u_17")).version == 8


async def test_a_change_is_answered_as_soon_as_its_message_arrives(ready: Context) -> None:
    await seed_set(ready, version=1)
    async with following(ready) as lookup:
        assert (await lookup.find(*WHO)).version == 1
        await _settle(lookup)
        assert lookup.find_ready(*WHO) is not None
        await publish(ready, await seed_set(ready, version=2))
        await until(lambda: lookup.find_ready(*WHO) is None)
        assert (await lookup.find(*WHO)).version == 2


async def test_a_change_whose_message_was_lost_is_answered_when_memory_is_no_longer_fresh(
    ready: Context,
) -> None:
    await seed_set(ready, version=1)
    async with following(with_waits(ready, fresh_s=0.1)) as lookup:
        assert (await lookup.find(*WHO)).version == 1
        await seed_set(ready, version=2)
        await asyncio.sleep(0.11)
        assert (await lookup.find(*WHO)).version == 2


async def test_a_copy_does_not_renew_freshness(ready: Context) -> None:
    stored = await seed_set(ready, version=1)
    await publish(ready, stored, read_at=time.time() - 9.9)
    async with following(ready) as lookup:
        assert (await lookup.find(*WHO)).version == 1
        assert lookup.find_ready(*WHO) is not None
        await asyncio.sleep(0.12)
        assert lookup.find_ready(*WHO) is None


async def test_a_stamp_from_the_future_is_not_fresh(ready: Context) -> None:
    stored = await seed_set(ready, version=1)
    await publish(ready, stored, read_at=time.time() + 3600)
    await seed_set(ready, version=2)
    async with following(ready) as lookup:
        assert (await lookup.find(*WHO)).version == 2


async def test_a_fresh_copy_in_redis_is_answered_without_asking_postgres(ready: Context) -> None:
    await publish(ready, await seed_set(ready, version=5))
    async with following(ready) as lookup:
        before = await count_statements(ready)
        assert (await lookup.find(*WHO)).version == 5
        assert await count_statements(ready) == before


async def test_what_postgres_said_is_copied_for_the_other_readers(ready: Context) -> None:
    await seed_set(ready, version=5)
    async with following(ready) as one, following(ready) as other:
        await one.find(*WHO)
        await _settle(one)
        before = await count_statements(ready)
        assert (await other.find(*WHO)).version == 5
        assert await count_statements(ready) == before


async def test_many_who_ask_for_one_user_at_once_ask_postgres_once(ready: Context) -> None:
    await seed_set(ready, version=5)
    async with following(ready) as lookup:
        before = await count_statements(ready)
        answers = await asyncio.gather(*(lookup.find(*WHO) for _ in range(200)))
        assert {answer.version for answer in answers} == {5}
        assert await count_statements(ready) - before == 1


async def test_one_who_leaves_does_not_take_the_answer_from_the_others(ready: Context) -> None:
    await seed_set(ready, version=5)
    async with following(ready) as lookup:
        first = asyncio.create_task(lookup.find(*WHO))
        second = asyncio.create_task(lookup.find(*WHO))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).version == 5


async def test_a_reply_that_arrives_after_its_invalidation_is_not_kept_as_fresh(settings: Settings) -> None:
    async with proxied(settings.database_url.reveal()) as proxy, behind(settings, database=proxy) as ready:
        await seed_catalog(ready)
        stored = await seed_set(ready, version=1)
        async with following(ready) as lookup:
            await lookup.find("acme", "editor", "other")
            await _settle(lookup)
            proxy.stall()
            asked = asyncio.create_task(lookup.find(*WHO))
            await asyncio.sleep(0.05)
            # The change is published while the question about the old answer is still under way.
            await publish(ready, msgspec.structs.replace(stored, first_version=2, last_version=2))
            await asyncio.sleep(0.05)
            await proxy.restore()
            assert (await asked).version == 1
            assert lookup.find_ready(*WHO) is None
            assert (await lookup.find(*WHO)).version == 2


async def test_a_new_catalog_ends_defaults_at_once_and_sets_not(ready: Context) -> None:
    await seed_set(ready, version=3)
    async with following(ready) as lookup:
        assert (await lookup.find("acme", "editor", "nobody")).etag == '"d1"'
        await lookup.find(*WHO)
        await _settle(lookup)
        await seed_catalog(ready, make_catalog(default_seats=4), version=2)
        assert ready.cache is not None
        await ready.cache.publish_catalog("acme", 2)
        await until(lambda: lookup.find_ready("acme", "editor", "nobody") is None)
        answer = await lookup.find("acme", "editor", "nobody")
        assert answer.etag == '"d2"'
        assert msgspec.json.decode(answer.body)["entitlements"]["seats"]["value"] == 4
        assert lookup.find_ready(*WHO) is not None
        lookup.end_defaults(CatalogChanged("globex", 9))
        await _settle(lookup)
        assert lookup.find_ready("acme", "editor", "nobody") is not None


async def test_access_ends_at_its_end_without_anybody_working(ready: Context) -> None:
    end = datetime.now(UTC) + timedelta(seconds=0.4)
    await seed_set(ready, make_segment(ends_at=end), make_segment(end, export=False), version=8)
    async with following(ready) as lookup:
        assert (await lookup.find(*WHO)).version == 8
        await _settle(lookup)
        before = await count_statements(ready)
        assert b'"granted":false' not in known(lookup).body
        await asyncio.sleep(max(0.0, (end - datetime.now(UTC)).total_seconds()))
        later = lookup.find_ready(*WHO)
        assert later is not None
        assert (later.version, later.etag) == (9, '"9"')
        assert b'"granted":false' in later.body
        assert await count_statements(ready) == before


async def test_on_a_test_clock_a_reader_answers_for_the_time_of_the_clock(ready: Context) -> None:
    end = datetime.now(UTC) - timedelta(days=1)
    segments = make_segment(ends_at=end), make_segment(end, export=False)
    await seed_set(ready, *segments, version=8, clock_at=end - timedelta(days=1))
    async with following(ready) as lookup:
        assert (await lookup.find(*WHO)).version == 8
        await _settle(lookup)
        assert known(lookup).version == 8


async def test_while_the_subscription_is_down_memory_is_not_fresh(settings: Settings) -> None:
    async with proxied(settings.cache_url.reveal()) as proxy, behind(settings, cache=proxy) as ready:
        await seed_catalog(ready)
        await seed_set(ready, version=1)
        async with following(ready) as lookup:
            await lookup.find(*WHO)
            await _settle(lookup)
            assert lookup.find_ready(*WHO) is not None
            await proxy.cut()
            await until(lambda: lookup.find_ready(*WHO) is None)
            await seed_set(ready, version=2)
            answer = await lookup.find(*WHO)
            assert (answer.version, freshness(answer)) == (2, "live")
            assert lookup.find_ready(*WHO) is None
            await proxy.restore()
            await until(lambda: lookup.is_watching)
            await seed_set(ready, version=3)
            await asyncio.sleep(1.0)
            assert (await lookup.find(*WHO)).version >= 2
            await until(lambda: lookup.find_ready(*WHO) is not None)


async def test_while_postgres_is_away_known_answers_are_stale_and_unknown_ones_refused(
    settings: Settings,
) -> None:
    async with proxied(settings.database_url.reveal()) as proxy, behind(settings, database=proxy) as opened:
        ready = with_waits(opened, fresh_s=0.1, stale_s=1.0)
        await seed_catalog(ready)
        await seed_set(ready, version=6)
        async with following(ready) as lookup:
            read_at = time.time()
            live = await lookup.find(*WHO)
            await proxy.cut()
            await asyncio.sleep(0.11)
            stale = await lookup.find(*WHO)
            assert freshness(stale) == "stale"
            assert stale.etag is None
            since = datetime.fromisoformat(msgspec.json.decode(stale.body)["stale_since"]).timestamp()
            assert abs(since - read_at) < 0.1
            assert (stale.version, stale.segment) == (live.version, live.segment)
            with pytest.raises(Unavailable):
                await lookup.find("acme", "editor", "nobody")
            await asyncio.sleep(1.0)
            with pytest.raises(Unavailable):
                await lookup.find(*WHO)
            await proxy.restore()
            await asyncio.sleep(0.55)
            assert freshness(await lookup.find(*WHO)) == "live"


async def test_a_postgres_that_hangs_delays_known_answers_by_a_second_once(settings: Settings) -> None:
    async with proxied(settings.database_url.reveal()) as proxy, behind(settings, database=proxy) as opened:
        ready = with_waits(opened, fresh_s=0.05)
        await seed_catalog(ready)
        await seed_set(ready, version=6)
        async with following(ready) as lookup:
            await lookup.find(*WHO)
            proxy.stall()
            await asyncio.sleep(0.06)
            began = time.perf_counter()
            for _ in range(20):
                assert freshness(await lookup.find(*WHO)) == "stale"
            assert time.perf_counter() - began < 1.4
            await proxy.restore()


async def test_while_everything_is_away_memory_still_answers_as_stale(settings: Settings) -> None:
    async with (
        proxied(settings.database_url.reveal()) as postgres,
        proxied(settings.cache_url.reveal()) as redis,
        behind(settings, database=postgres, cache=redis) as ready,
    ):
        await seed_catalog(ready)
        await seed_set(ready, version=6)
        async with following(ready) as lookup:
            await lookup.find(*WHO)
            await postgres.cut()
            await redis.cut()
            await until(lambda: lookup.find_ready(*WHO) is None)
            began = time.perf_counter()
            answer = await lookup.find(*WHO)
            assert (answer.version, freshness(answer)) == (6, "stale")
            assert time.perf_counter() - began < 0.5
            assert lookup.can_answer_alone()


async def test_nobody_is_answered_a_lower_version_than_before(ready: Context) -> None:
    """A database restored from a backup: the higher answer stands, marked, until it is too old."""
    await seed_set(ready, version=9)
    async with following(with_waits(ready, fresh_s=0.05, stale_s=0.5)) as lookup:
        assert (await lookup.find(*WHO)).version == 9
        async with ready.database.connection() as connection:
            await connection.execute("UPDATE entitlements SET first_version = 4, last_version = 4")
        await asyncio.sleep(0.06)
        answer = await lookup.find(*WHO)
        assert (answer.version, freshness(answer)) == (9, "stale")
        await asyncio.sleep(0.5)
        assert (await lookup.find(*WHO)).version == 4


async def test_memory_is_bounded_and_forgets_the_longest_unused(ready: Context) -> None:
    async with following(ready, kept_at_most=3) as lookup:
        for user_id in ("a", "b", "c", "a", "d"):
            await lookup.find("acme", "editor", user_id)
        await _settle(lookup)
        left = [user for user in "abcd" if lookup.find_ready("acme", "editor", user) is not None]
        assert left == ["a", "c", "d"]
        assert len(lookup._memory) == 3


async def test_a_revoked_key_is_refused_in_another_process_within_a_moment(ready: Context) -> None:
    keys = KeyRing(ready)
    created = await create_key(ready, kind="app", project="acme", app="editor", name="backend")
    async with following(ready, keys):
        await keys.authenticate(created.key)
        await revoke_key(ready, created.key_id)
        await until(lambda: keys.find_fresh(created.key) is None)


def with_waits(context: Context, **waits: float) -> Context:
    return msgspec.structs.replace(context, settings=msgspec.structs.replace(context.settings, **waits))


def behind(settings: Settings, database: Proxy | None = None, cache: Proxy | None = None):
    changed = msgspec.structs.replace(
        settings,
        database_url=Secret(database.url) if database else settings.database_url,
        cache_url=Secret(cache.url) if cache else settings.cache_url,
    )
    return open_context("cli", changed)
