"""The deployment that tests share which leave it as it was: starting one takes as long as most of them."""

from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from deploy.local.state import Ready
from tests.e2e.local.test_embedded_deployment import running_up


@pytest.fixture(scope="package")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("a b") / "it's state"


@pytest.fixture(scope="package")
def up(state: Path) -> Iterator[tuple[Popen[str], Ready, Path]]:
    """The process, what it says of itself, and the file where it does."""
    with running_up(state) as started:
        yield started
