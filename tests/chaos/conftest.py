"""What the chaos of `make test` needs: its own turn on the machine."""

import fcntl
from collections.abc import AsyncIterator, Iterator

import pytest

from domain.settings import Settings
from tests.flows.event_path import EventPath, running_path


@pytest.fixture
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Only one test at a time starts all those processes, however many run the suite."""
    shared = tmp_path_factory.getbasetemp().parent / "chaos.lock"
    with shared.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
async def path(settings: Settings) -> AsyncIterator[EventPath]:
    async with running_path(settings) as opened:
        yield opened
