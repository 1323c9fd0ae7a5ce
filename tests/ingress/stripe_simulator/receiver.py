"""A webhook endpoint on loopback that records what arrives and answers as told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web


class Receiver:
    def __init__(self) -> None:
        self.url = ""
        #: (signature header, raw body) of every request, oldest first.
        self.received: list[tuple[str, bytes]] = []
        #: Statuses of the next answers; 200 when none is left.
        self.statuses: list[int] = []
        self.latency_s = 0.0
        self._arrived = asyncio.Event()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(body) for _signature, body in self.received]

    async def handle(self, request: web.Request) -> web.Response:
        self.received.append((request.headers["Stripe-Signature"], await request.read()))
        self._arrived.set()
        await asyncio.sleep(self.latency_s)
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)

    async def wait_for(self, number: int, timeout: float = 5.0) -> None:
        """Until this many requests have arrived."""
        async with asyncio.timeout(timeout):
            while len(self.received) < number:
                self._arrived.clear()
                await self._arrived.wait()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    receiver.url = f"http://{host}:{port}/hook"
    yield receiver
    await runner.cleanup()
