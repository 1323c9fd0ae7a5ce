"""What a process stands on, put together once by hand and passed down."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from domain.cache import Cache
from domain.errors import TollhouseError
from domain.faults import NO_FAULTS, Faults
from domain.settings import Process, Settings
from domain.store.session import Connection, Database

if TYPE_CHECKING:
    from domain.stripe_gateway import StripeGateway


class Context(Struct, frozen=True, kw_only=True):
    settings: Settings
    database: Database
    #: None in a process that neither reads nor writes the cache.
    cache: Cache | None
    #: None in a process that holds no Stripe key.
    stripe: "StripeGateway | None"
    #: Business time, asked once per transaction after the user lock; tests replace it.
    now: Callable[[Connection], Awaitable[datetime]]
    #: Where a test wants this process to fail; nowhere, in earnest.
    faults: Faults = NO_FAULTS

    @property
    def stripe_or_raise(self) -> "StripeGateway":
        """Raises: TollhouseError, where this process was started without a Stripe key: a wiring mistake."""
        if self.stripe is None:
            raise TollhouseError(
                "this process holds no Stripe key; run it where TOLLHOUSE_STRIPE_SECRET_KEY is set"
            )
        return self.stripe


#: Which process opens which parts. `webhook` and `read` never load the Stripe client.
WITH_CACHE: frozenset[Process] = frozenset({"read", "api", "worker", "scheduler", "cli", "stripe-cli"})
WITH_STRIPE: frozenset[Process] = frozenset({"api", "worker", "scheduler", "stripe-cli"})
POOL_SIZE: dict[Process, int] = {"webhook": 10, "read": 10, "api": 10, "worker": 16, "scheduler": 10}


@asynccontextmanager
async def open_context(process: Process, settings: Settings) -> AsyncIterator[Context]:
    """The parts a process needs, open; closed in reverse order at the end. Touches no server yet."""
    async with AsyncExitStack() as stack:
        database = Database(
            settings.database_url.reveal(),
            max_size=POOL_SIZE.get(process, 4),
            timeout_s=settings.database_timeout_s if process == "webhook" else 10.0,
            name=process,
        )
        stack.push_async_callback(database.close)
        cache = None
        if process in WITH_CACHE and settings.cache_url:
            cache = Cache(
                settings.cache_url.reveal(), stale_s=settings.stale_s, timeout_s=settings.cache_timeout_s
            )
            stack.push_async_callback(cache.close)
        stripe = None
        if process in WITH_STRIPE:
            from domain.stripe_gateway import StripeGateway  # noqa: PLC0415 - 2 MB that `read` never needs

            stripe = StripeGateway(settings)
            stack.push_async_callback(stripe.close)
        yield Context(
            settings=settings,
            database=database,
            cache=cache,
            stripe=stripe,
            now=database_now,
            faults=Faults(settings.fault_points),
        )


async def database_now(connection: Connection) -> datetime:
    """The database's clock, aware UTC."""
    return await connection.fetchval("SELECT clock_timestamp()")  # type: ignore[no-any-return]
