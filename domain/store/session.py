"""Opens every connection and every transaction on Postgres; whoever opens one commits it, once.

The event path, recompute and reads are SQL on this pool. Nothing here or in any other store module commits
by itself: a store function is one named statement that takes a connection.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeAlias, cast

import asyncpg

from domain.errors import Broken, Unavailable
from domain.store.arrays import know_arrays

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Record: TypeAlias = asyncpg.Record

#: What a restart, a failover, a full server or a lost race looks like: the same statement will work later.
AWAY: tuple[type[BaseException], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    # A migration changed a table under a prepared statement: it is prepared anew next time.
    asyncpg.InvalidCachedStatementError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.OutOfMemoryError,
    asyncpg.DiskFullError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InterfaceError,
    # The driver, taken aback by a server that died while it was speaking (seen in F-07: one 500 of 13,843).
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


#: Connections a process opens at its start.
WARM = 4
#: A database that is away must not keep a process from starting.
WARM_TIMEOUT_S = 2.0
#: An idle connection is closed after this long; a burst after a quiet minute should not pay for new ones.
IDLE_S = 600.0
#: What closing one connection may take.
CLOSE_S = 2.0


class Database:
    """A lazy pool: it is made without touching Postgres, so that the start order of processes is free."""

    def __init__(self, url: str, *, max_size: int = 10, timeout_s: float = 10.0, name: str) -> None:
        self._url = url
        self._max_size = max_size
        self._timeout_s = timeout_s
        self._name = name
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One READ COMMITTED transaction: committed when the block ends, rolled back when it raises.

        Raises:
            Unavailable: Postgres is away, too slow, or chose this transaction in a deadlock.
        """
        async with self.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                yield connection
            except asyncio.CancelledError:
                # `connection` ends, and the transaction with it: ROLLBACK would wait for a server that hangs.
                raise
            except BaseException:
                # Whatever ended the block, nothing of it may stay.
                await transaction.rollback()
                raise
            await transaction.commit()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Connection]:
        """One read-only transaction in which every statement sees the database at the same moment.

        Raises:
            Unavailable: as `transaction`.
        """
        async with (
            self.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection on which each statement commits by itself.

        Raises:
            Unavailable: Postgres is away or too slow.
        """
        with _named_errors():
            pool = await self._open()
            async with pool.acquire(timeout=self._timeout_s) as connection:
                try:
                    yield connection
                except asyncio.CancelledError:
                    # Out of time: whoever waits must not wait as long again until the server has answered.
                    connection.terminate()
                    raise

    async def open_session(self, lost: Callable[[], None], server_settings: Mapping[str, str]) -> "Session":
        """A connection of its own beside the pool, for what ends with the connection: a session's lock.

        `lost` is called once, at its end, whoever ended it. Postgres probes the network after five seconds of
        silence, because a lock whose holder cannot be reached would otherwise be held for hours.

        Raises:
            Unavailable: Postgres is away or too slow.
        """
        with _named_errors():
            connection = await asyncpg.connect(
                self._url,
                timeout=self._timeout_s,
                command_timeout=self._timeout_s,
                server_settings={
                    "application_name": f"tollhouse-{self._name}",
                    "timezone": "UTC",
                    "tcp_keepalives_idle": "5",
                    "tcp_keepalives_interval": "1",
                    "tcp_keepalives_count": "3",
                    **server_settings,
                },
            )
        connection.add_termination_listener(lambda _: lost())
        return Session(connection)

    async def warm(self, connections: int = WARM) -> None:
        """Open some connections before they are needed: each costs milliseconds of the first requests.

        Where Postgres is away nothing happens: they are opened when it is back.
        """
        try:
            async with asyncio.timeout(WARM_TIMEOUT_S), AsyncExitStack() as held:
                for _ in range(connections):
                    # All are held until the last is open, or the first would be handed out again.
                    await held.enter_async_context(self.connection())
        except (Unavailable, TimeoutError):
            return

    async def close(self) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                await asyncio.wait_for(pool.close(), timeout=self._timeout_s)
            except TimeoutError:
                pool.terminate()

    async def _open(self) -> "asyncpg.Pool[asyncpg.Record]":
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=self._max_size,
                    timeout=self._timeout_s,
                    command_timeout=self._timeout_s,
                    max_inactive_connection_lifetime=IDLE_S,
                    init=know_arrays,
                    server_settings={
                        "application_name": f"tollhouse-{self._name}",
                        "timezone": "UTC",
                        # A 2xx to Stripe says that the event is on disk, whatever the server's default.
                        "synchronous_commit": "on",
                    },
                )
            return self._pool


class Session:
    """One connection for as long as it lasts."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    @property
    def is_over(self) -> bool:
        return bool(self._connection.is_closed())

    @contextmanager
    def use(self) -> Iterator[Connection]:
        """Each statement commits by itself; whatever goes wrong ends the session.

        Raises:
            Unavailable: Postgres is away or too slow.
        """
        try:
            with _named_errors():
                # The pool's proxy has the methods of the connection that it stands for.
                yield cast("Connection", self._connection)
        except BaseException:
            # Whatever ended the block, its session must not outlive it: locks of a session would stay.
            self.cut()
            raise

    def cut(self) -> None:
        """End it without waiting for a server that may not answer."""
        if not self._connection.is_closed():
            self._connection.terminate()

    async def close(self) -> None:
        """End it, with a word to the server, which then lets its locks go at once."""
        try:
            await self._connection.close(timeout=CLOSE_S)
        except AWAY:
            self.cut()


@contextmanager
def _named_errors() -> Iterator[None]:
    """What Postgres says, as what our callers know."""
    try:
        yield
    except AWAY as error:
        # A commit whose answer got lost may or may not have happened: every caller can run again.
        raise Unavailable(f"Postgres did not answer: {type(error).__name__}") from error
    except asyncpg.UndefinedTableError as error:
        raise Unavailable(
            "The database has no schema yet: run `tollhouse migrate`.", code="schema_behind"
        ) from error
    except asyncpg.PostgresError as error:
        raise Broken(f"Postgres refused a statement: {_name(error)}") from None


def _name(error: asyncpg.PostgresError) -> str:
    """What was refused, without the row: Postgres puts its values into the message."""
    parts = (error.table_name, error.column_name, error.constraint_name)
    where = ", ".join(part for part in parts if part)
    return f"{type(error).__name__} ({error.sqlstate}{f', {where}' if where else ''})"


def rows_changed(status: Any) -> int:
    """The count in asyncpg's command tag, such as 3 in `UPDATE 3`."""
    return int(str(status).rpartition(" ")[2])
