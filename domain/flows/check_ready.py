"""Whether a process should be sent requests, and if not, what is missing and which command helps."""

import asyncio
from typing import Literal

from msgspec import Struct

from domain.context import Context
from domain.errors import Unavailable
from domain.flows.lookup import Lookup
from domain.settings import Process
from domain.store import revision
from domain.store.bounded import BoundedReads

BEHIND = "behind: run `tollhouse migrate`"


class Readiness(Struct, frozen=True, kw_only=True):
    status: Literal["ready", "not_ready", "draining"]
    #: By part: `ok`, or what is wrong.
    checks: dict[str, str]


class ReadyCheck:
    """One per process: it remembers whether the process was ever warm."""

    def __init__(self, context: Context, process: Process, lookup: Lookup) -> None:
        self._context = context
        self._process = process
        self._lookup = lookup
        self._reads = BoundedReads(context.database)
        self._is_warm = False

    async def check(self) -> Readiness:
        """`read` stays ready while it can answer from anywhere, once it was warm; others need Postgres.

        An outage that does not stop the process is in `checks` only.
        """
        database, cache = await asyncio.gather(self._check_database(), self._check_cache())
        self._is_warm = self._is_warm or database == "ok"
        is_ready = database == "ok"
        if self._process == "read" and database != BEHIND:
            can_answer = database == "ok" or cache == "ok" or self._lookup.can_answer_alone()
            is_ready = self._is_warm and can_answer
        checks = {"database": database, "cache": cache} if self._context.cache else {"database": database}
        return Readiness(status="ready" if is_ready else "not_ready", checks=checks)

    async def _check_database(self) -> str:
        try:
            current = await self._reads.ask(revision.find_revision)
        except Unavailable as error:
            return f"away: {error.detail}"
        return "ok" if revision.is_enough(current) else BEHIND

    async def _check_cache(self) -> str:
        if self._context.cache is None:
            return "none"
        try:
            await self._context.cache.ping()
        except Unavailable as error:
            return f"away: {error.detail}"
        return "ok"
