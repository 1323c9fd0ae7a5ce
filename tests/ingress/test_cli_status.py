"""`tollhouse status` as a monitor calls it and an operator reads it."""

import os
import signal
import subprocess
import sys

import msgspec
import pytest

from domain.context import Context
from domain.settings import Settings
from tests.ingress.terminal import answer_in, type_in
from tests.seeds import led, seed_catalog, seed_dead


@pytest.fixture
async def well(context: Context) -> Context:
    """Everything is there: a catalog, a Stripe account, and a scheduler's connection to this database."""
    await seed_catalog(context)
    async with context.database.connection() as connection:
        await connection.execute(
            "INSERT INTO deployment (account_id, mode, env) VALUES ('acct_1', 'test', 'test')"
        )
    return context


async def test_the_exit_code_tells_health(well: Context, settings: Settings) -> None:
    async with led(well), well.database.connection() as scheduler:
        await scheduler.execute("SET application_name = 'tollhouse-scheduler'")
        seen = await answer_in(settings, "status")
        assert seen["status"] == "healthy", seen["parts"]
        assert seen["figures"]["stripe_rate"] == 20.0
        await seed_dead(well)
        said = await type_in(settings, "status")
        assert said.exit_code == 1
        assert said.stdout.startswith("degraded, ")
        assert "2 dead targets" in said.stdout
        assert "tollhouse dead list" in said.stdout
        await scheduler.execute("RESET application_name")
    away = await type_in(
        settings, "status", "--json", TOLLHOUSE_DATABASE_URL="postgresql://nobody@127.0.0.1:1/x"
    )
    assert (away.exit_code, msgspec.json.decode(away.stdout)["status"]) == (2, "down")


async def test_without_a_scheduler_it_says_which_process_to_start(well: Context, settings: Settings) -> None:
    said = await type_in(settings, "status", TOLLHOUSE_REDIS_URL="redis://127.0.0.1:1/0")
    assert said.exit_code == 1
    assert "python -m workers.scheduler" in said.stdout
    assert "the queue did not answer" in said.stdout


def test_watch_says_it_again_until_it_is_told_to_stop(well: Context, settings: Settings) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TOLLHOUSE_")}
    environ["TOLLHOUSE_DATABASE_URL"] = settings.database_url.reveal()
    words = ("-c", "from ingress.cli import main; main()", "status", "--watch", "--every", "0.5", "--json")
    with subprocess.Popen(
        [sys.executable, *words], env=environ, stdout=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        lines = [msgspec.json.decode(watching.stdout.readline()) for _ in range(2)]
        watching.send_signal(signal.SIGINT)
    assert [line["status"] for line in lines] == ["degraded", "degraded"]
    assert lines[0]["at"] < lines[1]["at"]
