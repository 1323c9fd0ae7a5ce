"""Fill the gaps: events that Stripe made and no delivery brought are taken from Stripe's own list.

The list is compared up to a stored watermark, a day at a time, with an overlap: Stripe promises no moment at
which an event is on its list. Whatever is unknown goes into the inbox as if it had been delivered; what is
known changes nothing, so reading the same events again is harmless.
"""

import time
import zlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import Throttled
from domain.flows.fix_deployment import DeploymentCheck
from domain.flows.read_budget import noting_429, patient_budget
from domain.flows.receive import ZLIB_LEVEL
from domain.model import NewEvent
from domain.rules.events import OLD_NAMES, USED, BodyRefused, Deployment, classify, read_envelope
from domain.store import compared, inbox
from domain.store import watermark as watermarks
from domain.store.watermark import Watermark
from domain.stripe_gateway import PAGE, JsonObject, Reserve
from domain.telemetry import get_logger

log = get_logger()

#: Between two readings of the list, and what one turn of the scheduler gives to it.
EVERY_S, TURN_S = 600.0, 20.0
#: Stripe takes at most so many types per call.
MOST_TYPES = 20
#: Stripe lists events for 30 days; older ones are found by the full pass only.
KEPT = timedelta(days=30)
#: An event may come onto the list later than its own time: so much before the watermark is read again.
OVERLAP = timedelta(minutes=10)
#: What is read before the watermark moves: an hour, and more where little happened, so that a long gap is
#: filled in steps that each count.
SLICE, LONGEST_SLICE = timedelta(hours=1), timedelta(days=1)
#: What Stripe itself says it could not deliver is looked for this far back, in so many pages per group.
UNDELIVERED, MOST_PAGES = timedelta(days=3), 5


class Filled(Struct, frozen=True, kw_only=True):
    #: Calls to Stripe, and the events on its list that were looked at.
    reads: int = 0
    seen: int = 0
    #: Ids of those that nobody had delivered.
    missing: tuple[str, ...] = ()
    #: Targets that may be rung.
    owed: tuple[int, ...] = ()
    #: Read to the end; else the next call goes on where this one stopped.
    is_whole: bool = True


async def fill_gaps(context: Context, *, within_s: float, is_check: bool = False) -> Filled:
    """Compare Stripe's list with the inbox from the watermark on, for about `within_s` seconds.

    `is_check`: stores nothing and leaves the watermark where it is.

    Raises:
        Unavailable: Stripe or Postgres is away; what was found before is stored.
    """
    deployment = await DeploymentCheck(context).ensure()
    async with context.database.connection() as connection:
        watermark = await watermarks.read_watermark(connection)
    filler = _Filler(context, deployment, patient_budget(context, within_s), is_check=is_check)
    try:
        async with noting_429(context):
            await filler.fill(watermark, time.monotonic() + within_s)
    except Throttled:
        filler.is_whole = False
        await filler.note_unfinished()
    filled = filler.filled()
    if filled.missing:
        log.warning("events_missed", events=len(filled.missing), checked=is_check)
    return filled


async def fill_gaps_due(context: Context, *, is_asked: bool = False) -> tuple[int, ...]:
    """A scheduler's turn, every ten minutes by whoever is first; answers the targets that may be rung.

    `is_asked`: an operator wants it now, and whatever TOLLHOUSE_RECONCILE_ENABLED says.
    """
    if not context.settings.reconcile_enabled and not is_asked:
        return ()
    async with context.database.connection() as connection:
        if not await watermarks.take_turn(connection, every_s=0.0 if is_asked else EVERY_S):
            return ()
    return (await fill_gaps(context, within_s=TURN_S)).owed


class _Filler:
    def __init__(self, context: Context, deployment: Deployment, reserve: Reserve, *, is_check: bool) -> None:
        self._context = context
        self._deployment = deployment
        self._reserve = reserve
        self._is_check = is_check
        self._reads = self._seen = 0
        self._missing: dict[str, None] = {}
        self._owed: dict[int, None] = {}
        self.is_whole = True

    def filled(self) -> Filled:
        return Filled(
            reads=self._reads,
            seen=self._seen,
            missing=tuple(self._missing),
            owed=tuple(self._owed),
            is_whole=self.is_whole,
        )

    async def fill(self, watermark: Watermark, until: float) -> None:
        # What is younger may still be delivered, and not every event of that time is on the list yet.
        horizon = watermark.now - timedelta(seconds=self._context.settings.reconcile_settle_s)
        begins_at = max(_begin(watermark), watermark.now - KEPT)
        slice_ = SLICE
        while begins_at < horizon and time.monotonic() < until:
            ends_at, reads = min(begins_at + slice_, horizon), self._reads
            is_last = ends_at == horizon
            await self._take_slice(begins_at - OVERLAP, ends_at)
            if is_last:
                await self._take_undelivered(watermark.now - UNDELIVERED, ends_at)
            await self._advance(ends_at, is_whole=is_last)
            begins_at = ends_at
            if self._reads - reads <= len(groups()):
                slice_ = min(2 * slice_, LONGEST_SLICE)
        self.is_whole = begins_at >= horizon

    async def note_unfinished(self) -> None:
        """The next turn is now, and begins with the hours that was not finished."""
        await self._advance(None, is_whole=False)

    async def _take_slice(self, begins_at: datetime, ends_at: datetime) -> None:
        created = {"gte": int(begins_at.timestamp()), "lte": int(ends_at.timestamp())}
        for types in groups():
            async for page in self._pages(types=types, created=created):
                await self._take(page)

    async def _take_undelivered(self, since: datetime, until: datetime) -> None:
        created = {"gte": int(since.timestamp()), "lte": int(until.timestamp())}
        for types in groups():
            pages = 0
            async for page in self._pages(types=types, created=created, delivery_success=False):
                await self._take(page)
                pages += 1
                if pages >= MOST_PAGES:
                    break

    async def _pages(self, **params: Any) -> AsyncIterator[list[JsonObject]]:
        after: JsonObject = {}
        while True:
            page = await self._context.stripe_or_raise.read(
                "/v1/events", self._reserve, limit=PAGE, **params, **after
            )
            self._reads += 1
            yield page["data"]
            if not page.get("has_more") or not page["data"]:
                return
            after = {"starting_after": page["data"][-1]["id"]}

    async def _take(self, page: Sequence[JsonObject]) -> None:
        events = sorted(
            (event for one in page if (event := self._event(one)) is not None),
            key=lambda event: event.event_id,
        )
        self._seen += len(events)
        if not events:
            return
        ids = [event.event_id for event in events]
        async with self._context.database.connection() as connection:
            if self._is_check:
                known = await compared.list_known_events(connection, ids)
                self._missing |= dict.fromkeys(one for one in ids if one not in known)
                return
            marked = await inbox.mark(connection, events)
        self._missing |= dict.fromkeys(sorted(marked.event_ids))
        self._owed |= dict.fromkeys(marked.target_ids)

    def _event(self, shown: JsonObject) -> NewEvent | None:
        body = msgspec.json.encode(shown)
        try:
            event = classify(read_envelope(body), self._deployment)
        except BodyRefused:
            log.warning("listed_event_unreadable", event_id=str(shown.get("id"))[:255])
            return None
        return msgspec.structs.replace(event, source="poll", payload=zlib.compress(body, ZLIB_LEVEL))

    async def _advance(self, read_until: datetime | None, *, is_whole: bool) -> None:
        if self._is_check:
            return
        async with self._context.database.connection() as connection:
            await watermarks.raise_watermark(connection, read_until, is_whole=is_whole)


def groups() -> list[list[str]]:
    """The types that an endpoint of ours is sent, as many at once as Stripe takes.

    Without older names: beside each of them Stripe makes the newer one, and no endpoint of ours is sent both.
    """
    types = sorted(USED.keys() - OLD_NAMES)
    return [types[at : at + MOST_TYPES] for at in range(0, len(types), MOST_TYPES)]


def _begin(watermark: Watermark) -> datetime:
    """Never asked: from the day on which the deployment was fixed; nobody waited for events before."""
    if watermark.read_until is not None:
        return watermark.read_until
    return watermark.fixed_at if watermark.fixed_at is not None else datetime.min.replace(tzinfo=UTC)
