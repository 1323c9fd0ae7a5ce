"""The bell: rings off the request, never fails it, and may be lost."""

import asyncio
import threading
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from domain.errors import Unavailable
from domain.settings import Secret, Settings
from tests.conftest import with_settings
from tests.waiting import until
from workers.bell import MOST_WAITING, Bell
from workers.broker import ACTOR, QUEUE, make_broker, make_message


def make_stub() -> StubBroker:
    broker = StubBroker(middleware=[])
    broker.declare_queue(QUEUE)
    return broker


def rung(broker: StubBroker) -> list[int]:
    """Ids in the queue, in order."""
    waiting = list(broker.queues[QUEUE].queue)
    return [int(dramatiq.Message.decode(encoded).args[0]) for encoded in waiting]


async def test_only_ids_travel() -> None:
    message = make_message(7)
    assert (message.actor_name, message.queue_name, message.args, message.kwargs) == (ACTOR, QUEUE, (7,), {})


async def test_ringing_is_done_off_the_loop_and_each_target_once() -> None:
    broker = make_stub()
    bell = Bell(broker)
    bell.start()
    bell.ring([3, 1])
    bell.ring([3])
    await until(lambda: len(rung(broker)) == 2)
    await bell.stop()
    assert sorted(rung(broker)) == [1, 3]


async def test_what_waits_is_rung_when_the_process_ends() -> None:
    broker = make_stub()
    bell = Bell(broker)
    bell.ring([5])
    await bell.stop()
    assert rung(broker) == [5]


class SlowBroker(StubBroker):
    """Its queue takes a bell when it is allowed to."""

    def __init__(self) -> None:
        super().__init__(middleware=[])
        self.declare_queue(QUEUE)
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    def enqueue(self, message: Any, *, delay: int | None = None) -> Any:
        self.begun.set()
        assert self.may_go_on.wait(30)
        return super().enqueue(message, delay=delay)


async def test_a_bell_that_is_being_rung_when_the_process_ends_is_rung() -> None:
    broker = SlowBroker()
    bell = Bell(broker)
    bell.start()
    bell.ring([7])
    assert await asyncio.to_thread(broker.begun.wait, 30)
    stopping = asyncio.create_task(bell.stop())
    ended, _ = await asyncio.wait([stopping], timeout=0.2)
    assert not ended, "its thread is at work still"
    broker.may_go_on.set()
    await stopping
    assert rung(broker) == [7]


async def test_too_many_bells_are_left_to_the_sweeper() -> None:
    bell = Bell(make_stub())
    bell.ring(range(MOST_WAITING))
    bell.ring([-1])
    assert -1 not in bell._waiting


async def test_a_queue_that_is_away_neither_fails_nor_delays_who_rings(settings: Settings) -> None:
    away = with_settings(settings, redis_url=Secret("redis://127.0.0.1:1/0"))
    bell = Bell.of(away)
    bell.start()
    bell.ring([1])
    with pytest.raises(Unavailable, match="queue"):
        await bell.ring_now([1])
    await bell.stop()


async def test_a_bell_through_redis_is_a_message_dramatiq_reads(settings: Settings) -> None:
    broker = make_broker(settings)
    bell = Bell(broker)
    await bell.ring_now([41, 42])
    consumer = broker.consume(QUEUE, prefetch=2, timeout=100)
    received = [await asyncio.to_thread(next, consumer) for _ in range(2)]
    assert sorted(message.args[0] for message in received if message is not None) == [41, 42]
    for message in received:
        if message is not None:
            consumer.ack(message)
    consumer.close()
    broker.close()
