"""The revision of the schema: what this build needs, what the database has, and how to get there."""

from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection as SyncConnection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from domain.errors import Unavailable
from domain.store.revision import find_revision, is_enough
from domain.store.session import AWAY, Database

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"

#: Any constant does; this one is used for nothing else in a Tollhouse database.
MIGRATION_LOCK = 7_405_001


def required_revision() -> str:
    """The revision this build was written against: the newest one it ships."""
    head = _scripts().get_current_head()
    if head is None:
        raise RuntimeError(f"{MIGRATIONS} ships no migration")
    return head


async def upgrade(url: str) -> tuple[str | None, str]:
    """Bring the database to the required revision; answers (revision before, revision after).

    An advisory lock makes any number of these at once harmless: one works, the others then find it done.

    Raises:
        Unavailable: Postgres is away.
    """
    database = Database(url, max_size=1, timeout_s=600.0, name="migrate")
    try:
        async with database.connection() as connection:
            await connection.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
            before = await find_revision(connection)
            if not is_enough(before):
                await _run_alembic(url)
            after = await find_revision(connection)
            await connection.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK)
    finally:
        await database.close()
    return before, after or ""


async def _run_alembic(url: str) -> None:
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url), poolclass=NullPool
    )
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade_on)
    except AWAY as error:
        raise Unavailable(f"Postgres did not answer: {type(error).__name__}") from error
    finally:
        await engine.dispose()


def _upgrade_on(connection: SyncConnection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
