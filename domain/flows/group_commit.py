"""Group commit: deliveries that arrive together are marked by one statement and one commit.

Each caller waits for its own event and gets its own answer; while one batch is being committed the next one
gathers. One at a time, so that a process never waits for its own locks.
"""

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from domain.errors import Broken
from domain.model import NewEvent
from domain.store import inbox
from domain.store.inbox import Marked
from domain.store.session import Database

#: Events of one statement: the answer of the first must not wait for hundreds that came after it.
MOST = 100


class Stored(Struct, frozen=True):
    #: False: the inbox knew this event already.
    is_new: bool
    #: What may be rung for a new event; None: it has no target.
    target_id: int | None


class _Waiting(Struct, frozen=True, eq=False):
    event: NewEvent
    sha256: bytes
    answer: "asyncio.Future[Stored]"


class GroupCommit:
    """MARK for one process's deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Waiting] = []
        self._flusher: asyncio.Task[None] | None = None

    async def warm(self) -> None:
        """Have Postgres prepare the statement before the first delivery needs it. Raises Unavailable."""
        await self._mark([])

    async def mark(self, event: NewEvent, sha256: bytes) -> Stored:
        """Store one event; returns once it is durable.

        A caller that gives up leaves its event in its batch: it may be stored, as with any answer that is
        lost on its way.

        Raises:
            Unavailable: Postgres is away.
            Broken: Postgres refuses this event.
        """
        waiting = _Waiting(event, sha256, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        return await waiting.answer

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            await self._commit(batch)
        # No await since the list was found empty: nobody can have come and found this task still there.
        self._flusher = None

    async def _commit(self, batch: Sequence[_Waiting]) -> None:
        try:
            marked = await self._mark(batch)
        except Broken as error:
            await self._commit_singly(batch, error)
        except Exception as error:  # noqa: BLE001 - handed to everybody who waits: it is theirs to raise
            for waiting in batch:
                _refuse(waiting, error)
        else:
            _answer(batch, marked)

    async def _commit_singly(self, batch: Sequence[_Waiting], error: Broken) -> None:
        """One event Postgres refuses must not take the others of its batch with it."""
        if len(batch) == 1:
            _refuse(batch[0], error)
            return
        for waiting in batch:
            await self._commit([waiting])

    async def _mark(self, batch: Sequence[_Waiting]) -> Marked:
        async with self._database.connection() as connection:
            return await inbox.mark(
                connection, [waiting.event for waiting in batch], [waiting.sha256 for waiting in batch]
            )


def _answer(batch: Sequence[_Waiting], marked: Marked) -> None:
    answered: set[str] = set()
    for waiting in batch:
        event = waiting.event
        # The same event twice in one batch is one row: the first of the two is the new one.
        is_new = event.event_id in marked.event_ids and event.event_id not in answered
        answered.add(event.event_id)
        target_id = marked.targets.get(event.target) if event.target is not None else None
        if not waiting.answer.done():
            waiting.answer.set_result(Stored(is_new, target_id if is_new else None))


def _refuse(waiting: _Waiting, error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
