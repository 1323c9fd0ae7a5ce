"""The bell: tells a worker that a target owes a sync. It may be lost; the sweeper rings again."""

import asyncio
import time
from collections.abc import Iterable, Mapping

from dramatiq import Broker

from domain.errors import Unavailable
from domain.settings import Settings
from domain.telemetry import get_logger
from workers.broker import QUEUE, QUEUE_AWAY, make_broker, make_message

log = get_logger()

#: Bells waiting to be rung; more are dropped, because the sweeper rings what is owed anyway.
MOST_WAITING = 10_000
#: After a failure the queue is left alone for so long.
PAUSE_S = 0.5


async def look_at_queue(settings: Settings) -> Mapping[str, object]:
    """What the queue's server says of itself (`INFO`).

    Raises:
        Unavailable: the queue is away, or does not answer us.
    """
    broker = make_broker(settings)
    try:
        info: Mapping[str, object] = await asyncio.to_thread(broker.client.info)
    except QUEUE_AWAY as error:
        raise Unavailable(f"the queue did not answer: {type(error).__name__}") from error
    finally:
        broker.close()
    return info


async def count_bells(settings: Settings) -> int:
    """How many bells wait in the queue, those being answered included.

    Raises:
        Unavailable: the queue is away.
    """
    broker = make_broker(settings)
    try:
        return int(await asyncio.to_thread(broker.do_qsize, QUEUE))
    except QUEUE_AWAY as error:
        raise Unavailable(f"the queue did not answer: {type(error).__name__}") from error
    finally:
        broker.close()


class Bell:
    """Rings off the event loop, in batches; one per process. `ring` never waits and never fails."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._waiting: set[int] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        #: The batch under way; a cancelled task leaves its thread at work.
        self._batch: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Bell":
        return cls(make_broker(settings))

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ring what waits, as far as the queue lets us, and close."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._batch is not None:
            await asyncio.gather(self._batch, return_exceptions=True)
        try:
            await self.ring_now(self._take())
        except Unavailable:
            log.info("bells_left_to_sweeper")
        self._broker.close()

    def ring(self, target_ids: Iterable[int]) -> None:
        """Ring soon. Lost where the queue is away or too many wait: the sweeper rings what is owed."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting.update(target_ids)
            self._wake.set()

    async def ring_now(self, target_ids: Iterable[int]) -> None:
        """Ring and wait for it.

        Raises:
            Unavailable: the queue did not take a bell.
        """
        await asyncio.to_thread(self._send, list(target_ids))

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._batch = asyncio.create_task(self.ring_now(self._take()))
            try:
                await asyncio.shield(self._batch)
            except Unavailable as error:
                log.warning("bell_failed", error=error.detail)
                await asyncio.sleep(PAUSE_S)

    def _take(self) -> list[int]:
        taken, self._waiting = sorted(self._waiting), set()
        return taken

    def _send(self, target_ids: list[int]) -> None:
        started = time.perf_counter()
        try:
            for target_id in target_ids:
                self._broker.enqueue(make_message(target_id))
        except QUEUE_AWAY as error:
            raise Unavailable(f"the queue did not take a bell: {type(error).__name__}") from error
        if target_ids:
            log.debug("bells_rung", bells=len(target_ids), duration_s=time.perf_counter() - started)
