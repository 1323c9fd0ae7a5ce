"""What a refusal of a hasty key costs, beside an answer from memory and a bare app; A-32 of reliability.md.

Microseconds of the process's own CPU for one request, in turns in one process, without a socket: the
server's own part, the same for each, is not in them.

Run: python -m tests.bench.refusal
"""

import asyncio
import gc
import os
import time
from collections import Counter
from contextlib import redirect_stderr
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.context import Context
from domain.flows.follow_changes import follow_changes
from domain.flows.manage_keys import create_key
from domain.settings import Secret
from domain.telemetry import configure_logging
from ingress import read
from ingress.lifespan import Running
from tests.bench.catalog import deployment
from tests.seeds import seed_catalog, seed_set

PEPPER = "ab" * 32
REQUESTS, ROUNDS = 2000, 15


async def bare(_scope: Scope, _receive: Receive, send: Send) -> None:
    """What no app can be cheaper than."""
    await send({"type": "http.response.start", "status": 429, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


class Caller:
    """Asks an app as uvicorn would, and counts what it answered."""

    def __init__(self, app: ASGIApp, running: Running, key: str) -> None:
        self._app = app
        self._state = {"running": running}
        self._headers = [(b"host", b"x"), (b"authorization", b"Bearer " + key.encode())]
        self.statuses: Counter[int] = Counter()

    async def ask(self) -> None:
        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": read.PATH,
            "query_string": b"user_id=u_17",
            "headers": self._headers,
            "client": ("198.51.100.7", 1),
            "state": self._state,
        }
        await self._app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.statuses[message["status"]] += 1


async def measure(context: Context) -> None:
    running = Running(context, "read")
    following = asyncio.create_task(follow_changes(context, running.lookup, running.keys))
    while not running.lookup.is_watching:  # noqa: ASYNC110  a script
        await asyncio.sleep(0.01)
    free = Running(msgspec.structs.replace(context, settings=_limited(context, 0.0)), "read")
    free.lookup, free.keys = running.lookup, running.keys
    key = (await create_key(context, kind="app", project="acme", app="editor", name="bench")).key
    callers = {
        "bare app": Caller(bare, free, key),
        "answer": Caller(read.app, free, key),
        "refusal": Caller(read.app, running, key),
    }
    spent_us: dict[str, list[float]] = {name: [] for name in callers}
    gc.freeze()
    for _ in range(ROUNDS):
        for name, caller in callers.items():
            began = time.process_time()
            for _ in range(REQUESTS):
                await caller.ask()
            spent_us[name].append((time.process_time() - began) / REQUESTS * 1e6)
    middle = {name: median(spent) for name, spent in spent_us.items()}
    for name, spent in spent_us.items():
        said = f"{middle[name]:6.1f} µs ({min(spent):.1f} … {max(spent):.1f})"
        ratio = middle[name] / middle["answer"]
        print(f"{name:9} {said}, {ratio:.2f} of an answer; {dict(callers[name].statuses)}")  # noqa: T201  a script
    following.cancel()
    await asyncio.wait([following])
    await running.lookup.close()


def _limited(context: Context, rate: float) -> Any:
    return msgspec.structs.replace(context.settings, read_rate=rate)


async def main() -> None:
    async with deployment() as opened:
        settings = msgspec.structs.replace(
            opened.settings, key_peppers=((1, Secret(PEPPER)),), read_rate=50.0
        )
        context = msgspec.structs.replace(opened, settings=settings)
        # Lines of the log are written in full, and go nowhere.
        configure_logging(settings, "read")
        await seed_catalog(context)
        await seed_set(context)
        await measure(context)


if __name__ == "__main__":
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        asyncio.run(main())
