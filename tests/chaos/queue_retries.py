"""A crippled worker, for F-03 only: what failed is left to the queue's own retries."""

import dramatiq
from dramatiq.middleware import Retries

from domain.settings import load_settings
from domain.telemetry import configure_logging
from workers.broker import ACTOR, QUEUE, TIME_LIMIT_MS, make_broker
from workers.runtime import Runtime, die_with_parent, end_once

end_once()
die_with_parent()
settings = load_settings("worker")
runtime = Runtime(settings)
configure_logging(settings, "worker")
broker = make_broker(settings, runtime, Retries(max_retries=8, min_backoff=100, max_backoff=5_000))
dramatiq.set_broker(broker)


class NotDone(Exception):
    """The queue will come again."""


@dramatiq.actor(broker=broker, actor_name=ACTOR, queue_name=QUEUE, time_limit=TIME_LIMIT_MS)
async def sync_target(target_id: int) -> None:
    synced = await runtime.syncer.sync_target(target_id)
    if set(synced.outcomes) & {"failed", "postponed"} or not synced.outcomes:
        raise NotDone
    runtime.bell.ring(synced.owed)
