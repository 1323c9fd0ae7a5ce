"""Postgres for those who must answer although it is away: each question has a time, and an outage a price.

A caller that can answer from memory must not wait for a database that hangs, request after request. So
after a failure only one question at a time is sent, every PAUSE_S, until one succeeds; all others are told
at once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from domain.errors import Unavailable
from domain.store.session import Connection, Database
from domain.telemetry import get_logger

Answer = TypeVar("Answer")

log = get_logger()

#: A read is one indexed row: a second is an outage. Well below the deadline of a request, so that a caller
#: still gets its stale answer in time.
TIMEOUT_S = 1.0
#: How often an outage is probed: recovery is noticed within this.
PAUSE_S = 0.5


class BoundedReads:
    """Questions to one database that end within `timeout_s`; one per process, shared by all readers."""

    def __init__(self, database: Database, *, timeout_s: float = TIMEOUT_S, pause_s: float = PAUSE_S) -> None:
        self._database = database
        self._timeout_s = timeout_s
        self._pause_s = pause_s
        self._is_away = False
        self._is_probing = False
        self._probe_at = 0.0
        #: The loop keeps tasks by weak references only.
        self._asked: set[asyncio.Task[Any]] = set()

    async def ask(self, question: Callable[[Connection], Awaitable[Answer]]) -> Answer:
        """The answer of one store function (or several) on a connection without a transaction.

        Raises:
            Unavailable: Postgres is away, too slow, or failed a moment ago.
        """
        if self._is_away and (self._is_probing or time.monotonic() < self._probe_at):
            raise Unavailable("Postgres failed a moment ago and is not asked again yet", code="database_away")
        is_probe = self._is_away
        self._is_probing = is_probe
        try:
            answer = await self._ask_in_time(question)
        except Unavailable as error:
            self._note_failure(error.detail)
            raise
        finally:
            if is_probe:
                self._is_probing = False
        self._note_success()
        return answer

    async def _ask_in_time(self, question: Callable[[Connection], Awaitable[Answer]]) -> Answer:
        # A task of its own, left behind when time is up: giving a connection back to the pool first waits
        # for a server that hangs, and that wait is not the caller's.
        task = asyncio.create_task(self._ask_once(question))
        self._asked.add(task)
        task.add_done_callback(self._forget)
        try:
            await asyncio.wait({task}, timeout=self._timeout_s)
            if task.done():
                return task.result()
        finally:
            task.cancel()
        raise Unavailable(f"Postgres did not answer within {self._timeout_s:g} s", code="database_away")

    async def _ask_once(self, question: Callable[[Connection], Awaitable[Answer]]) -> Answer:
        async with self._database.connection() as connection:
            return await question(connection)

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._asked.discard(task)
        if not task.cancelled():
            # Nobody may be waiting any more; an error that nobody asked for must not be printed at exit.
            task.exception()

    def _note_failure(self, error: str) -> None:
        self._probe_at = time.monotonic() + self._pause_s
        if not self._is_away:
            log.warning("database_away", error=error)
        self._is_away = True

    def _note_success(self) -> None:
        if self._is_away:
            log.info("database_back")
        self._is_away = False
