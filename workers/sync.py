"""The one actor: shallow, its argument is an id, and running it twice changes nothing."""

import dramatiq

from workers.broker import ACTOR, QUEUE, TIME_LIMIT_MS
from workers.runtime import Runtime


def declare_sync(broker: dramatiq.Broker, runtime: Runtime) -> None:
    """Declare `sync_target` on this broker, working with the parts of `runtime`."""

    # The broker has no Retries middleware: what failed is owed, and the sweeper rings for it.
    @dramatiq.actor(broker=broker, actor_name=ACTOR, queue_name=QUEUE, time_limit=TIME_LIMIT_MS)
    async def sync_target(target_id: int) -> None:
        synced = await runtime.syncer.sync_target(target_id)
        runtime.bell.ring(synced.owed)
