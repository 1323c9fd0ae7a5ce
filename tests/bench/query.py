"""Median milliseconds of a batch of 500 users, by where their answers are; and what the change feed costs.

Run: python -m tests.bench.query
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median, quantiles
from typing import Any

import msgspec
import structlog
from starlette.types import Message

from domain.context import Context
from domain.flows.changes import BATCH, NOW, number_changes, read_changes
from domain.flows.follow_changes import follow_changes
from domain.flows.lookup import Lookup
from domain.flows.manage_keys import create_key
from domain.flows.query import query
from domain.settings import Secret
from domain.store import changes
from ingress import read
from ingress.lifespan import Running
from ingress.query import PATH
from tests.bench.catalog import catch_up, deployment
from tests.bench.compute import CATALOG_TOML
from tests.flows.catalog_seeds import apply, seed_subscribers

USERS, ROUNDS = 500, 200
GOAL_MS = 5.0


async def measure(context: Context) -> None:
    await apply(context, text=CATALOG_TOML)
    await seed_subscribers(context, USERS, "one")
    await catch_up(context, 4)
    async with context.database.connection() as connection:
        rows = await connection.fetch("SELECT user_id, project FROM users ORDER BY user_key")
        app = await connection.fetchval("SELECT app FROM apps WHERE project = $1", rows[0]["project"])
    await measure_query(context, rows[0]["project"], app, [row["user_id"] for row in rows])
    await measure_feed(context, rows[0]["project"], app)


async def measure_query(context: Context, project: str, app: str, user_ids: Sequence[str]) -> None:
    answers = await query(Lookup(context), project, app, user_ids, None)
    features = list(msgspec.json.decode(answers[0])["entitlements"])
    print(f"{len(user_ids)} users, {len(features)} features, {len(answers[0])} bytes per answer")  # noqa: T201  a script
    running = Running(context, "read")
    following = asyncio.create_task(follow_changes(context, running.lookup, running.keys))
    while not running.lookup.is_watching:  # noqa: ASYNC110  a script
        await asyncio.sleep(0.01)
    created = await create_key(context, kind="app", project=project, app=app, name="bench")
    for chosen in (None, features[:2]):
        named = "whole sets" if chosen is None else f"{len(chosen)} features"
        body = msgspec.json.encode({"user_ids": user_ids, **({"features": chosen} if chosen else {})})
        await _ask_door(running, created.key, body)
        await timed(f"door, memory, {named}", lambda body=body: _ask_door(running, created.key, body))  # type: ignore[misc]  # bound now

    async def ask(place: Context) -> None:
        lookup = Lookup(place)
        await query(lookup, project, app, user_ids, features[:2])
        await lookup.close()

    await timed("flow, Redis, 2 features", lambda: ask(context))
    bare = msgspec.structs.replace(context, cache=None)
    await timed("flow, Postgres, 2 features", lambda: ask(bare))
    following.cancel()
    await asyncio.wait([following])


async def measure_feed(context: Context, project: str, app: str) -> None:
    async with context.database.transaction() as connection:
        await connection.execute(
            """
            INSERT INTO entitlement_changes (project, app, user_key, version, cause, changed)
            SELECT project, $1, user_key, 1000 + n, 'bench', '{export}'
            FROM users, generate_series(1, 40) n WHERE project = $2
            """,
            app,
            project,
        )
    begun = time.perf_counter()
    numbered = await number_changes(context)
    spent_s = time.perf_counter() - begun
    print(f"feed: {numbered} rows numbered in batches of {BATCH}, {numbered / spent_s:.0f} rows/s")  # noqa: T201  a script
    page = await read_changes(context, project, app, NOW, 100)
    await timed("feed: a read of nothing", lambda: read_changes(context, project, app, page.next_cursor, 100))
    await timed("feed: a page of 100", lambda: read_changes(context, project, app, "start", 100))
    async with context.database.connection() as connection:
        await timed("feed: of it, is anything to number", lambda: changes.has_unnumbered(connection))


async def _ask_door(running: Running, key: str, body: bytes) -> None:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer " + key.encode()), (b"content-type", b"application/json")],
        "state": {"running": running},
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await read.app(scope, receive, send)
    assert sent[0]["status"] == 200, sent


async def timed(what: str, work: Callable[[], Awaitable[object]]) -> None:
    """Both times: what a caller waits, and what this process computes, whoever else is on the machine."""
    spent, computed = [], []
    for _ in range(ROUNDS):
        begun, began = time.perf_counter(), time.process_time()
        await work()
        spent.append((time.perf_counter() - begun) * 1000)
        computed.append((time.process_time() - began) * 1000)
    goal = f" (goal {GOAL_MS:g})" if what.startswith("door") else ""
    p95 = quantiles(spent, n=20)[-1]
    print(f"{what}: p50 {median(spent):.2f} ms{goal}, p95 {p95:.2f} ms; processor {median(computed):.2f} ms")  # noqa: T201  a script


async def main() -> None:
    gc.collect()
    gc.freeze()  # as doors do after their start
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    async with deployment() as context:
        peppered = msgspec.structs.replace(
            context.settings, key_peppers=((1, Secret("ab" * 32)),), read_rate=0.0
        )
        await measure(msgspec.structs.replace(context, settings=peppered))


if __name__ == "__main__":
    asyncio.run(main())
