"""Probes: when a process should be sent requests, and what it says when not."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import httpx2
import msgspec
import pytest

from deploy.local.ports import free_port
from domain.context import open_context
from domain.flows.check_ready import ReadyCheck
from domain.flows.lookup import Lookup
from domain.settings import Process, Secret, Settings
from domain.store import revision, schema
from ingress import read
from ingress.lifespan import Running, open_running
from tests.conftest import PEPPER
from tests.ingress.doors import client_of, running_reader
from tests.proxy import proxied

#: What `read` and `webhook` must not load: 25 MB and half of their start.
UNUSED = {"alembic", "sqlalchemy", "stripe", "aiohttp"}


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[Running]:
    async with running_reader(settings) as opened:
        yield opened


@pytest.mark.parametrize("path", ["/health", "/live", "/livez"])
async def test_a_process_that_answers_is_live(running: Running, path: str) -> None:
    async with client_of(read.app, running) as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/ready", "/readyz"])
async def test_a_process_with_its_schema_is_ready(running: Running, path: str) -> None:
    async with client_of(read.app, running) as client:
        answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "checks": {"database": "ok", "cache": "ok"}}


async def test_probes_are_not_in_the_access_log(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    async with client_of(read.app, running) as client:
        await client.get("/health")
        await client.get("/ready")
        assert "".join(capsys.readouterr()) == ""
        await client.get("/nothing")
        assert '"route": "none"' in "".join(capsys.readouterr())


@pytest.mark.parametrize("process", ["read", "webhook", "cli"])
async def test_below_the_schema_it_needs_a_process_is_not_ready_and_names_the_command(
    settings: Settings, process: Process
) -> None:
    async with open_context(process, settings) as context:
        async with context.database.transaction() as connection:
            await connection.execute("UPDATE alembic_version SET version_num = '0000'")
        # An unknown revision was made by a newer release, which this one can serve on.
        assert (await ReadyCheck(context, process, Lookup(context)).check()).status == "ready"
        async with context.database.transaction() as connection:
            await connection.execute("DROP TABLE alembic_version")
        readiness = await ReadyCheck(context, process, Lookup(context)).check()
        assert readiness.status == "not_ready"
        assert "tollhouse migrate" in readiness.checks["database"]


def test_probes_and_migrations_are_of_one_mind() -> None:
    assert revision.shipped_revisions()[-1] == schema.required_revision()


@pytest.mark.parametrize("module", ["read", "webhook"])
async def test_a_reader_and_stripes_door_load_no_tool_they_never_use(module: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c",
        f"import sys, ingress.{module}; print(*{UNUSED} & set(sys.modules))",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, _ = await process.communicate()
    assert (process.returncode, printed.strip()) == (0, b"")


async def test_a_draining_process_is_not_ready_but_live(running: Running) -> None:
    running.is_draining = True
    async with client_of(read.app, running) as client:
        answer = await client.get("/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "draining")
        assert answer.headers["connection"] == "close"
        assert (await client.get("/live")).status_code == 200
        assert (await client.get("/api/v1/entitlements")).status_code == 401, "what arrives is still answered"
        running.is_draining = False
        assert "connection" not in (await client.get("/live")).headers


async def test_a_reader_that_was_warm_stays_ready_while_one_place_answers(settings: Settings) -> None:
    async with (
        proxied(settings.database_url.reveal()) as postgres,
        proxied(settings.cache_url.reveal()) as redis,
        open_running("read", behind(settings, postgres.url, redis.url)) as running,
        client_of(read.app, running) as client,
    ):
        assert (await client.get("/ready")).status_code == 200
        await postgres.cut()
        answer = await client.get("/ready")
        assert answer.status_code == 200
        assert answer.json()["checks"]["database"].startswith("away")
        await redis.cut()
        assert (await client.get("/ready")).status_code == 503


async def test_a_reader_that_never_reached_postgres_is_not_ready(settings: Settings) -> None:
    async with proxied(settings.database_url.reveal()) as postgres:
        await postgres.cut()
        async with (
            open_running("read", behind(settings, postgres.url, settings.cache_url.reveal())) as running,
            client_of(read.app, running) as client,
        ):
            assert (await client.get("/ready")).status_code == 503
            await postgres.restore()
            await asyncio.sleep(0.55)
            assert (await client.get("/ready")).status_code == 200


async def test_other_processes_are_not_ready_without_postgres(settings: Settings) -> None:
    async with (
        proxied(settings.database_url.reveal()) as postgres,
        open_context("cli", behind(settings, postgres.url, settings.cache_url.reveal())) as context,
    ):
        check = ReadyCheck(context, "api", Lookup(context))
        assert (await check.check()).status == "ready"
        await postgres.cut()
        assert (await check.check()).status == "not_ready"


async def test_the_real_process_starts_serves_and_ends_at_sigterm(settings: Settings) -> None:
    port = free_port()
    environ = {
        "PATH": os.environ["PATH"],
        "TOLLHOUSE_DATABASE_URL": settings.database_url.reveal(),
        "TOLLHOUSE_REDIS_URL": settings.redis_url.reveal(),
        "TOLLHOUSE_KEY_PEPPERS": f"1:{PEPPER}",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "uvicorn", "ingress.read:app", "--port", str(port),
        env=environ, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            answer = await _ask_until_up(client, "/ready")
            assert answer.json()["status"] == "ready"
            assert (await client.get("/api/v1/entitlements")).status_code == 401
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode in {0, -signal.SIGTERM}
    # The server speaks for itself until the settings say how to.
    lines = [msgspec.json.decode(line) for line in errors.splitlines() if line.startswith(b"{")]
    assert [line["status"] for line in lines if line["event"] == "request"] == [401]
    assert "process_ended" in [line["event"] for line in lines]


async def test_importing_an_app_reads_no_environment() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import ingress.read, ingress.api",
        env={"PATH": os.environ["PATH"], "TOLLHOUSE_NO_SUCH_SETTING": "1"},
    )  # fmt: skip
    assert await process.wait() == 0


async def _ask_until_up(client: httpx2.AsyncClient, path: str) -> httpx2.Response:
    async with asyncio.timeout(20):
        while True:
            try:
                return await client.get(path)
            except httpx2.TransportError:
                await asyncio.sleep(0.05)


def behind(settings: Settings, database_url: str, cache_url: str) -> Settings:
    return msgspec.structs.replace(settings, database_url=Secret(database_url), cache_url=Secret(cache_url))
