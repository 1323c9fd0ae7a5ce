"""Calls to a door's app in the running loop, with the process parts a lifespan would have opened."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from starlette.types import ASGIApp, Receive, Scope, Send

from domain.settings import Settings
from ingress.lifespan import Running, open_running
from tests.waiting import until


@asynccontextmanager
async def client_of(
    app: ASGIApp, running: Running, key: str | None = None, *, address: str = "127.0.0.1"
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of `app` at `address`; `key` is sent as the API key of every request."""

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": {"running": running}}, receive, send)

    headers = {"authorization": f"Bearer {key}"} if key else {}
    transport = httpx2.ASGITransport(app=with_state, client=(address, 123))
    async with httpx2.AsyncClient(transport=transport, base_url="http://door", headers=headers) as client:
        yield client


@asynccontextmanager
async def running_reader(settings: Settings) -> AsyncIterator[Running]:
    """The parts of the `read` process, its subscription up."""
    async with open_running("read", settings) as running:
        await until(lambda: running.lookup.is_watching)
        yield running
