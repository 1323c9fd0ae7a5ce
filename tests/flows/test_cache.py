"""What the copies in Redis promise, on a real server."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import redis.asyncio as redis

from deploy.local.valkey import running_valkey
from domain import cache as cache_module
from domain.cache import Cache, CatalogChanged, KeyRevoked, Message, SetChanged, cache_key
from domain.context import open_context
from domain.errors import Unavailable
from domain.model import CachedSet, StoredSegment, StoredSet
from domain.settings import Settings

AT = datetime(2026, 11, 22, 13, tzinfo=UTC)
KEY = cache_key("acme", "u_17", "editor")


def make_cached(first_version: int = 1, catalog_version: int = 1, read_at: float = 1000.0) -> CachedSet:
    body = msgspec.Raw(b'{"export":{"granted":true}}')
    return CachedSet(
        stored=StoredSet(
            project="acme",
            app="editor",
            user_key=7,
            first_version=first_version,
            last_version=first_version,
            catalog_version=catalog_version,
            computed_at=AT,
            segments=(StoredSegment(begins_at=AT, ends_at=None, entitlements=body),),
        ),
        read_at=read_at,
    )


@pytest.fixture
async def cache(settings: Settings) -> AsyncIterator[Cache]:
    opened = Cache(settings.cache_url.reveal())
    yield opened
    await opened.close()


class Heard:
    """What a listener was told, in order; messages, and "up" and "down" for the connection."""

    def __init__(self) -> None:
        self.said: list[Message | str] = []
        self._news = asyncio.Event()

    def hear(self, said: Message | str) -> None:
        self.said.append(said)
        self._news.set()

    async def wait_for(self, said: Message | str, times: int = 1) -> None:
        async with asyncio.timeout(10):
            while self.said.count(said) < times:
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def listening(cache: Cache) -> AsyncIterator[Heard]:
    heard = Heard()
    task = asyncio.create_task(
        cache.listen(heard.hear, connected=lambda: heard.hear("up"), disconnected=lambda: heard.hear("down"))
    )
    try:
        await heard.wait_for("up")
        yield heard
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_what_was_stored_is_found_byte_for_byte(cache: Cache) -> None:
    await cache.store([(KEY, make_cached())])
    found = await cache.find("acme", KEY)
    assert found == make_cached()
    assert bytes(found.stored.segments[0].entitlements) == b'{"export":{"granted":true}}'
    assert await cache.find("acme", cache_key("acme", "u_18", "editor")) is None


@pytest.mark.parametrize(
    ("there", "offered", "stays"),
    [
        ((5, 1), (4, 9), (5, 1)),
        ((5, 2), (5, 1), (5, 2)),
        ((5, 2), (5, 3), (5, 3)),
        ((9, 1), (10, 1), (10, 1)),
    ],
)
async def test_a_lower_version_never_replaces_a_higher_one(
    cache: Cache, there: tuple[int, int], offered: tuple[int, int], stays: tuple[int, int]
) -> None:
    await cache.store([(KEY, make_cached(*there))])
    await cache.store([(KEY, make_cached(*offered))])
    found = await cache.find("acme", KEY)
    assert found is not None
    assert (found.stored.first_version, found.stored.catalog_version) == stays


async def test_a_store_is_published_and_a_refused_one_is_not(cache: Cache) -> None:
    async with listening(cache) as heard:
        await cache.store([(KEY, make_cached(5))])
        await cache.store([(KEY, make_cached(4))])
        await cache.store([(KEY, make_cached(6, read_at=2000.5))])
        await heard.wait_for(SetChanged(KEY, 6, 1, 2000.5))
    assert heard.said == ["up", SetChanged(KEY, 5, 1, 1000.0), SetChanged(KEY, 6, 1, 2000.5), "down"]


async def test_a_new_catalog_ends_the_defaults_of_earlier_ones_and_nothing_else(cache: Cache) -> None:
    other = cache_key("acme", "u_18", "editor")
    async with listening(cache) as heard:
        await cache.store([(KEY, make_cached(0, 1)), (other, make_cached(3, 1))])
        assert await cache.find("acme", KEY) is not None
        await cache.publish_catalog("acme", 2)
        await heard.wait_for(CatalogChanged("acme", 2))
    assert await cache.find("acme", KEY) is None
    assert await cache.find("acme", other) is not None
    await cache.store([(KEY, make_cached(0, 2))])
    assert await cache.find("acme", KEY) is not None


async def test_revoked_keys_are_published(cache: Cache) -> None:
    async with listening(cache) as heard:
        await cache.publish_revoked_key("abc")
        await heard.wait_for(KeyRevoked("abc"))


async def test_a_listener_ends_when_cancelled_even_by_a_process_that_was_busy(cache: Cache) -> None:
    task = asyncio.create_task(
        cache.listen(lambda _: None, connected=lambda: None, disconnected=lambda: None)
    )
    await asyncio.sleep(0.1)
    # The loop stands still past a heartbeat, so that its timeout and the cancellation arrive in one turn.
    time.sleep(cache_module.HEARTBEAT_S + 0.1)  # noqa: ASYNC251 - see above
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    _, pending = await asyncio.wait([task], timeout=3)
    assert not pending


async def test_databases_of_one_server_do_not_hear_each_other(cache: Cache, settings: Settings) -> None:
    neighbour = Cache(settings.redis_url.reveal())
    async with listening(cache) as heard:
        await neighbour.publish_revoked_key("theirs")
        await cache.publish_revoked_key("ours")
        await heard.wait_for(KeyRevoked("ours"))
    await neighbour.close()
    assert KeyRevoked("theirs") not in heard.said


async def test_entries_and_messages_of_another_release_are_ignored(cache: Cache, settings: Settings) -> None:
    number = settings.cache_url.reveal().rpartition("/")[2]
    async with redis.Redis.from_url(settings.cache_url.reveal()) as client, listening(cache) as heard:
        await client.set(KEY, b'1 1\n{"shape":"unknown"}')
        await client.publish(f"th:changed:{number}", b'{"type":"unheard-of"}')
        await cache.publish_revoked_key("after")
        await heard.wait_for(KeyRevoked("after"))
    assert await cache.find("acme", KEY) is None
    assert heard.said == ["up", KeyRevoked("after"), "down"]


async def test_no_user_id_reaches_redis(cache: Cache, settings: Settings) -> None:
    await cache.store([(cache_key("acme", "canary-user", "editor"), make_cached())])
    async with redis.Redis.from_url(settings.cache_url.reveal()) as client:
        for key in await client.keys("*"):
            assert b"canary-user" not in key
            assert b"canary-user" not in (await client.get(key) or b"")
            assert 0 < await client.pttl(key) <= 900_000


async def test_an_entry_is_kept_as_long_as_the_operator_lets_answers_be_stale(settings: Settings) -> None:
    patient = msgspec.structs.replace(settings, stale_s=3600.0)
    async with open_context("read", patient) as context:
        assert context.cache is not None
        await context.cache.store([(KEY, make_cached())])
    async with redis.Redis.from_url(settings.cache_url.reveal()) as client:
        assert 900_000 < await client.pttl(KEY) <= 3_600_000


def test_keys_tell_their_parts_apart() -> None:
    parts = [
        ("acme", "u", "editor"),
        ("acme", "editor", "u"),
        ("acm", "eu", "editor"),
        ("acme", "uu", "edito"),
    ]
    assert len({cache_key(*part) for part in parts}) == len(parts)


async def test_a_redis_that_is_away_is_named_and_then_left_alone(unused_port: int) -> None:
    cache = Cache(f"redis://127.0.0.1:{unused_port}/0")
    with pytest.raises(Unavailable) as refused:
        await cache.find("acme", KEY)
    assert refused.value.code == "cache_away"
    began = time.perf_counter()
    for _ in range(100):
        with pytest.raises(Unavailable):
            await cache.ping()
    assert time.perf_counter() - began < 0.1
    await cache.close()


async def test_a_hanging_redis_costs_a_read_a_quarter_second_and_is_noticed(
    tmp_path: Path,
) -> None:
    with running_valkey(tmp_path / "valkey") as server:
        pid = await _pid_of(server.url)
        cache = Cache(server.url)
        async with listening(cache) as heard:
            await cache.ping()
            os.kill(pid, signal.SIGSTOP)
            try:
                began = time.perf_counter()
                with pytest.raises(Unavailable):
                    await cache.find("acme", KEY)
                assert time.perf_counter() - began < cache_module.TIMEOUT_S + 0.15
                await heard.wait_for("down")
            finally:
                os.kill(pid, signal.SIGCONT)
            await heard.wait_for("up", times=2)
            await asyncio.sleep(max(0.0, began + 0.3 + cache_module.PAUSE_S - time.perf_counter()))
            await cache.publish_revoked_key("k")
            await heard.wait_for(KeyRevoked("k"))
        await cache.close()


async def _pid_of(url: str) -> int:
    async with redis.Redis.from_url(url) as client:
        return int((await client.info("server"))["process_id"])


@pytest.fixture
async def unused_port() -> int:
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port
