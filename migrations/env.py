"""Runs migrations: on the connection `domain.store.schema` hands over, or on one of its own for `alembic`."""

import asyncio

import asyncpg
from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from domain.settings import load_settings
from domain.store.tables import metadata


def migrate_on(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


async def migrate_with_own_connection() -> None:
    url = load_settings("migrate").database_url.reveal()
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url), poolclass=NullPool
    )
    async with engine.begin() as connection:
        await connection.run_sync(migrate_on)
    await engine.dispose()


given = context.config.attributes.get("connection")
if given is not None:
    migrate_on(given)
else:
    asyncio.run(migrate_with_own_connection())
