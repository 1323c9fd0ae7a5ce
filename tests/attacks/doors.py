"""Doors as they are attacked: real processes, spoken to over sockets, and apps in this process."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import httpx2

from deploy.local.environment import ROOT
from domain.settings import Settings
from tests.conftest import PEPPER
from tests.flows.event_path import SECRET


class Door:
    """One door's process."""

    def __init__(self, name: str, port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self.log = log
        self.url = f"http://127.0.0.1:{port}"

    async def connect(self) -> "Caller":
        return Caller(*await asyncio.open_connection("127.0.0.1", self.port))


class Caller:
    """A caller who decides about every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def read_to_end(self, *, within_s: float) -> bytes:
        """Whatever comes until the connection ends; TimeoutError: it did not."""
        async with asyncio.timeout(within_s):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def read_status(self, *, within_s: float = 5.0) -> int:
        async with asyncio.timeout(within_s):
            return int((await self.reader.readline()).split()[1])


@asynccontextmanager
async def running_door(name: str, settings: Settings, log: Path, **changes: str) -> AsyncIterator[Door]:
    """A door of its own; `changes` are further settings, by name."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    door = Door(name, port, log)
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ingress.serve", name, "--port", str(port)),
            cwd=ROOT,
            env=_environ(name, settings, changes),
            stdout=out,
            stderr=out,
        )
    try:
        await _until_ready(door, process)
        yield door
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


def _environ(name: str, settings: Settings, changes: dict[str, str]) -> dict[str, str]:
    named = {
        "env": "test",
        "database_url": settings.database_url.reveal(),
        "redis_url": settings.redis_url.reveal(),
        "drain_s": "0",
        **({"stripe_webhook_secrets": SECRET} if name == "webhook" else {"key_peppers": f"1:{PEPPER}"}),
        **changes,
    }
    return {"PATH": os.environ["PATH"]} | {f"TOLLHOUSE_{key.upper()}": value for key, value in named.items()}


async def _until_ready(door: Door, process: asyncio.subprocess.Process) -> None:
    is_ready = False
    async with httpx2.AsyncClient(base_url=door.url) as client:
        while not is_ready:
            assert process.returncode is None, door.log.read_text()
            try:
                is_ready = (await client.get("/ready")).status_code == 200
            except httpx2.TransportError:
                await asyncio.sleep(0.02)
