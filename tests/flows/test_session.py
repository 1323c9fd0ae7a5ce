"""The one place that opens connections: lazily, warm where asked, and Unavailable where Postgres is away."""

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from domain.context import Context
from domain.errors import Broken, Unavailable
from domain.settings import Settings
from domain.store.session import WARM, Database
from tests.proxy import Proxy

STORE = Path(__file__).resolve().parents[2] / "domain" / "store"


async def test_warming_opens_connections_that_the_first_requests_then_find(context: Context) -> None:
    await context.database.warm()
    async with context.database.connection() as connection:
        count = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        )
    assert count == WARM


async def test_warming_where_postgres_is_away_changes_nothing() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/x", name="test")
    await database.warm()
    with pytest.raises(Unavailable):
        async with database.connection():
            pass
    await database.close()


async def test_a_transaction_that_raises_leaves_nothing(context: Context) -> None:

    async def write_and_raise() -> None:
        async with context.database.transaction() as connection:
            await connection.execute("UPDATE stripe_budget SET slow_until = clock_timestamp()")
            raise LookupError

    with pytest.raises(LookupError):
        await write_and_raise()
    async with context.database.connection() as connection:
        assert await connection.fetchval("SELECT slow_until = '-infinity' FROM stripe_budget")


async def test_a_statement_postgres_refuses_is_our_bug(context: Context) -> None:
    with pytest.raises(Broken, match="Postgres refused"):
        async with context.database.connection() as connection:
            await connection.execute("INSERT INTO deployment (account_id, mode, env) VALUES ('a', 'b', 'c')")


async def test_a_connection_cut_in_the_middle_is_unavailable_and_the_next_one_works(
    settings: Settings,
) -> None:
    proxy = Proxy(settings.database_url.reveal())
    await proxy.start()
    database = Database(proxy.url, name="test")

    async def ask_while_it_is_cut() -> None:
        async with database.connection() as connection:
            await proxy.cut()
            await connection.fetchval("SELECT 1")

    with pytest.raises(Unavailable):
        await ask_while_it_is_cut()
    await proxy.restore()
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await database.close()
    await proxy.stop()


async def test_a_driver_taken_aback_by_a_dying_server_is_unavailable(context: Context) -> None:
    async def speak_to_the_dying() -> None:
        async with context.database.connection():
            raise asyncpg.InternalClientError("cannot switch to state 12; another operation is in progress")

    with pytest.raises(Unavailable, match="InternalClientError"):
        await speak_to_the_dying()


async def test_a_database_without_a_schema_names_the_command(postgres_url: str) -> None:
    database = Database(postgres_url.rpartition("/")[0] + "/postgres", name="test")
    with pytest.raises(Unavailable, match="tollhouse migrate"):
        async with database.connection() as connection:
            await connection.fetchval("SELECT 1 FROM webhook_events")
    await database.close()


async def test_a_pool_that_hangs_ends_in_time(settings: Settings) -> None:
    proxy = Proxy(settings.database_url.reveal())
    await proxy.start()
    database = Database(proxy.url, name="test", timeout_s=0.3)
    async with database.connection() as connection:
        await connection.fetchval("SELECT 1")
    proxy.stall()
    with pytest.raises(Unavailable):
        async with asyncio.timeout(5), database.connection() as connection:
            await connection.fetchval("SELECT 1")
    await proxy.restore()
    await database.close()
    await proxy.stop()


async def test_a_connection_cut_in_the_middle_of_an_answer_is_an_outage_and_no_defect(
    settings: Settings,
) -> None:
    """asyncpg says so of a server that was killed (chaos F-07); counted as a defect it would kill targets."""
    database = Database(settings.database_url.reveal(), name="test")
    with pytest.raises(Unavailable):
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT 1") == 1
            raise asyncpg.InternalClientError("cannot switch to state 12; another operation is in progress")
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await database.close()


async def test_no_statement_makes_the_driver_ask_the_server_what_an_array_is(context: Context) -> None:
    asked: list[str] = []
    values = {
        "bigint": [1 << 40],
        "boolean": [True, None],
        "bytea": [b"\0"],
        "float8": [0.5, None],
        "int": [-1],
        "text": ["a,b"],
        "timestamptz": [datetime(2026, 1, 1, tzinfo=UTC)],
        "uuid": [UUID(int=7)],
    }
    used = {
        name
        for path in STORE.glob("*.py")
        for name in re.findall(r"::(\w+)\[\]", path.read_text(encoding="utf-8"))
    }
    assert used <= set(values), "a new type of array: add its numbers to domain/store/arrays.py"
    async with context.database.connection() as connection:
        with connection.query_logger(lambda record: asked.append(record.query)):
            for name, value in values.items():
                assert await connection.fetchval(f"SELECT $1::{name}[]", value) == value
    assert [query for query in asked if not query.startswith("SELECT $1::")] == []


async def test_who_runs_out_of_time_does_not_wait_for_a_server_that_hangs(settings: Settings) -> None:
    proxy = Proxy(settings.database_url.reveal())
    await proxy.start()
    database = Database(proxy.url, name="test", timeout_s=30.0)

    async def write_slowly() -> None:
        async with database.transaction() as connection:
            await connection.execute("UPDATE stripe_budget SET slow_until = clock_timestamp()")
            proxy.stall()
            await connection.execute("SELECT 1")

    # Half a minute for each of ROLLBACK and the reset of the connection, if anybody waited for them.
    async with asyncio.timeout(10):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(write_slowly(), timeout=0.3)
    await proxy.restore()
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT slow_until = '-infinity' FROM stripe_budget")
    await database.close()
    await proxy.stop()
