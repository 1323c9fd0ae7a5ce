from collections.abc import AsyncIterator

import pytest

from domain.settings import Settings
from tests.flows.catalog_world import World, running_world
from tests.flows.event_path import EventPath, running_path


@pytest.fixture
async def path(settings: Settings) -> AsyncIterator[EventPath]:
    async with running_path(settings) as running:
        yield running


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    async with running_world(settings) as running:
        yield running
