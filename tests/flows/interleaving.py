"""Two flows, interleaved at every await: A is held at its k-th await, B runs to its end, A goes on.

The awaits of a flow are its calls to Postgres, Redis and Stripe, and the edges of its transactions; they
pass through what a Context holds, so that is where A is held. B may need a lock that A has: then B waits on
the server, and A goes on.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from msgspec import Struct

from domain.cache import Cache
from domain.context import Context
from domain.model import CachedSet
from domain.store.session import Connection, Database
from domain.stripe_gateway import JsonObject, Reserve, StripeGateway

#: What happens to the text of a statement on its way to Postgres.
Rewrite = Callable[[str], str]
Flow = Callable[[Context], Awaitable[object]]


class Interleaved(Struct, frozen=True):
    #: What A was about to do, or had done, where it was held; None: it ended before its k-th await.
    held_at: str | None
    #: B needed a lock that A held, and waited for A's end.
    is_blocked: bool


class Stepper:
    """Counts the awaits of one flow and holds it at one of them."""

    def __init__(self, hold_at: int) -> None:
        self._hold_at = hold_at
        self._taken = 0
        self.held_at: str | None = None
        self.held = asyncio.Event()
        self.released = asyncio.Event()

    async def step(self, what: str) -> None:
        self._taken += 1
        if self._taken == self._hold_at:
            self.held_at = what
            self.held.set()
            await self.released.wait()


async def interleave(context: Context, first: Flow, second: Flow, hold_at: int) -> Interleaved:
    """Run `first` to its `hold_at`-th await, `second` to its end (or to a lock), then `first` to its end."""
    stepper = Stepper(hold_at)
    task = asyncio.ensure_future(first(held_by(stepper, context)))
    holding = asyncio.create_task(stepper.held.wait())
    await asyncio.wait({task, holding}, return_when=asyncio.FIRST_COMPLETED)
    holding.cancel()
    if not stepper.held.is_set():
        await task
        await second(context)
        return Interleaved(None, is_blocked=False)
    other = asyncio.ensure_future(second(context))
    try:
        is_blocked = await is_waiting(context, other)
    finally:
        stepper.released.set()
    await asyncio.gather(task, other)
    return Interleaved(stepper.held_at, is_blocked=is_blocked)


async def is_waiting(context: Context, other: "asyncio.Future[object]") -> bool:
    """Wait until `other` is done (False) or some statement waits for a lock (True)."""
    async with asyncio.timeout(20), context.database.connection() as watching:
        while not other.done():
            if await watching.fetchval(
                """
                SELECT EXISTS (SELECT 1 FROM pg_stat_activity
                               WHERE datname = current_database() AND wait_event_type = 'Lock')
                """
            ):
                return True
            await asyncio.wait({other}, timeout=0.002)
    return False


# ── a Context whose every part can hold its caller ──


def held_by(stepper: Stepper, context: Context) -> Context:
    """The same deployment, every await of which asks `stepper` first."""
    return msgspec.structs.replace(
        context,
        database=SteppedDatabase(context.database, stepper.step),
        cache=SteppedCache(context.cache, stepper.step) if context.cache is not None else None,
        stripe=SteppedStripe(context.stripe, stepper.step) if context.stripe is not None else None,
    )


def rewriting(rewrite: Rewrite, context: Context) -> Context:
    """The same deployment with a crippled database: statements are changed on their way."""
    return msgspec.structs.replace(context, database=SteppedDatabase(context.database, _go_on, rewrite))


Step = Callable[[str], Awaitable[None]]


async def _go_on(_what: str) -> None:
    return


def _as_it_is(statement: str) -> str:
    return statement


class SteppedDatabase(Database):
    def __init__(self, inner: Database, step: Step, rewrite: Rewrite = _as_it_is) -> None:
        self._inner = inner
        self._step = step
        self._rewrite = rewrite

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        await self._step("begin")
        async with self._inner.transaction() as connection:
            yield self._stepped(connection)
            await self._step("commit")
        await self._step("committed")

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        await self._step("connect")
        async with self._inner.connection() as connection:
            yield self._stepped(connection)
        await self._step("disconnected")

    def _stepped(self, connection: Connection) -> Connection:
        # It has the methods that stores use.
        stepped: Any = _SteppedConnection(connection, self._step, self._rewrite)
        return stepped


class _SteppedConnection:
    def __init__(self, inner: Connection, step: Step, rewrite: Rewrite) -> None:
        self._inner: Any = inner
        self._step = step
        self._rewrite = rewrite

    async def execute(self, statement: str, *values: Any) -> Any:
        return await self._ask(self._inner.execute, statement, values)

    async def executemany(self, statement: str, values: Any) -> Any:
        return await self._ask(self._inner.executemany, statement, (values,))

    async def fetch(self, statement: str, *values: Any) -> Any:
        return await self._ask(self._inner.fetch, statement, values)

    async def fetchrow(self, statement: str, *values: Any) -> Any:
        return await self._ask(self._inner.fetchrow, statement, values)

    async def fetchval(self, statement: str, *values: Any) -> Any:
        return await self._ask(self._inner.fetchval, statement, values)

    async def _ask(self, call: Any, statement: str, values: tuple[Any, ...]) -> Any:
        await self._step(" ".join(statement.split()))
        return await call(self._rewrite(statement), *values)


class SteppedCache(Cache):
    """Only what flows ask of it while they run; messages are listened to elsewhere."""

    def __init__(self, inner: Cache, step: Step) -> None:
        self._inner = inner
        self._step = step

    async def find_all(self, project: str, keys: Sequence[str]) -> list[CachedSet | None]:
        await self._step("cache: find")
        found = await self._inner.find_all(project, keys)
        await self._step("cache: found")
        return found

    async def store(self, entries: Sequence[tuple[str, CachedSet]]) -> None:
        await self._step("cache: store")
        await self._inner.store(entries)
        await self._step("cache: stored")

    async def publish_catalog(self, project: str, catalog_version: int) -> None:
        await self._step("cache: publish catalog")
        await self._inner.publish_catalog(project, catalog_version)


class SteppedStripe(StripeGateway):
    def __init__(self, inner: StripeGateway, step: Step) -> None:
        self._inner = inner
        self._step = step
        self.mode = inner.mode
        self.rate = inner.rate

    async def read(self, path: str, reserve: Reserve, **params: Any) -> JsonObject:
        await self._step(f"stripe: {path}")
        found = await self._inner.read(path, reserve, **params)
        await self._step(f"stripe: {path} read")
        return found

    async def read_list(self, path: str, reserve: Reserve, **params: Any) -> AsyncIterator[JsonObject]:
        await self._step(f"stripe: list {path}")
        async for found in self._inner.read_list(path, reserve, **params):
            yield found
            await self._step(f"stripe: list {path}, next")
