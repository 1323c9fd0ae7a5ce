"""A process without probes waits for its schema, and says which command brings it."""

import asyncio

import pytest
import structlog

from domain.context import open_context
from domain.flows.migrate import migrate
from domain.flows.wait_for_schema import wait_for_schema
from domain.settings import Secret, Settings
from tests.conftest import with_settings


async def test_a_migrated_database_is_not_waited_for(settings: Settings) -> None:
    async with open_context("cli", settings) as context, asyncio.timeout(2):
        await wait_for_schema(context)


async def test_below_the_needed_revision_it_waits_until_the_migration_has_run(settings: Settings) -> None:
    async with open_context("cli", settings) as context:
        async with context.database.connection() as connection:
            await connection.execute("DROP SCHEMA public CASCADE")
            await connection.execute("CREATE SCHEMA public")
        with structlog.testing.capture_logs() as lines:
            waiting = asyncio.create_task(wait_for_schema(context, pause_s=0.02))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            await migrate(settings)
            async with asyncio.timeout(5):
                await waiting
    said = [line["error"] for line in lines if line["event"] == "waiting_for_schema"]
    assert said
    assert all("tollhouse migrate" in error for error in said)


@pytest.mark.parametrize("url", ["postgresql://nobody@127.0.0.1:1/x"])
async def test_a_database_that_is_away_is_waited_for_too(settings: Settings, url: str) -> None:
    away = with_settings(settings, database_url=Secret(url))
    async with open_context("cli", away) as context:
        waiting = asyncio.create_task(wait_for_schema(context, pause_s=0.02))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])
