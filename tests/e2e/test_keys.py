"""A-14, A-17: four `read` processes as deployed: a key ends in all of them, and no rotation is missed."""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import aiohttp

from deploy.local.environment import ROOT
from deploy.local.ports import free_port
from domain.context import Context
from domain.flows.manage_keys import CreatedKey, create_key, revoke_key
from domain.flows.rotate_key import rotate_key
from domain.settings import Settings
from tests.conftest import PEPPER
from tests.seeds import seed_catalog
from tests.waiting import until

PROCESSES = 4
#: Requests of each caller between two steps of a rotation: after two, none is under way with the old key.
SOME = 10


class Doors:
    """The processes, each behind its own address, and callers of all of them."""

    def __init__(self, client: aiohttp.ClientSession, urls: list[str]) -> None:
        self._client = client
        self.urls = urls

    async def ask(self, url: str, key: str) -> int:
        headers = {"authorization": f"Bearer {key}"}
        async with self._client.get(
            f"{url}/api/v1/entitlements", params={"user_id": "u_1"}, headers=headers
        ) as answer:
            return answer.status

    async def statuses(self, key: str) -> list[int]:
        return await asyncio.gather(*(self.ask(url, key) for url in self.urls))

    async def until_answering(self) -> None:
        async with asyncio.timeout(60):
            for url in self.urls:
                while not await self._is_ready(url):  # noqa: ASYNC110 - another process's state
                    await asyncio.sleep(0.05)

    async def _is_ready(self, url: str) -> bool:
        with suppress(aiohttp.ClientError):
            async with self._client.get(f"{url}/ready") as answer:
                return answer.status == 200
        return False


@asynccontextmanager
async def running_doors(settings: Settings) -> AsyncIterator[Doors]:
    named = {
        "env": settings.env,
        "database_url": settings.database_url.reveal(),
        "redis_url": settings.redis_url.reveal(),
        "cache_url": settings.cache_url.reveal(),
        "key_peppers": f"1:{PEPPER}",
        "metrics_bind": "off",
        "read_rate": "0",
    }
    environ = {"PATH": os.environ["PATH"]} | {f"TOLLHOUSE_{key.upper()}": text for key, text in named.items()}
    ports = [free_port() for _ in range(PROCESSES)]
    async with AsyncExitStack() as stack:
        for port in ports:
            await stack.enter_async_context(_running_door(port, environ))
        client = await stack.enter_async_context(aiohttp.ClientSession())
        doors = Doors(client, [f"http://127.0.0.1:{port}" for port in ports])
        await doors.until_answering()
        yield doors


@asynccontextmanager
async def _running_door(port: int, environ: dict[str, str]) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ingress.serve", "read", "--port", str(port)),
        cwd=ROOT,
        env=environ,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def test_four_processes_refuse_a_revoked_key_and_miss_no_rotated_one(
    context: Context, settings: Settings
) -> None:
    await seed_catalog(context)
    ended, first = [await create_key(context, kind="app", project="acme", app="editor", name=n) for n in "ab"]
    async with running_doors(settings) as doors:
        for key in (ended, first):
            assert await doors.statuses(key.key) == [200] * PROCESSES
        began = time.monotonic()
        await revoke_key(context, ended.key_id)
        while await doors.statuses(ended.key) != [401] * PROCESSES:
            assert time.monotonic() - began < 5, "A-14: refused everywhere within 5 s"
        assert await doors.statuses(first.key) == [200] * PROCESSES
        last, answers = await rotate_under_load(context, doors, first)
        assert answers.keys() == {200}
        assert await doors.statuses(last.key) == [200] * PROCESSES


async def rotate_under_load(
    context: Context, doors: Doors, first: CreatedKey
) -> tuple[CreatedKey, Counter[int]]:
    """Two rotations while a caller asks each process all the time; what the callers were answered."""
    in_use, answers, is_over = first, {url: Counter[int]() for url in doors.urls}, asyncio.Event()

    async def call(url: str) -> None:
        while not is_over.is_set():
            answers[url][await doors.ask(url, in_use.key)] += 1

    async def after_some() -> None:
        wanted = {url: counted.total() + SOME for url, counted in answers.items()}
        await until(lambda: all(answers[url].total() >= count for url, count in wanted.items()), within_s=60)

    async with asyncio.timeout(60), asyncio.TaskGroup() as calling:
        for url in doors.urls:
            calling.create_task(call(url))
        for _ in range(2):
            old, made = in_use, (await rotate_key(context, in_use.key_id)).created
            await after_some()
            in_use = made
            await after_some()
            await revoke_key(context, old.key_id)
            await after_some()
        is_over.set()
    return in_use, sum(answers.values(), Counter[int]())
