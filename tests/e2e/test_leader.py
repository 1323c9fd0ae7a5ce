"""Two schedulers as they are deployed: one is killed over a job that it leads, the other then does it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.local.environment import ROOT
from domain.context import Context
from domain.flows.changes import number_changes
from domain.flows.note_jobs import LEFT
from domain.flows.order_jobs import run_job
from domain.flows.record_action import Operator
from domain.flows.show_jobs import JobRun, ShownJob, list_job_runs, show_scheduler
from domain.settings import Settings
from tests.seeds import seed_catalog, seed_user
from tests.waiting import until

#: Rings and reads nothing here: the queue and Stripe are nowhere.
NOWHERE = "127.0.0.1:1"
#: A turn is shown under way after a second.
QUICK = {"sweep_interval_s": "0.2"}


@asynccontextmanager
async def running_scheduler(
    settings: Settings, log: Path, **changes: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A scheduler's process, ready. `changes` are further settings, by name."""
    named = {
        "env": settings.env,
        "database_url": settings.database_url.reveal(),
        "redis_url": f"redis://{NOWHERE}/0",
        "cache_url": settings.cache_url.reveal(),
        "stripe_api_base": f"http://{NOWHERE}",
        "stripe_secret_key": "sk_test_nowhere",
        "metrics_bind": "off",
        **changes,
    }
    environ = {"PATH": os.environ["PATH"]} | {f"TOLLHOUSE_{key.upper()}": text for key, text in named.items()}
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "workers.scheduler"), cwd=ROOT, env=environ, stdout=out, stderr=out
        )
    try:
        await until(lambda: process.returncode is not None or has_logged(log, "scheduler_ready"), within_s=60)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def has_logged(log: Path, event: str) -> bool:
    return event.encode() in log.read_bytes()


async def until_led_by(context: Context, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60):
        while True:
            leader = (await show_scheduler(context)).leader
            if leader is not None and leader.name.endswith(f":{process.pid}"):
                return
            await asyncio.sleep(0.02)


async def test_a_leader_killed_in_the_middle_of_a_job_leaves_it_to_another_within_seconds(
    settings: Settings, context: Context, tmp_path: Path
) -> None:
    await seed_catalog(context)
    user_key = await seed_user(context)
    await settle(context)
    async with (
        running_scheduler(
            settings, tmp_path / "1", fault_points="changes.pruned=stall:600:1", **QUICK
        ) as first,
        running_scheduler(settings, tmp_path / "2", **QUICK) as second,
    ):
        await until_led_by(context, first)
        await add_old_changes(context, user_key)
        await run_job(context, "prune_changes", Operator(actor="anna"))
        under_way = await until_under_way(context, "prune_changes")
        first.kill()
        assert await first.wait() == -signal.SIGKILL
        await until_led_by(context, second)
        # Nothing of the half was kept, and the wish outlived who died over it.
        async with asyncio.timeout(60):
            while (await shown_job(context, "prune_changes")).asked_at:  # noqa: ASYNC110 - a state
                await asyncio.sleep(0.02)
        assert await count_changes(context) == 0
        run, left = (await list_job_runs(context, "prune_changes")).data
        assert left.run_id == under_way.run_id
        assert left.ran_by.endswith(f":{first.pid}")
        assert (left.done, left.error, left.asked_by, left.ended_by) == (0, LEFT, "anna", run.ran_by)
        assert (run.done, run.error, run.asked_by) == (1500, None, "anna")
        assert run.ran_by.endswith(f":{second.pid}")
        assert [one.job for one in (await show_scheduler(context)).data if one.last is None] == []
        second.send_signal(signal.SIGTERM)
        async with asyncio.timeout(25):
            assert await second.wait() == 0
        assert (await show_scheduler(context)).leader is None


async def until_under_way(context: Context, job: str) -> JobRun:
    async with asyncio.timeout(60):
        while True:
            for run in (await list_job_runs(context, job)).data:
                assert (run.ended_at, run.asked_by) == (None, "anna")
                return run
            await asyncio.sleep(0.02)


async def shown_job(context: Context, name: str) -> ShownJob:
    return next(one for one in (await show_scheduler(context)).data if one.job == name)


async def settle(context: Context) -> None:
    """Nobody is due, so that no change is added that is young."""
    async with context.database.connection() as connection:
        await connection.execute("UPDATE users SET catalog_version = 1")


async def add_old_changes(context: Context, user_key: int) -> None:
    """One and a half batches, with their positions."""
    async with context.database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO entitlement_changes (project, app, user_key, version, cause, changed, recorded_at)
            SELECT 'acme', 'editor', $1, n, 'test', '{}', clock_timestamp() - interval '31 days'
            FROM generate_series(1, 1500) n
            """,
            user_key,
        )
    await number_changes(context)


async def count_changes(context: Context) -> int:
    async with context.database.connection() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM entitlement_changes"))
