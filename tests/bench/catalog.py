"""How long `catalog plan` and the recompute after an apply take per user, on embedded servers.

Run: python -m tests.bench.catalog [users]
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from deploy.local.postgres import running_postgres
from deploy.local.valkey import running_valkey
from domain.context import Context, open_context
from domain.flows.plan_catalog import plan_catalog
from domain.flows.publish_catalog import read_catalog
from domain.flows.recompute_due import Backlog
from domain.settings import Secret, Settings
from domain.store import schema
from tests.flows.catalog_seeds import CATALOG_TOML, apply, seed_subscribers

USERS = 2_000
#: The new values of the rounds: each one changes every user.
ROUNDS = (6, 7, 8)
AT_ONCE = (1, 4, 8)


async def measure(count: int) -> None:
    async with deployment() as context:
        await apply(context)
        await seed_subscribers(context, count)
        await timed("first recompute, 4 at once", count, lambda: catch_up(context, 4))
        for value in ROUNDS:
            given = read_catalog(CATALOG_TOML.replace("value = 5", f"value = {value}"), file="bench")
            await timed("plan", count, lambda given=given: plan(context, given))  # type: ignore[misc]  # bound now
        for at_once, value in zip(
            AT_ONCE * len(ROUNDS), range(10, 10 + len(AT_ONCE) * len(ROUNDS)), strict=True
        ):
            await apply(context, ("value = 5", f"value = {value}"))
            await timed(
                f"recompute, {at_once} at once",
                count,
                lambda at_once=at_once: catch_up(context, at_once),  # type: ignore[misc]  # bound now
            )


async def plan(context: Context, given: dict[str, object]) -> None:
    planned = await plan_catalog(context, given, list_at_most=0, on_progress=lambda *_: None)  # type: ignore[arg-type]  # a catalog per project
    assert planned.projects[0].total.more == planned.projects[0].users


async def catch_up(context: Context, at_once: int) -> None:
    await Backlog(context, at_once=at_once).catch_up(lambda *_: None)


async def timed(what: str, count: int, work: Callable[[], Awaitable[None]]) -> None:
    begun = time.perf_counter()
    await work()
    spent_s = time.perf_counter() - begun
    print(f"{what}: {spent_s:.2f} s, {spent_s / count * 1e6:.0f} µs/user, {count / spent_s:.0f} users/s")  # noqa: T201  a script


@asynccontextmanager
async def deployment() -> AsyncIterator[Context]:
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        with running_postgres(base / "postgres") as postgres, running_valkey(base / "valkey") as valkey:
            await schema.upgrade(postgres.url)
            settings = Settings(
                env="bench",
                database_url=Secret(postgres.url),
                cache_url=Secret(valkey.url),
                stripe_secret_key=Secret("sk_test_unused"),
            )
            async with open_context("scheduler", settings) as context:
                yield context


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else USERS))


if __name__ == "__main__":
    main()
