"""Group commit: deliveries that arrive together are marked by one statement and one commit.

Each caller waits for its own event and gets its own answer; while one batch is being committed the next one
gathers. One at a time, so that a process never waits for its own locks.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

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
    #: The target that may be rung; None: it has none, or a known event's owes nothing any more.
    owed: int | None


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
            # Whoever has given up meanwhile was answered 503: Stripe delivers again, and nothing piles up.
            wanted = [waiting for waiting in self._waiting if not waiting.answer.done()]
            batch, self._waiting = wanted[:MOST], wanted[MOST:]
            if batch:
                await self._commit(batch)
        # No await since the list was found empty: nobody can have come and found this task still there.
        self._flusher = None

    async def _commit(self, batch: Sequence[_Waiting]) -> None:
        try:
            answers = await self._mark(batch)
        except Broken as error:
            await self._commit_singly(batch, error)
        except Exception as error:  # noqa: BLE001 - handed to everybody who waits: it is theirs to raise
            for waiting in batch:
                _refuse(waiting, error)
        else:
            for waiting, stored in zip(batch, answers, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(stored)

    async def _commit_singly(self, batch: Sequence[_Waiting], error: Broken) -> None:
        """One event Postgres refuses must not take the others of its batch with it."""
        if len(batch) == 1:
            _refuse(batch[0], error)
            return
        for waiting in batch:
            await self._commit([waiting])

    async def _mark(self, batch: Sequence[_Waiting]) -> list[Stored]:
        """The answers of a batch, in its order."""
        events = [waiting.event for waiting in batch]
        async with self._database.connection() as connection:
            marked = await inbox.mark(connection, events, [waiting.sha256 for waiting in batch])
            known = [event.event_id for event in events if event.event_id not in marked.event_ids]
            owed = await inbox.find_owed_targets(connection, known) if known else {}
        return list(_answers(events, marked, owed))


def _answers(events: Sequence[NewEvent], marked: Marked, owed: Mapping[str, int]) -> Iterator[Stored]:
    answered: set[str] = set()
    for event in events:
        # The same event twice in one batch is one row: the first of the two is the new one.
        is_new = event.event_id in marked.event_ids and event.event_id not in answered
        answered.add(event.event_id)
        if is_new or event.event_id in marked.event_ids:
            yield Stored(is_new, marked.targets.get(event.target) if event.target is not None else None)
        else:
            yield Stored(is_new, owed.get(event.event_id))


def _refuse(waiting: _Waiting, error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
