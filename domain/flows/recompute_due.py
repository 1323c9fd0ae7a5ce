"""Recompute whoever is due: an answer changed by itself, or a catalog was applied. In batches, restartable.

Each user is one transaction, and what is due stands in `users` alone: a process that dies half-way leaves
the rest to the next one. Readers keep the stored answer until the new one is committed; nobody waits.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from msgspec import Struct

from domain.context import Context
from domain.errors import Unavailable
from domain.flows.recompute import before_commit, publish, recompute_user
from domain.store import due
from domain.telemetry import get_logger

log = get_logger()

#: Users of each kind per round: some tenths of a second of work, so that a process told to stop soon does.
BATCH = 200
#: Users at once. One waits for Postgres most of the time; more than this only queue for its processors.
AT_ONCE = 4
#: A user that cannot be recomputed waits this long, doubled with every failure in a row.
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 600.0
#: More users than this are not remembered as failing. So many have one cause, and it is alarmed.
MOST_ASIDE = 10_000
#: While others hold the users that are left.
IDLE_S = 0.2


class Aside(Struct, frozen=True):
    failures: int
    #: Of `time.monotonic`.
    until: float


class CaughtUp(Struct, frozen=True, kw_only=True):
    recomputed: int
    #: Users whose recompute failed; the scheduler tries them again.
    failed: int


async def recompute_due(context: Context, *, limit: int = BATCH) -> int:
    """One round for up to `limit` users of each kind, without a memory of earlier failures."""
    return await Backlog(context).work(limit=limit)


class Backlog:
    """Works off who is due; one per process. Remembers whose recompute failed: they wait, the others do not.

    Any number of processes may do this at once: each takes only users that nobody else is at.
    """

    def __init__(
        self, context: Context, *, at_once: int = AT_ONCE, first_pause_s: float = FIRST_PAUSE_S
    ) -> None:
        self._context = context
        self._at_once = at_once
        self._first_pause_s = first_pause_s
        self._aside: dict[int, Aside] = {}

    async def work(self, *, limit: int = BATCH) -> int:
        """One round: passed boundaries first, then the catalog. Answers how many users were recomputed.

        Raises:
            Unavailable: Postgres is away, or was for some of the users; the round went on with the others.
        """
        return await self.work_boundaries(limit=limit) + await self.work_catalog(limit=limit)

    async def work_boundaries(self, *, limit: int = BATCH) -> int:
        """Users whose answer has changed by itself; else as `work`."""
        async with self._context.database.connection() as connection:
            now = await self._context.now(connection)
            users = await due.list_past_boundary(connection, now, limit, self._waiting())
        return await self._work_off(users, now)

    async def work_catalog(self, *, limit: int = BATCH) -> int:
        """Users whose answers are of an older catalog than the head; else as `work`."""
        async with self._context.database.connection() as connection:
            now = await self._context.now(connection)
            users = await due.list_behind(connection, limit, self._waiting())
        return await self._work_off(users, now)

    async def catch_up(self, on_progress: Callable[[int, int], None]) -> CaughtUp:
        """Until nobody is behind the catalog but those who failed. `on_progress(done, total)` per batch.

        `done` counts users that others recomputed meanwhile, too.
        """
        recomputed, total = 0, await self._count_behind()
        while await self._has_more():
            done = await self.work_catalog()
            recomputed += done
            behind = await self._count_behind()
            on_progress(max(total - behind, 0), max(total, behind))
            if not done:
                await asyncio.sleep(IDLE_S)
        return CaughtUp(recomputed=recomputed, failed=await self._count_behind())

    async def _has_more(self) -> bool:
        """Whether anybody is behind who has not failed here."""
        async with self._context.database.connection() as connection:
            return bool(await due.list_behind(connection, 1, self._aside))

    async def _count_behind(self) -> int:
        async with self._context.database.connection() as connection:
            return await due.count_behind(connection)

    def _waiting(self) -> list[int]:
        now = time.monotonic()
        return [user_key for user_key, aside in self._aside.items() if aside.until > now]

    async def _work_off(self, users: Sequence[int], now: datetime) -> int:
        """A few at a time. An error of one ends its worker only: the others go on with who is left."""
        left = iter(users)
        counts = await asyncio.gather(
            *(self._work_one_by_one(left, now) for _ in range(self._at_once)), return_exceptions=True
        )
        for count in counts:
            if isinstance(count, BaseException):
                raise count
        return sum(count for count in counts if isinstance(count, int))

    async def _work_one_by_one(self, left: Iterator[int], now: datetime) -> int:
        return sum([await self._work_one(user_key, now) for user_key in left])

    async def _work_one(self, user_key: int, now: datetime) -> bool:
        try:
            is_done = await _recompute_one(self._context, user_key, now)
        except Unavailable:
            # A user whose own statements take too long looks like an outage, and must not be first forever.
            self._set_aside(user_key)
            raise
        except Exception as error:
            # Whatever is wrong with one user's rows is theirs alone: the next one may be fine.
            self._set_aside(user_key)
            log.critical("recompute_failed", user_key=user_key, error=type(error).__name__, exc_info=error)
            return False
        self._aside.pop(user_key, None)
        return is_done

    def _set_aside(self, user_key: int) -> None:
        known = self._aside.get(user_key)
        if known is None and len(self._aside) >= MOST_ASIDE:
            return
        failures = known.failures + 1 if known is not None else 1
        pause_s = min(self._first_pause_s * 2 ** min(failures - 1, 16), LONGEST_PAUSE_S)
        self._aside[user_key] = Aside(failures, time.monotonic() + pause_s)


async def _recompute_one(context: Context, user_key: int, now: datetime) -> bool:
    """False: somebody else is at this user, or it is due no longer."""
    async with context.database.transaction() as connection:
        cause = await due.lock_due(connection, user_key, now)
        if cause is None:
            return False
        recomputed = await recompute_user(context, connection, user_key, cause=cause)
        await context.faults.reach("recompute.committing", str(user_key))
        read_at = before_commit()
    await context.faults.reach("recompute.committed", str(user_key))
    await publish(context, [recomputed], read_at)
    log.info("recomputed", user_key=user_key, cause=cause, changed=recomputed.changed)
    return True
