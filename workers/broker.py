"""The queue: Dramatiq on Redis as a doorbell. What is owed lives in Postgres; losing all of it costs seconds.

No retries, no delays, no results: a message is the id of a target, and a target that was not worked off is
rung again by the sweeper (docs/event-path.md, "The bell").
"""

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import BrokerConnectionError
from dramatiq.middleware import AsyncIO, Middleware, ShutdownNotifications, TimeLimit
from redis.backoff import NoBackoff
from redis.retry import Retry

from domain.settings import Settings

QUEUE = "sync"
ACTOR = "sync_target"

#: How the queue says that it is away.
QUEUE_AWAY = (BrokerConnectionError, redis.RedisError, OSError)

#: A worker process silent for so long is gone, and its messages go back to the queue.
HEARTBEAT_TIMEOUT_MS = 30_000
#: Of a million commands, how many look for such processes: 5 %.
MAINTENANCE_CHANCE = 50_000
#: Longer than a lease, so that a run is fenced before it is interrupted.
TIME_LIMIT_MS = 30_000


def make_broker(settings: Settings, *extra: Middleware) -> RedisBroker:
    """A broker for TOLLHOUSE_REDIS_URL; connects at its first use, and each call ends in `ring_timeout_s`."""
    # Given only a URL, the broker makes a client without any timeout: a Redis that hangs would hang us.
    client = redis.Redis.from_url(
        settings.redis_url.reveal(),
        socket_timeout=settings.ring_timeout_s,
        socket_connect_timeout=settings.ring_timeout_s,
        retry=Retry(NoBackoff(), 0),
    )
    broker = RedisBroker(  # type: ignore[no-untyped-call] # the library's constructor has no annotations
        client=client,
        middleware=[TimeLimit(time_limit=TIME_LIMIT_MS), ShutdownNotifications(), AsyncIO(), *extra],
        heartbeat_timeout=HEARTBEAT_TIMEOUT_MS,
        maintenance_chance=MAINTENANCE_CHANCE,
    )
    broker.declare_queue(QUEUE)
    return broker


def make_message(target_id: int) -> "dramatiq.Message[None]":
    """The only message there is: work off what this target owes."""
    return dramatiq.Message(queue_name=QUEUE, actor_name=ACTOR, args=(target_id,), kwargs={}, options={})
