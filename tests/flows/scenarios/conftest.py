import inspect
from collections.abc import AsyncIterator

import pytest

from domain.settings import Settings
from tests.flows.event_path import running_path
from tests.flows.scenarios.modes import Mode, modes_of
from tests.flows.scenarios.stage import Stage


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every scenario is a test that takes a stage; it is run once for each of its modes."""
    if "mode" in metafunc.fixturenames:
        said = inspect.getsource(metafunc.function).rstrip()
        assert said.endswith("await stage.settle()"), f"{metafunc.function.__name__} is not settled"
        metafunc.parametrize("mode", modes_of(metafunc.function.__name__), ids=str)


@pytest.fixture
async def stage(settings: Settings, mode: Mode) -> AsyncIterator[Stage]:
    """An empty stage; a scenario ends it by `settle`."""
    async with running_path(settings) as path:
        yield Stage(path, mode)
