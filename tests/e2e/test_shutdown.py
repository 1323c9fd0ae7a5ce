"""Processes as they are deployed: started before their servers are there, restarted while all are busy."""

import asyncio
import itertools
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import aiohttp
import msgspec
import pytest

from deploy.local.environment import ROOT, WORKER_TIMEOUT_MS
from deploy.local.ports import free_port
from domain.flows.manage_keys import create_key
from domain.settings import Settings
from tests.conftest import PEPPER
from tests.e2e.local.processes_seen import children_of
from tests.flows.event_path import SECRET, EventPath, running_path, sign
from tests.proxy import Proxy, proxied

DOORS = ("webhook", "read", "api")
#: What every platform grants a process between SIGTERM and SIGKILL, less than its usual 30 s.
STOPS_WITHIN_S = 25.0
STARTS_WITHIN_S = 60.0


class Process:
    """One started process, its log, and its port if it is a door."""

    def __init__(self, name: str, running: asyncio.subprocess.Process, log: Path, port: int) -> None:
        self.name = name
        self.running = running
        self._log = log
        self.url = f"http://127.0.0.1:{port}"

    async def stop(self) -> float:
        """SIGTERM; answers the seconds until its end."""
        began = time.monotonic()
        self.running.send_signal(signal.SIGTERM)
        await asyncio.wait_for(self.running.wait(), STOPS_WITHIN_S)
        return time.monotonic() - began

    async def until_logged(self, event: str) -> None:
        async with asyncio.timeout(STARTS_WITHIN_S):
            while event not in self.events():
                assert self.running.returncode in {None, 0}, self._log.read_text()
                await asyncio.sleep(0.05)

    def events(self) -> list[str]:
        """What it has logged; every line is JSON once the settings are read."""
        whole = self._log.read_bytes().rpartition(b"\n")[0].splitlines()
        return [msgspec.json.decode(line)["event"] for line in whole if line.startswith(b"{")]

    def plain_lines(self) -> list[str]:
        return [line for line in self._log.read_text().splitlines() if not line.startswith("{")]


class Fleet:
    """All processes of a deployment, and what a load balancer does: it sends to who is ready."""

    def __init__(self, path: EventPath, servers: tuple[Proxy, Proxy, Proxy], directory: Path) -> None:
        self._path = path
        self._servers = servers
        self._directory = directory
        self._numbers = itertools.count()
        self.client = aiohttp.ClientSession()
        self.all: list[Process] = []
        #: Who gets requests, by kind of door.
        self.serving: dict[str, Process] = {}

    async def start(self, name: str) -> Process:
        port = free_port()
        log = self._directory / f"{name}-{next(self._numbers)}.log"
        door = ("ingress.serve", name, "--port", str(port))
        words = {
            "worker": ("dramatiq", "workers.actors", "--skip-logging", "--processes", "1", "--threads", "4",
                       "--worker-shutdown-timeout", "20000", "--worker-fork-timeout", "1000"),
            "scheduler": ("workers.scheduler",),
        }.get(name, door)  # fmt: skip
        with log.open("wb") as out:
            running = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *words, cwd=ROOT, env=self._environ(), stdout=out, stderr=out
            )
        process = Process(name, running, log, port)
        self.all.append(process)
        return process

    async def until_ready(self, process: Process) -> None:
        if process.name not in DOORS:
            await process.until_logged(f"{process.name}_ready")
            return
        await self.until_says(process, "/ready", 200)

    async def until_says(self, process: Process, path: str, status: int) -> None:
        async with asyncio.timeout(STARTS_WITHIN_S):
            while await self.ask(process, path) != status:  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.02)

    async def ask(self, process: Process, path: str) -> int:
        """The status; 0: nobody answers."""
        try:
            async with self.client.get(process.url + path) as answer:
                return answer.status
        except aiohttp.ClientError:
            return 0

    async def end(self) -> None:
        await self.client.close()
        for process in self.all:
            if process.running.returncode is None:
                process.running.terminate()
                await process.running.wait()

    def _environ(self) -> dict[str, str]:
        postgres, queue, cache = self._servers
        settings = self._path.context.settings
        return {
            "PATH": os.environ["PATH"],
            "dramatiq_worker_timeout": str(WORKER_TIMEOUT_MS),
            "TOLLHOUSE_ENV": settings.env,
            "TOLLHOUSE_DATABASE_URL": postgres.url,
            "TOLLHOUSE_REDIS_URL": queue.url,
            "TOLLHOUSE_CACHE_URL": cache.url,
            "TOLLHOUSE_KEY_PEPPERS": f"1:{PEPPER}",
            "TOLLHOUSE_STRIPE_API_BASE": settings.stripe_api_base,
            "TOLLHOUSE_STRIPE_SECRET_KEY": settings.stripe_secret_key.reveal(),
            "TOLLHOUSE_STRIPE_WEBHOOK_SECRETS": SECRET,
            "TOLLHOUSE_STRIPE_RATE": "0",
            "TOLLHOUSE_RING_AGAIN_S": "1",
            "TOLLHOUSE_DRAIN_S": "1",
        }


@asynccontextmanager
async def waiting_fleet(path: EventPath, directory: Path) -> AsyncIterator[tuple[Fleet, tuple[Proxy, ...]]]:
    """Servers that are not there yet, and processes that have them set."""
    settings = path.context.settings
    urls = (settings.database_url, settings.redis_url, settings.cache_url)
    async with AsyncExitStack() as stack:
        postgres, queue, cache = [await stack.enter_async_context(proxied(url.reveal())) for url in urls]
        for server in (postgres, queue, cache):
            await server.cut()
        fleet = Fleet(path, (postgres, queue, cache), directory)
        stack.push_async_callback(fleet.end)
        yield fleet, (postgres, queue, cache)


class Load:
    """Purchases whose events are delivered and reads, all the time; every answer that is no 2xx is kept."""

    def __init__(self, fleet: Fleet, path: EventPath, key: str) -> None:
        self._fleet = fleet
        self._path = path
        self._headers = {"authorization": f"Bearer {key}"}
        self._tasks: list[asyncio.Task[None]] = []
        self.bought: list[str] = []
        self.answers = 0
        self.refused: list[str] = []

    async def __aenter__(self) -> Self:
        works = (self._buy(), self._read("read"), self._read("api"))
        self._tasks = [asyncio.create_task(work) for work in works]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends

    async def _buy(self) -> None:
        for number in itertools.count():
            user = f"buyer_{number}"
            customer = await self._path.make_customer(user)
            session = await self._path.buy(customer)
            for event in await self._path.events(types=["checkout.session.completed"]):
                if event["data"]["object"]["id"] == session:
                    await asyncio.shield(self._deliver(user, event))

    async def _deliver(self, user: str, event: dict[str, Any]) -> None:
        body = msgspec.json.encode(event)
        url = f"{self._fleet.serving['webhook'].url}/api/v1/webhooks/stripe"
        headers = {"stripe-signature": sign(body).decode()}
        await self._note(self._fleet.client.post(url, data=body, headers=headers))
        self.bought.append(user)

    async def _read(self, door: str) -> None:
        for number in itertools.count():
            url = f"{self._fleet.serving[door].url}/api/v1/entitlements?user_id=buyer_{number % 5}"
            await self._note(self._fleet.client.get(url, headers=self._headers))
            await asyncio.sleep(0.01)

    async def _note(self, request: Any) -> None:
        try:
            async with request as answer:
                if answer.status == 200:
                    self.answers += 1
                else:
                    self.refused.append(f"{answer.status} {answer.url} {await answer.text()}")
        except aiohttp.ClientError as error:
            self.refused.append(f"{type(error).__name__}: {error}")


@pytest.mark.timeout(180)
async def test_processes_start_before_their_servers_and_restart_under_load_without_losing_anything(
    settings: Settings, tmp_path: Path
) -> None:
    async with running_path(settings) as path, waiting_fleet(path, tmp_path) as (fleet, servers):
        started = {name: await fleet.start(name) for name in (*DOORS, "worker", "scheduler")}
        for name in ("worker", "scheduler"):
            await started[name].until_logged("waiting_for_schema")
        for name in DOORS:
            await fleet.until_says(started[name], "/live", 200)
            assert await fleet.ask(started[name], "/ready") == 503
        for server in servers:
            await server.restore()
        await asyncio.gather(*(fleet.until_ready(process) for process in started.values()))
        fleet.serving = {name: started[name] for name in DOORS}

        key = await create_key(path.context, kind="app", project="acme", app="editor", name="editor")
        async with Load(fleet, path, key.key) as load:
            for name in (*DOORS, "scheduler", "worker"):
                took_s = await restart(fleet, started[name])
                assert took_s < STOPS_WITHIN_S, f"{name} took {took_s:.1f} s to stop"
        assert load.refused == []
        assert load.answers > 50
        assert len(load.bought) > 1
        async with asyncio.timeout(30):
            while await path.count_owed():  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.1)
        assert await path.states() == {"processed": len(load.bought)}
        assert all([await path.is_granted(user_id=user) for user in load.bought])
        for process in started.values():
            assert process.plain_lines() == [], process.name


async def restart(fleet: Fleet, old: Process) -> float:
    """As rolling restarts go: the new one is ready, then the old one drains. Answers its seconds."""
    new = await fleet.start(old.name)
    await fleet.until_ready(new)
    if old.name not in DOORS:
        second = asyncio.create_task(end_again(old)) if old.name == "worker" else None
        took_s = await old.stop()
        await asyncio.gather(*([second] if second else []))
        return took_s
    stopping = asyncio.create_task(old.stop())
    # It still answers, and says that it drains.
    await fleet.until_says(old, "/ready", 503)
    fleet.serving[old.name] = new
    return await stopping


async def end_again(worker: Process) -> None:
    """A second SIGTERM to everybody while the worker stops: it once hung for ever."""
    below = children_of(worker.running.pid)
    await worker.until_logged("Stopping worker process...")
    for pid in (worker.running.pid, *below):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
