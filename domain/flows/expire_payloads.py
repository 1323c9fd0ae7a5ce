"""Expire payloads: after `payload_retention_days` an event keeps its id, type, object and hash, not its body.

A walk through old events in the order they came, a bounded number at a time. Where it has got to is
remembered by the process alone, so no index has to be kept for it on the way of every delivery; a new process
begins from the oldest, and each does once a day, for what was pending when the walk came by. Bodies that come
late for somebody who was erased end by the same job.
"""

import time
from collections.abc import Callable

from domain.context import Context
from domain.flows.erase_bodies import LateBodies
from domain.store import payloads
from domain.telemetry import get_logger

log = get_logger()

#: Of one turn: some 20 ms of one connection. Every five seconds, that is 34 million events a day.
BATCH = 2_000
AGAIN_S = 86_400.0


class Retention:
    """The walk of one process. `now`: monotonic seconds."""

    def __init__(
        self, context: Context, *, batch: int = BATCH, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._context = context
        self._batch = batch
        self._now = now
        self._after: payloads.Place | None = None
        self._began_at = now()
        self._late = LateBodies(context)

    async def work(self) -> int:
        """One step. Answers how many bodies were deleted. Raises: Unavailable."""
        if self._now() - self._began_at > AGAIN_S:
            self._after, self._began_at = None, self._now()
        days = self._context.settings.payload_retention_days
        async with self._context.database.connection() as connection:
            step = await payloads.expire(connection, self._after, days=days, limit=self._batch)
        self._after = step.last or self._after
        if step.expired:
            log.info("payloads_expired", events=step.expired)
        return step.expired + await self._late.work()
