"""One step of an import: what it works with, and what it has come to."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from msgspec import Struct

from domain.context import Context
from domain.errors import Unavailable
from domain.flows.reconcile.look import Account
from domain.store import imports
from domain.store.imports import ImportCounts, ImportRow
from domain.store.session import Connection

T = TypeVar("T")

#: Transactions of one step at once; a process has ten connections.
TRANSACTIONS = 6


class LeaseLost(Unavailable):
    """Another process goes on with this import: nothing of this step was written."""


def lost(import_id: str) -> LeaseLost:
    return LeaseLost(f"{import_id} is being carried out by another process.")


class Step(Struct, frozen=True, kw_only=True):
    account: Account
    row: ImportRow
    token: str
    actor: str

    @property
    def context(self) -> Context:
        return self.account.context

    async def hold(self, connection: Connection) -> None:
        """Raises LeaseLost: whoever has the import now writes, we do not."""
        if not await imports.is_held(connection, self.row.project, self.row.import_id, self.token):
            raise lost(self.row.import_id)

    async def count_linked(self, connection: Connection, linked: int) -> None:
        """The last statement of a transaction: others that link wait for its row. Raises LeaseLost."""
        row = self.row
        if not await imports.count_linked(connection, row.project, row.import_id, self.token, linked):
            raise lost(row.import_id)


async def all_of(work: Sequence[Awaitable[T]]) -> list[T]:
    """Do it a few at a time, and wait for all: none may go on when its step has failed and is taken again."""
    gate = asyncio.Semaphore(TRANSACTIONS)

    async def one_of(one: Awaitable[T]) -> T:
        async with gate:
            return await one

    ended = await asyncio.gather(*(one_of(one) for one in work), return_exceptions=True)
    for one in ended:
        if isinstance(one, BaseException):
            raise one
    return [one for one in ended if not isinstance(one, BaseException)]


class Taken(Struct, frozen=True, kw_only=True):
    """What one step has done. Its counts are added together with its cursor."""

    #: Where its stage goes on; None: it is at its end.
    cursor: str | None
    counts: ImportCounts
    #: How much of the stage is done, 0 to 1; None: nobody can tell.
    share: float | None = None
    #: Targets that may be rung.
    owed: tuple[int, ...] = ()


def add(one: ImportCounts, other: ImportCounts) -> ImportCounts:
    summed = {
        name: getattr(one, name) + getattr(other, name)
        for name in ImportCounts.__struct_fields__
        if name != "oldest"
    }
    known = [at for at in (one.oldest, other.oldest) if at is not None]
    return ImportCounts(**summed, oldest=min(known, default=None))
