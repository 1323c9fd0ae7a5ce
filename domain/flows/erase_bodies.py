"""Bodies of deliveries that name a user and are no customer's: types that nobody uses hold e-mails too.

A compressed body can only be looked into, so both are walks: one over all that are kept, when a user is
erased, and one over what comes later, which the scheduler makes.
"""

import json
import re
import time
import zlib
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import Unavailable
from domain.flows.erase_traces import Named
from domain.store import erased
from domain.store.erased import Body, Place
from domain.telemetry import get_logger

log = get_logger()

#: Bodies of one step: some 20 ms.
BATCH = 500
#: The scheduler's walk leaves alone what came within this: it may not be committed yet, and would be passed.
LAG_S = 60.0

_CUSTOMER = re.compile(rb'"(cus_[A-Za-z0-9_-]{1,255})"')


class Search(Struct):
    """Where a search for the bodies of one user stands; it can be taken up again for what came meanwhile."""

    names: re.Pattern[bytes]
    after: Place | None = None
    dropped: int = 0


async def begin_search(context: Context, users: Sequence[Named]) -> Search:
    """Deletes the bodies of the users' customers at once, while their objects are still known."""
    names, dropped = [one.user_id for one in users], 0
    async with context.database.connection() as connection:
        for one in users:
            names += await erased.list_ids(connection, one.project, one.user_key)
            dropped += await erased.drop_bodies(connection, one.project, one.user_key)
    return Search(names=_pattern(names), dropped=dropped)


async def go_on_searching(context: Context, search: Search, *, within_s: float | None) -> None:
    """Delete those of the rest that name the user's id or an object of it.

    Raises:
        Unavailable: it takes longer than `within_s`; what is deleted by then is deleted.
    """
    began = time.monotonic()
    while True:
        if within_s is not None and time.monotonic() - began > within_s:
            raise Unavailable(
                "There are more deliveries to search than a request has time for: run "
                "`tollhouse users erase` in a terminal. Nothing but bodies was deleted."
            )
        async with context.database.connection() as connection:
            bodies = await erased.list_other_bodies(connection, search.after, older_than_s=0.0, limit=BATCH)
            found = [one.event_id for one in bodies if search.names.search(_unpacked(one))]
            await erased.drop_bodies_of(connection, found)
        search.dropped += len(found)
        search.after = _last(bodies) or search.after
        if len(bodies) < BATCH:
            return


class LateBodies:
    """The walk of one process over what came after somebody was erased: again from the oldest erasure on."""

    def __init__(self, context: Context, *, lag_s: float = LAG_S) -> None:
        self._context = context
        self._lag_s = lag_s
        self._after: Place | None = None

    async def work(self) -> int:
        """One step. Answers how many bodies were deleted. Raises: Unavailable."""
        days = self._context.settings.payload_retention_days
        async with self._context.database.connection() as connection:
            if self._after is None:
                self._after = await erased.find_first_place(connection, days=days)
            if self._after is None:
                return 0
            bodies = await erased.list_other_bodies(
                connection, self._after, older_than_s=self._lag_s, limit=BATCH
            )
            named = {one.event_id: _customers(one) for one in bodies}
            gone = await erased.list_erased_customers(connection, sorted(set().union(*named.values())))
            found = [event_id for event_id, customers in named.items() if customers & gone]
            await erased.drop_bodies_of(connection, found)
        self._after = _last(bodies) or self._after
        if found:
            log.info("late_bodies_erased", events=len(found))
        return len(found)


def _pattern(names: Sequence[str]) -> re.Pattern[bytes]:
    """Whole JSON strings: `"u_1"` is not in `"u_17"`. Other scripts may be escaped, or not."""
    words = {msgspec.json.encode(one) for one in names} | {json.dumps(one).encode() for one in names}
    return re.compile(b"|".join(re.escape(word) for word in sorted(words)))


def _customers(body: Body) -> set[str]:
    return {found.decode() for found in _CUSTOMER.findall(_unpacked(body))}


def _unpacked(body: Body) -> bytes:
    try:
        return zlib.decompress(body.payload)
    except zlib.error:
        return b""


def _last(bodies: Sequence[Body]) -> Place | None:
    return (bodies[-1].received_at, bodies[-1].event_id) if bodies else None
