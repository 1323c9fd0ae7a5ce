"""A worker process, but for the process: dramatiq's own worker and middleware on a broker in memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dramatiq import Broker, Worker
from dramatiq.broker import MessageProxy
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AsyncIO, Middleware, ShutdownNotifications, TimeLimit

from domain.errors import TollhouseError
from domain.settings import Settings
from tests.flows.event_path import EventPath, running_path
from workers.broker import QUEUE, make_message
from workers.runtime import Runtime
from workers.sync import declare_sync


@pytest.fixture
async def path(settings: Settings) -> AsyncIterator[EventPath]:
    async with running_path(settings) as running:
        yield running


@contextmanager
def working(settings: Settings, *extra: Middleware, waiting: Iterable[int] = ()) -> Iterator[StubBroker]:
    """A worker with our actor and its own event loop; ended as dramatiq ends it.

    `waiting`: targets for which bells are in the queue before it starts.
    """
    runtime = Runtime(settings)
    broker = StubBroker(middleware=[TimeLimit(), ShutdownNotifications(), AsyncIO(), runtime, *extra])
    declare_sync(broker, runtime)
    for target_id in waiting:
        broker.enqueue(make_message(target_id))
    worker = Worker(broker, worker_timeout=10, worker_threads=4)
    worker.start()
    try:
        yield broker
    finally:
        worker.stop()


class SlowBoot(Middleware):
    """A boot that messages overtake, and what became of them. After a boot, the last middleware is first."""

    def __init__(self) -> None:
        self.ends: list[BaseException | None] = []

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        deadline = time.monotonic() + 5
        while not self.ends and time.monotonic() < deadline:
            time.sleep(0.005)

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        self.ends.append(exception)


async def rung_and_done(broker: StubBroker, *target_ids: int) -> None:
    for target_id in target_ids:
        broker.enqueue(make_message(target_id))
    await asyncio.to_thread(broker.join, QUEUE, timeout=10_000)


async def test_a_rung_target_is_synced(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    for event in await path.events(types=["checkout.session.completed"]):
        await path.deliver(event)
    (target,) = await path.owed_targets()
    worker = working(path.context.settings)
    broker = await asyncio.to_thread(worker.__enter__)
    await rung_and_done(broker, target, target, target)
    await asyncio.to_thread(worker.__exit__, None, None, None)
    assert await path.is_granted()
    assert await path.count_owed() == 0


async def test_a_bell_for_nothing_changes_nothing(path: EventPath) -> None:
    worker = working(path.context.settings)
    broker = await asyncio.to_thread(worker.__enter__)
    await rung_and_done(broker, 999_999)
    await asyncio.to_thread(worker.__exit__, None, None, None)
    assert await path.targets() == []


async def test_bells_that_waited_for_a_worker_find_it_open(path: EventPath) -> None:
    boot = SlowBoot()
    worker = working(path.context.settings, boot, waiting=range(900_000, 900_020))
    broker = await asyncio.to_thread(worker.__enter__)
    await asyncio.to_thread(broker.join, QUEUE, timeout=10_000)
    await asyncio.to_thread(worker.__exit__, None, None, None)
    assert boot.ends == [None] * 20


def test_a_message_before_the_parts_are_open_is_a_named_error(settings: Settings) -> None:
    with pytest.raises(TollhouseError, match="before the worker had opened"):
        _ = Runtime(settings).syncer
