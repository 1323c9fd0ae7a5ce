"""A TCP proxy on loopback that can be cut or stalled: how a test takes a server away and gives it back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

Change = Callable[[bytes], bytes]


def _as_it_is(data: bytes) -> bytes:
    return data


class Proxy:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._parts = parts
        self._upstream = (parts.hostname or "127.0.0.1", parts.port or 0)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._is_cut = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._replying = asyncio.Event()
        self._replying.set()
        #: Seconds that each piece of data is late, in either direction.
        self.latency_s = 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self._pipes: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The server's URL, through this proxy."""
        login = self._parts.netloc.rpartition("@")[0]
        return urlunsplit(self._parts._replace(netloc=f"{login}@127.0.0.1:{self._port}"))

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        await self.cut()
        for pipe in list(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def cut(self) -> None:
        """Break every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def restore(self) -> None:
        """Undo `cut`, `stall`, `drop_replies` and latency."""
        self._flowing.set()
        self._replying.set()
        self.latency_s = 0.0
        if self._server is None:
            await self.start()

    def stall(self) -> None:
        """Keep connections open, accept new ones, and let nothing through."""
        self._flowing.clear()

    def drop_replies(self) -> None:
        """Let what clients send through, and no answer: whether it had an effect they cannot know."""
        self._replying.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(*self._upstream)
            if self._server is None:
                # Cut while the far side was being reached: nobody would ever end this connection.
                writer.transport.abort()
                far_writer.transport.abort()
                return
            for source, target, gate, change in (
                (reader, far_writer, self._flowing, self._asked()),
                (far_reader, writer, self._replying, _as_it_is),
            ):
                pipe = asyncio.create_task(self._pipe(source, target, gate, change))
                self._pipes.add(pipe)
                pipe.add_done_callback(self._pipes.discard)

    def _asked(self) -> Change:
        """What happens to the bytes that a client sends on one connection."""
        return _as_it_is

    async def _pipe(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, gate: asyncio.Event, change: Change
    ) -> None:
        self._writers.add(target)
        try:
            while data := await source.read(65_536):
                await self._flowing.wait()
                await gate.wait()
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                target.write(change(data))
                await target.drain()
        except OSError:
            pass
        finally:
            self._writers.discard(target)
            target.close()
            with suppress(OSError):
                await target.wait_closed()


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
