"""A catalog is applied, and the process that brings everybody up to it is killed on the way, for real."""

import asyncio
import os
import signal
import sys

import msgspec

from deploy.local.environment import ROOT
from domain.context import Context
from domain.flows.catalog_status import list_catalogs
from domain.flows.lookup import Lookup
from domain.settings import Settings
from tests.conftest import PEPPER, with_settings
from tests.flows.catalog_seeds import apply, recompute_all, seed_subscribers

USERS = 40
MORE_SEATS = ("seats = { value = 5, per_unit = true }", "seats = { value = 7, per_unit = true }")


async def test_catch_up_killed_between_and_after_commits_leaves_nobody_behind(
    context: Context, settings: Settings
) -> None:
    await apply(context)
    keys = await seed_subscribers(context, USERS)
    await recompute_all(context)
    await apply(context, MORE_SEATS)
    behind = USERS
    for point in (f"recompute.committing@{keys[10]}", f"recompute.committed@{keys[25]}"):
        assert await end_of_scheduler(settings, f"{point}=kill:1") == -signal.SIGKILL
        left = (await list_catalogs(context))[0].behind
        assert 0 < left < behind, "some were done, and the killed one's transaction took nobody with it"
        behind = left
    assert await recompute_all(context) == behind
    assert (await list_catalogs(context))[0].behind == 0
    async with context.database.connection() as connection:
        written = await connection.fetch(
            """
            SELECT app, catalog_version, count(*) AS users, count(DISTINCT user_key) AS different
            FROM entitlement_history GROUP BY 1, 2 ORDER BY 1, 2
            """
        )
    # Each user's answer of each catalog stands in the history once, whoever was killed at it.
    assert [tuple(row) for row in written] == [
        (app, version, USERS, USERS)
        for app, versions in (("editor", (1, 2)), ("viewer", (1,)))
        for version in versions
    ]
    # What the second one had not yet put into the cache is read from Postgres once the copy is not fresh.
    lookup = Lookup(msgspec.structs.replace(context, settings=with_settings(settings, fresh_s=0.001)))
    for number in range(1, USERS + 1):
        answer = msgspec.json.decode((await lookup.find("acme", "editor", f"u_{number}")).body)
        assert answer["entitlements"]["seats"]["value"] == 7
    await lookup.close()


async def end_of_scheduler(settings: Settings, fault_points: str) -> int:
    """The exit code of a scheduler that a fault point kills; it reaches neither the queue nor Stripe."""
    nowhere = "127.0.0.1:1"
    assert settings.cache_url is not None
    environ = {
        "PATH": os.environ["PATH"],
        "TOLLHOUSE_ENV": settings.env,
        "TOLLHOUSE_DATABASE_URL": settings.database_url.reveal(),
        "TOLLHOUSE_REDIS_URL": f"redis://{nowhere}/0",
        "TOLLHOUSE_CACHE_URL": settings.cache_url.reveal(),
        "TOLLHOUSE_KEY_PEPPERS": f"1:{PEPPER}",
        "TOLLHOUSE_STRIPE_API_BASE": f"http://{nowhere}",
        "TOLLHOUSE_STRIPE_SECRET_KEY": "sk_test_nowhere",
        "TOLLHOUSE_FAULT_POINTS": fault_points,
    }
    scheduler = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "workers.scheduler"), cwd=ROOT, env=environ, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            return await scheduler.wait()
    finally:
        if scheduler.returncode is None:
            scheduler.kill()
            await scheduler.wait()
