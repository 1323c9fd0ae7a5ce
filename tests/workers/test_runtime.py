"""A worker process ends once: the first SIGTERM stops it, later ones change nothing."""

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from typing import Any

import pytest

from domain.settings import Settings
from tests.flows.event_path import EventPath, running_path
from workers.runtime import end_once

MARKS = multiprocessing.get_context("spawn")


def count_signals(to_test: Connection, *, is_guarded: bool) -> None:
    """In a process of its own: as dramatiq's, whose handler stops at the first and kills at the second."""
    stops: list[int] = []

    def stop(number: int, _frame: Any) -> None:
        stops.append(number)

    signal.signal(signal.SIGTERM, stop)
    if is_guarded:
        end_once()
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
    to_test.send(len(stops))


@pytest.mark.parametrize(("is_guarded", "stops"), [(True, 1), (False, 3)])
def test_only_the_first_sigterm_reaches_the_worker(is_guarded: bool, stops: int) -> None:  # noqa: FBT001
    here, there = MARKS.Pipe()
    process = MARKS.Process(target=count_signals, args=(there,), kwargs={"is_guarded": is_guarded})
    process.start()
    assert here.poll(30)
    assert here.recv() == stops
    process.join(30)
    assert process.exitcode == 0


def test_outside_of_a_worker_process_the_handler_stays() -> None:
    before = signal.getsignal(signal.SIGTERM)
    end_once()
    assert signal.getsignal(signal.SIGTERM) is before


async def test_a_syncer_that_stops_begins_no_run_and_leaves_the_target_owed(settings: Settings) -> None:
    async with running_path(settings) as path:
        customer = await path.make_customer()
        await path.buy(customer)
        await path.deliver((await path.events(types=["checkout.session.completed"]))[0])
        (target,) = await path.owed_targets()
        path.syncer.stop()
        assert (await path.syncer.sync_target(target)).outcomes == ()
        assert await path.owed_targets() == [target]
        assert await claims_of(path) == [0]


async def claims_of(path: EventPath) -> list[int]:
    return [row["claims"] for row in await path.targets()]
