r"""The only home of the data in Redis: copies of answers for readers, and the messages that end them.

Nothing here is the truth: losing all of it costs a read of Postgres, never an answer. Redis never sees a
user's id (a key is a hash), and never holds a caller up: every call ends within `timeout_s`, and after a
failure Redis is left alone for `PAUSE_S`.

An entry is `{first_version} {catalog_version}\n{CachedSet as JSON}`, so that a script can compare versions
without reading JSON. Redis 6.2 commands only.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from typing import Any

import msgspec
import redis.asyncio as redis
from msgspec import Struct
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from domain import metrics
from domain.errors import Unavailable
from domain.model import CachedSet
from domain.telemetry import get_logger

log = get_logger()

#: What a hanging Redis may add to one read, in seconds. Postgres answers in a few milliseconds instead.
TIMEOUT_S = 0.25
#: After a failure Redis is not asked for so long, or every read of an outage would pay the timeout.
PAUSE_S = 1.0
#: More than the reads that miss at one moment; a worker's store needs one.
MAX_CONNECTIONS = 16
#: A subscription without a message for so long is asked for a sign of life, and given up after as long again.
HEARTBEAT_S = 1.0
#: Pause before the second attempt to subscribe; doubles to the last one. Small, because until then every
#: reader asks Redis or Postgres for each answer.
RECONNECT_S, RECONNECT_AT_MOST_S = 0.05, 2.0

AWAY = (RedisError, OSError, TimeoutError)


class SetChanged(Struct, frozen=True, tag="set"):
    """Answers were stored: everybody's copies of `key` that are older than this are over."""

    key: str
    first_version: int
    catalog_version: int
    read_at: float


class CatalogChanged(Struct, frozen=True, tag="catalog"):
    """A project's catalog has a new head: defaults (version 0) of earlier ones are over."""

    project: str
    catalog_version: int


class KeyRevoked(Struct, frozen=True, tag="key"):
    """An API key ended: whoever holds it as verified asks Postgres again."""

    key_id: str


Message = SetChanged | CatalogChanged | KeyRevoked

_encode_set = msgspec.json.Encoder().encode
_decode_set = msgspec.json.Decoder(CachedSet).decode
_encode_message = msgspec.json.Encoder().encode
_decode_message = msgspec.json.Decoder(Message).decode

# A script is atomic: a reader that subscribed before it either sees the message, or reads the new entry.
_STORE = """
local head = redis.call('GETRANGE', KEYS[1], 0, 63)
local version, catalog = string.match(head, '^(%d+) (%d+)\\n')
if version then
  version, catalog = tonumber(version), tonumber(catalog)
  local new_version, new_catalog = tonumber(ARGV[1]), tonumber(ARGV[2])
  if version > new_version or (version == new_version and catalog > new_catalog) then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1
"""

_STORE_HEAD = """
if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
redis.call('PUBLISH', ARGV[3], ARGV[4])
"""


def cache_key(project: str, user_id: str, app: str) -> str:
    """The key of one user's answers for one app: a hash, because user ids never reach Redis."""
    name = f"{project}\0{app}\0{user_id}".encode("utf-8", "surrogatepass")
    return "th:set:" + blake2b(name, digest_size=16).hexdigest()


class Cache:
    """Answers and messages in one Redis database; made without touching it, every failure is Unavailable."""

    def __init__(self, url: str, *, stale_s: float = 900.0, timeout_s: float = TIMEOUT_S) -> None:
        """`stale_s`: how long an entry is kept, the oldest anybody may answer. `timeout_s`: of a call."""
        self._url = url
        self._keep_ms = int(stale_s * 1000)
        self._timeout_s = timeout_s
        self._client = _connect(url, MAX_CONNECTIONS, timeout_s)
        # Messages ignore database numbers; two deployments on one server must not hear each other.
        self._channel = f"th:changed:{self._client.connection_pool.connection_kwargs.get('db', 0)}"
        self._closed_until = 0.0

    async def find(self, project: str, key: str) -> CachedSet | None:
        """The entry under a `cache_key` of this project; None: absent, or defaults of an earlier catalog.

        Raises:
            Unavailable: Redis is away, or was within the last PAUSE_S.
        """
        return (await self.find_all(project, [key]))[0]

    async def find_all(self, project: str, keys: Sequence[str]) -> list[CachedSet | None]:
        """The entries under these keys of one project, in their order and in one question; else as `find`."""
        *entries, head = await self._ask(lambda client: client.mget(*keys, _head_key(project)))
        return [_read_entry(entry, head) for entry in entries]

    async def store(self, entries: Sequence[tuple[str, CachedSet]]) -> None:
        """Store each `(cache_key, set)` unless a higher (first_version, catalog_version) is there.

        Each that is stored is published with it. The pairs are independent: some may be stored although
        this raises, which costs nobody anything.

        Raises:
            Unavailable: Redis is away, or was within the last PAUSE_S.
        """
        if not entries:
            return
        await self._ask(lambda client: self._store_all(client, entries))

    async def publish_catalog(self, project: str, catalog_version: int) -> None:
        """Tell every reader that `project` has a new catalog head: defaults of lower versions are over.

        Raises:
            Unavailable: Redis is away; readers then find out by themselves within 10 s.
        """
        message = _encode_message(CatalogChanged(project, catalog_version))
        await self._ask(
            lambda client: client.eval(
                _STORE_HEAD, 1, _head_key(project), catalog_version, self._keep_ms, self._channel, message
            )
        )

    async def publish_revoked_key(self, key_id: str) -> None:
        """Tell every process that an API key ended.

        Raises:
            Unavailable: Redis is away; the key is then refused when its 10 s in memory are over.
        """
        message = _encode_message(KeyRevoked(key_id))
        await self._ask(lambda client: client.publish(self._channel, message))

    async def listen(
        self,
        receive: Callable[[Message], None],
        *,
        connected: Callable[[], None],
        disconnected: Callable[[], None],
    ) -> None:
        """Hand every message to `receive`, for ever; ends only when cancelled.

        `connected` is called once nothing can be missed any more, `disconnected` when something may have
        been: a reader must not call its memory fresh in between. A connection that is silent although asked
        counts as lost after two heartbeats.
        """
        pause_s = RECONNECT_S
        while True:
            try:
                async with self._subscription() as subscription:
                    connected()
                    pause_s = RECONNECT_S
                    try:
                        await _receive_all(subscription, receive)
                    finally:
                        disconnected()
            except AWAY as error:
                log.warning("cache_subscription_lost", error=type(error).__name__)
            await asyncio.sleep(pause_s * (0.5 + random.random() / 2))  # noqa: S311 - spreads load, no secret
            pause_s = min(pause_s * 2, RECONNECT_AT_MOST_S)

    async def ping(self) -> None:
        """Raises: Unavailable, where Redis does not answer."""
        await self._ask(lambda client: client.ping())

    async def look(self) -> Mapping[str, object]:
        """What the server says of itself (`INFO`). Raises: Unavailable, where Redis does not answer."""
        info: Mapping[str, object] = await self._ask(lambda client: client.info())
        return info

    async def close(self) -> None:
        with suppress(*AWAY):
            await self._client.aclose()

    async def _ask(self, call: "Callable[[redis.Redis], Awaitable[Any]]") -> Any:
        if time.monotonic() < self._closed_until:
            metrics.cache_calls.labels("skipped").inc()
            raise Unavailable("Redis failed a moment ago and is not asked again yet", code="cache_away")
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await call(self._client)
        except AWAY as error:
            metrics.cache_calls.labels("failed").inc()
            self._closed_until = time.monotonic() + PAUSE_S
            log.warning("cache_away", error=type(error).__name__)
            raise Unavailable(f"Redis did not answer: {type(error).__name__}", code="cache_away") from error
        metrics.cache_calls.labels("ok").inc()
        return answer

    async def _store_all(self, client: "redis.Redis", entries: Sequence[tuple[str, CachedSet]]) -> None:
        async with client.pipeline(transaction=False) as pipeline:
            for key, cached in entries:
                stored = cached.stored
                versions = (stored.first_version, stored.catalog_version)
                entry = b"%d %d\n" % versions + _encode_set(cached)
                message = _encode_message(SetChanged(key, *versions, cached.read_at))
                pipeline.eval(_STORE, 1, key, *versions, entry, self._keep_ms, self._channel, message)
            await pipeline.execute()

    @asynccontextmanager
    async def _subscription(self) -> AsyncIterator[PubSub]:
        # A connection of its own: the library would reconnect a shared one silently, and a gap that
        # nobody notices is an invalidation that nobody gets.
        client = _connect(self._url, 1, self._timeout_s)
        subscription = client.pubsub()
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                await subscription.subscribe(self._channel)
                # Only the server's confirmation says from when on nothing is missed.
                await subscription.get_message(timeout=None)
            yield subscription
        finally:
            with suppress(*AWAY):
                await subscription.aclose()  # type: ignore[no-untyped-call]  # the library left it bare
                await client.aclose()


async def _receive_all(subscription: PubSub, receive: Callable[[Message], None]) -> None:
    is_asked = False
    while True:
        _refuse_to_outlive_a_cancellation()
        message = await subscription.get_message(timeout=HEARTBEAT_S)
        if message is not None:
            is_asked = False
            if message["type"] == "message":
                _hand_over(message["data"], receive)
        elif is_asked:
            raise TimeoutError
        else:
            is_asked = True
            await subscription.ping()


def _refuse_to_outlive_a_cancellation() -> None:
    """Raise the cancellation that the library swallowed.

    Its sends go through `asyncio.wait_for`, which on Python 3.11 answers a cancellation with the result when
    both arrive in one turn of the loop; a process that was busy for a second then never ends.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _hand_over(data: bytes, receive: Callable[[Message], None]) -> None:
    try:
        message = _decode_message(data)
    except msgspec.DecodeError:
        # A newer release speaks of something this one does not keep a copy of.
        log.warning("cache_message_unknown", size=len(data))
        return
    receive(message)


def _read_entry(entry: bytes | None, head: bytes | None) -> CachedSet | None:
    if entry is None:
        return None
    try:
        cached = _decode_set(entry.partition(b"\n")[2])
    except msgspec.DecodeError:
        # Another release wrote it in another shape: its own readers understand it, Postgres helps ours.
        return None
    stored = cached.stored
    is_over = stored.first_version == 0 and head is not None and stored.catalog_version < int(head)
    return None if is_over else cached


def _head_key(project: str) -> str:
    return f"th:head:{project}"


def _connect(url: str, max_connections: int, timeout_s: float) -> "redis.Redis":
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        # One attempt: Postgres is the second one, and a listener must hear of every break.
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    return redis.Redis.from_pool(pool)
