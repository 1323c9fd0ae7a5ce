"""Real servers for every test: one embedded Postgres and Valkey, one migrated template, a clone per test."""

import asyncio
import itertools
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import FrameType

import asyncpg
import hypothesis
import msgspec
import pytest
import redis

from deploy.local.postgres import running_postgres
from deploy.local.processes import die_with
from deploy.local.valkey import running_valkey
from domain.context import Context, open_context
from domain.settings import Secret, Settings
from domain.store import schema
from tests.memory import leave_directory, take_directory

PEPPER = "ab" * 32
# How long an example takes is no rule: a busy machine, or probes being taken out of the code, make one slow.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
_numbers = itertools.count()
_in_memory = pytest.StashKey[Path]()
_ended_with = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """A killed `make test` leaves nothing behind: its pytest ends with it, and the servers with pytest."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    if "MAKELEVEL" in os.environ:
        signal.signal(signal.SIGTERM, _say_why_and_end)
        die_with(os.getppid(), signal.SIGTERM)()
    if config.option.basetemp is None and (directory := take_directory()) is not None:
        config.stash[_in_memory] = directory
        config.option.basetemp = str(directory / "files")


def _say_why_and_end(number: int, _frame: FrameType | None) -> None:
    """Else a run whose make was killed, as by a time limit, stops between two dots without a word."""
    os.write(2, b"\nThe make that started this pytest has ended, or somebody ended pytest: no summary.\n")
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_ended_with] = exitstatus


def pytest_unconfigure(config: pytest.Config) -> None:
    """What failed tests have written stays until the next run; nothing stays of a green one."""
    directory = config.stash.get(_in_memory, None)
    if directory is not None:
        leave_directory(directory, keep=config.stash.get(_ended_with, 0) == pytest.ExitCode.TESTS_FAILED)


@pytest.fixture(scope="session")
def servers_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("servers")
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url(servers_directory: Path) -> Iterator[str]:
    with running_postgres(servers_directory / "postgres", fsync=False) as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_url(servers_directory: Path) -> Iterator[str]:
    with running_valkey(servers_directory / "valkey", persist=False) as server:
        yield server.url


@pytest.fixture(scope="session")
def template_database(postgres_url: str) -> str:
    """The name of a migrated, otherwise empty database: cloning it takes milliseconds."""
    asyncio.run(_make_template(postgres_url))
    return "tollhouse_template"


@pytest.fixture
async def database_url(postgres_url: str, template_database: str) -> AsyncIterator[str]:
    """A fresh migrated database of this test's own."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template_database}" STRATEGY FILE_COPY')
    yield _with_database(postgres_url, name)
    await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await admin.close()


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    """Settings of a test deployment, waits compressed; each test has Redis databases of its own."""
    queue = next(_numbers) % 500 * 2 + 2
    base = redis_url.rpartition("/")[0]
    for number in (queue, queue + 1):
        # After some hundred tests the numbers come again, and with them what an earlier test left.
        with redis.Redis.from_url(f"{base}/{number}") as used:
            used.flushdb()
    return Settings(
        env="test",
        database_url=Secret(database_url),
        redis_url=Secret(f"{base}/{queue}"),
        cache_url=Secret(f"{base}/{queue + 1}"),
        key_peppers=((1, Secret(PEPPER)),),
        stripe_secret_key=Secret("sk_test_simulator"),
        retry_base_s=0.05,
        recheck_s=0.2,
        # A test's loop is the worker's, Stripe's and the app's at once, and stands still for longer at times.
        cache_timeout_s=5.0,
    )


@pytest.fixture
async def context(settings: Settings) -> AsyncIterator[Context]:
    """A Context without Stripe; `tests/flows/conftest.py` adds the simulator."""
    async with open_context("cli", settings) as opened:
        yield opened


def with_settings(settings: Settings, **changes: object) -> Settings:
    return msgspec.structs.replace(settings, **changes)


async def _make_template(postgres_url: str) -> None:
    admin = await asyncpg.connect(postgres_url)
    await admin.execute("CREATE DATABASE tollhouse_template")
    await admin.close()
    await schema.upgrade(_with_database(postgres_url, "tollhouse_template"))


def _with_database(url: str, name: str) -> str:
    return f"{url.rpartition('/')[0]}/{name}"
