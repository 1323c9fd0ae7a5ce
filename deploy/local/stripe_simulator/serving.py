"""Serving the application inside a running event loop, without touching the process's signals."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from deploy.local.stripe_simulator.app import create_app
from deploy.local.stripe_simulator.simulator import Simulator

#: Seconds a call under way may take to end when the server stops.
GRACE_S = 1


class PortBusy(Exception):
    """The port is in use by another program."""


class LoopServer(uvicorn.Server):
    """Uvicorn without its signal handlers, that says when it is ready and tells the simulator to let go."""

    def __init__(self, simulator: Simulator) -> None:
        config = uvicorn.Config(
            create_app(simulator),
            access_log=False,
            # Stripe says the time of its own clock, which a test may set wrong.
            date_header=False,
            log_config=None,
            lifespan="on",
            timeout_graceful_shutdown=GRACE_S,
        )
        super().__init__(config)
        self._simulator = simulator
        self.ready = asyncio.Event()
        self.leaving = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to whoever runs the loop: the program's main, or a test runner."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        """Without Uvicorn's ticks, which would only notice 0.1 s later that it should stop."""
        await self.leaving.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 (Uvicorn's)
        """Uvicorn's own sleeps 0.1 s at each step: a thousand tests would wait for minutes in all."""
        self._simulator.stopping.set()
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if calls := list(self.server_state.tasks):
            _done, late = await asyncio.wait(calls, timeout=GRACE_S)
            for call in late:
                call.cancel()
        await self.lifespan.shutdown()


@asynccontextmanager
async def serving(simulator: Simulator, listener: socket.socket) -> AsyncIterator[LoopServer]:
    """Serve on a bound socket while inside; the end waits for calls under way, for `GRACE_S` at most."""
    server = LoopServer(simulator)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="stripe-simulator")
    ready = asyncio.create_task(server.ready.wait())
    await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if task.done():
        task.result()
        raise RuntimeError("the simulator's server ended before it was ready")
    try:
        yield server
    finally:
        server.leaving.set()
        await task


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises PortBusy."""
    # The protocol must be named: asyncio turns Nagle's algorithm off only for sockets that say they are
    # TCP, and with it every answer on a kept connection takes 40 ms (measured).
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortBusy(f"cannot listen on {host}:{port} ({error.strerror}): choose another --port") from error
    listener.listen(1024)
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"
