"""Look up what a user may use: in-process memory, then Redis, then Postgres.

An entry is *fresh* for `fresh_s` after its bytes left Postgres, wherever it is copied to, and kept for
`stale_s`. While Postgres is away a kept entry is answered as stale; defaults are only ever answered when
Postgres (or a kept entry that came from it) said that a user has no set. Memory is fresh only while the
subscription that ends its entries is up: what was read under an earlier subscription counts as kept.
"""

import asyncio
import time
from collections import OrderedDict
from datetime import UTC, datetime

from msgspec import Struct

from domain.cache import CatalogChanged, SetChanged, cache_key
from domain.context import Context
from domain.errors import Unavailable
from domain.flows.defaults import find_defaults
from domain.model import CachedSet
from domain.rules.answer import Answer, answer_at
from domain.store import entitlements
from domain.store.bounded import BoundedReads
from domain.store.session import Connection
from domain.telemetry import get_logger

__all__ = ["Answer", "Lookup"]

log = get_logger()

#: Entries of one process, about 3 KB each: half of the 60 MB a reader may take.
KEPT_AT_MOST = 10_000
#: A stamp further in the future comes from a clock that is wrong: such an entry is not fresh.
SKEW_S = 1.0

#: (project, app, user_id)
Names = tuple[str, str, str]
#: Epoch of an entry that no subscription watches, and of a process whose subscription is down: never equal.
UNWATCHED, DOWN = -1, 0


class _Kept(Struct):
    """One entry of memory, with the answer of the segment it was last asked in."""

    cached: CachedSet
    key: str
    #: The subscription it was read under; UNWATCHED: only good as a stale answer.
    epoch: int
    answer: Answer
    #: Unix seconds between which `answer` holds.
    holds_from: float
    holds_until: float


class _Flight(Struct):
    """A question under way that everybody who wants the same answer waits for."""

    project: str
    key: str
    epoch: int
    task: "asyncio.Task[tuple[CachedSet, bool]] | None" = None


class Lookup:
    """The answers of one process; one per process."""

    def __init__(self, context: Context, *, kept_at_most: int = KEPT_AT_MOST) -> None:
        self._cache = context.cache
        self._reads = BoundedReads(context.database)
        self._fresh_s = context.settings.fresh_s
        self._stale_s = context.settings.stale_s
        self._kept_at_most = kept_at_most
        self._kept: OrderedDict[Names, _Kept] = OrderedDict()
        self._names: dict[str, Names] = {}
        self._flights: dict[str, _Flight] = {}
        self._stores: set[asyncio.Task[None]] = set()
        self._subscriptions = 0
        self._epoch = DOWN

    def find_ready(self, project: str, app: str, user_id: str) -> Answer | None:
        """The answer, where memory is fresh; None: `find` must ask."""
        kept = self._kept.get((project, app, user_id))
        if kept is None or kept.epoch != self._epoch:
            return None
        now = time.time()
        read_at = kept.cached.read_at
        if not read_at - SKEW_S <= now < read_at + self._fresh_s:
            return None
        self._kept.move_to_end((project, app, user_id))
        if not kept.holds_from <= now < kept.holds_until:
            _render(kept, user_id, now)
        return kept.answer

    async def find(self, project: str, app: str, user_id: str) -> Answer:
        """The answer of this moment, stale where nobody can vouch for it.

        A user nobody knows has the defaults of the catalog head, with version 0.

        Raises:
            Unknown: there is no such project, or its catalog has no such app.
            Unavailable: Postgres is away, and nothing at most `stale_s` old is kept.
        """
        if (ready := self.find_ready(project, app, user_id)) is not None:
            return ready
        cached, is_live = await self._ask_together((project, app, user_id))
        stale_since = None if is_live else datetime.fromtimestamp(cached.read_at, UTC)
        return answer_at(cached.stored, user_id, datetime.now(UTC), stale_since)

    def can_answer_alone(self) -> bool:
        """Whether memory holds anything that is still young enough to be answered as stale."""
        oldest = time.time() - self._stale_s
        return any(kept.cached.read_at > oldest for kept in self._kept.values())

    def begin_watching(self) -> None:
        """The subscription is up: what is read from now on is fresh until it is ended or `fresh_s` old."""
        self._subscriptions += 1
        self._epoch = self._subscriptions

    def end_watching(self) -> None:
        """The subscription is down: nothing in memory is fresh until it is read again."""
        self._epoch = DOWN

    def end_set(self, change: SetChanged) -> None:
        """Newer answers were stored: ours, and a question under way that may have read older ones."""
        self._leave(change.key)
        names = self._names.get(change.key)
        if names is None:
            return
        kept = self._kept[names]
        told = (change.first_version, change.catalog_version, change.read_at)
        if _newness(kept.cached) < told:
            kept.epoch = UNWATCHED

    def end_defaults(self, change: CatalogChanged) -> None:
        """A catalog has a new head: defaults of its earlier ones are over."""
        for key in [key for key, flight in self._flights.items() if flight.project == change.project]:
            self._leave(key)
        for (project, _, _), kept in self._kept.items():
            if project == change.project and _rank(kept.cached) < (1, 0):
                kept.epoch = UNWATCHED

    async def close(self) -> None:
        """Wait for what is still on its way to Redis or from Postgres."""
        flights = [flight.task for flight in self._flights.values() if flight.task is not None]
        await asyncio.gather(*self._stores, *flights, return_exceptions=True)

    async def _ask_together(self, names: Names) -> tuple[CachedSet, bool]:
        project, app, user_id = names
        key = cache_key(project, user_id, app)
        flight = self._flights.get(key)
        if flight is None or flight.task is None:
            flight = _Flight(project, key, self._epoch)
            flight.task = asyncio.create_task(self._ask(names, flight))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda done: self._land(flight, done))
        # One who leaves (a deadline, a closed connection) must not take the answer from the others.
        return await asyncio.shield(flight.task)

    async def _ask(self, names: Names, flight: _Flight) -> tuple[CachedSet, bool]:
        """(entry, whether it is fresh), from the nearest place that can vouch for it."""
        kept = self._kept[names].cached if names in self._kept else None
        copied = await self._ask_redis(flight)
        if copied is not None and self._is_fresh(copied) and not _is_lower(copied, kept):
            self._remember(names, copied, flight)
            return copied, True
        try:
            read = await self._ask_postgres(names)
        except Unavailable:
            best = _newest(kept, copied)
            if best is None or not self._is_kept(best):
                raise
            return best, False
        if kept is not None and _is_lower(read, kept) and self._is_kept(kept):
            # A database restored from a backup or a replica that lags: nobody is answered a lower version
            # than before, so the higher one stands until it is too old.
            log.warning(
                "lower_version_read", version=read.stored.first_version, user_key=kept.stored.user_key
            )
            return kept, False
        self._remember(names, read, flight)
        self._copy_to_redis(flight.key, read)
        return read, True

    async def _ask_redis(self, flight: _Flight) -> CachedSet | None:
        if self._cache is None:
            return None
        try:
            return await self._cache.find(flight.project, flight.key)
        except Unavailable:
            return None

    async def _ask_postgres(self, names: Names) -> CachedSet:
        project, app, user_id = names
        read_at = time.time()

        async def find(connection: Connection) -> CachedSet:
            stored = await entitlements.find_set(connection, project, user_id, app)
            if stored is None:
                stored = await find_defaults(connection, project, app)
            return CachedSet(stored=stored, read_at=read_at)

        return await self._reads.ask(find)

    def _remember(self, names: Names, cached: CachedSet, flight: _Flight) -> None:
        # A flight that was left read before a change it was told of: its answer was right when it was
        # asked for, and must not answer anybody who asks later.
        is_current = self._flights.get(flight.key) is flight
        is_watched = flight.epoch == self._epoch and self._epoch != DOWN
        epoch = flight.epoch if is_current and is_watched else UNWATCHED
        known = self._kept.get(names)
        if known is not None and _newness(known.cached) > _newness(cached):
            return
        answer = answer_at(cached.stored, names[2], datetime.now(UTC))
        kept = _Kept(cached, flight.key, epoch, answer, 0.0, 0.0)
        self._kept[names] = kept
        self._kept.move_to_end(names)
        self._names[flight.key] = names
        if len(self._kept) > self._kept_at_most:
            _, dropped = self._kept.popitem(last=False)
            del self._names[dropped.key]

    def _copy_to_redis(self, key: str, cached: CachedSet) -> None:
        if self._cache is None:
            return
        task = asyncio.create_task(self._store(key, cached))
        self._stores.add(task)
        task.add_done_callback(self._stores.discard)

    async def _store(self, key: str, cached: CachedSet) -> None:
        if self._cache is None:
            return
        try:
            await self._cache.store([(key, cached)])
        except Unavailable:
            # The cache has said so in the log; the next reader asks Postgres too.
            return

    def _leave(self, key: str) -> None:
        self._flights.pop(key, None)

    def _land(self, flight: _Flight, done: "asyncio.Task[tuple[CachedSet, bool]]") -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
        if not done.cancelled():
            # Everybody who waited may have left; their error must not be printed at exit.
            done.exception()

    def _is_fresh(self, cached: CachedSet) -> bool:
        return -SKEW_S <= time.time() - cached.read_at < self._fresh_s

    def _is_kept(self, cached: CachedSet) -> bool:
        return time.time() - cached.read_at < self._stale_s


def _rank(cached: CachedSet) -> tuple[int, int]:
    return cached.stored.first_version, cached.stored.catalog_version


def _newness(cached: CachedSet) -> tuple[int, int, float]:
    return *_rank(cached), cached.read_at


def _is_lower(cached: CachedSet, than: CachedSet | None) -> bool:
    return than is not None and _rank(cached) < _rank(than)


def _newest(*entries: CachedSet | None) -> CachedSet | None:
    found = [entry for entry in entries if entry is not None]
    return max(found, key=_newness, default=None)


def _render(kept: _Kept, user_id: str, now: float) -> None:
    """Make the entry's answer the one of this moment."""
    stored = kept.cached.stored
    kept.answer = answer_at(stored, user_id, datetime.fromtimestamp(now, UTC))
    segment = kept.answer.segment
    # On a test clock the moment is the clock's, which stands still until the set is stored again.
    is_open = stored.clock_at is not None or segment.ends_at is None
    kept.holds_until = float("inf") if is_open or segment.ends_at is None else segment.ends_at.timestamp()
    is_first = stored.clock_at is not None or segment is stored.segments[0]
    kept.holds_from = 0.0 if is_first else segment.begins_at.timestamp()
