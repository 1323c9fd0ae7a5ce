"""Look up what users may use: in-process memory, then Redis, then Postgres.

An entry is *fresh* for `fresh_s` after its bytes left Postgres, wherever it is copied to, and kept for
`stale_s`. While Postgres is away a kept entry is answered as stale; defaults are only ever answered when
Postgres (or a kept entry that came from it) said that a user has no set.

Many users cost as many questions as one: one to Redis, and one statement for those it cannot answer.
"""

import asyncio
import time
from collections.abc import Collection, Coroutine, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from domain import metrics
from domain.cache import CatalogChanged, SetChanged, cache_key
from domain.context import Context
from domain.errors import Unavailable
from domain.flows.defaults import find_defaults
from domain.flows.make_user import erased_names
from domain.flows.memory import UNWATCHED, Memory, Names, is_lower, newest
from domain.model import CachedSet, StoredSet
from domain.rules.answer import Answer, answer_at
from domain.store import entitlements
from domain.store.bounded import TIMEOUT_S, BoundedReads
from domain.store.session import Connection
from domain.telemetry import get_logger

__all__ = ["Answer", "Lookup"]

log = get_logger()

#: Entries of one process, about 3 KB each: half of the 60 MB a reader may take.
KEPT_AT_MOST = 10_000
#: Entries copied to Redis in one go: each script takes it some 20 µs, and readers wait meanwhile.
COPIED_AT_ONCE = 100

#: Found once: the first is counted on the way of every read.
_FROM_MEMORY, _FROM_REDIS, _FROM_POSTGRES, _FROM_OLD = (
    metrics.reads.labels(source, freshness)
    for source, freshness in (("memory", "live"), ("redis", "live"), ("postgres", "live"), ("kept", "stale"))
)


class _Flight(Struct, eq=False):
    """A question under way that everybody who wants the same answer waits for."""

    names: Names
    key: str
    epoch: int
    #: What memory held when it began.
    kept: CachedSet | None
    landed: "asyncio.Future[Answer]"


class Lookup:
    """The answers of one process; one per process."""

    def __init__(
        self, context: Context, *, kept_at_most: int = KEPT_AT_MOST, timeout_s: float = TIMEOUT_S
    ) -> None:
        """`timeout_s`: how long Postgres may take for one question."""
        self._cache = context.cache
        self._settings = context.settings
        self._reads = BoundedReads(context.database, timeout_s=timeout_s)
        self._stale_s = context.settings.stale_s
        self._memory = Memory(fresh_s=context.settings.fresh_s, kept_at_most=kept_at_most)
        self._flights: dict[str, _Flight] = {}
        #: The loop keeps tasks by weak references only.
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_watching(self) -> bool:
        """Whether the subscription is up, so that memory may be fresh."""
        return self._memory.epoch > 0

    def find_ready(self, project: str, app: str, user_id: str) -> Answer | None:
        """The answer, where memory is fresh; None: `find` must ask."""
        answer = self._memory.find_ready((project, app, user_id))
        if answer is not None:
            _FROM_MEMORY.inc()
        return answer

    async def find(self, project: str, app: str, user_id: str) -> Answer:
        """The answer of this moment, stale where nobody can vouch for it.

        A user nobody knows has the defaults of the catalog head, with version 0.

        Raises:
            Unknown: there is no such project, or its catalog has no such app.
            Unavailable: Postgres is away, and nothing at most `stale_s` old is kept.
        """
        return (await self.find_all(project, app, [user_id]))[0]

    async def find_all(self, project: str, app: str, user_ids: Sequence[str]) -> list[Answer]:
        """The answers for these users (each once), in their order; errors as `find`, for any of them."""
        answers = {user_id: self.find_ready(project, app, user_id) for user_id in user_ids}
        missing = [user_id for user_id, answer in answers.items() if answer is None]
        flights = self._ask_together(project, app, missing)
        for flight in flights:
            # One who leaves (a deadline, a closed connection) must not take the answer from the others.
            answers[flight.names[2]] = await asyncio.shield(flight.landed)
        return [answer for answer in answers.values() if answer is not None]

    def can_answer_alone(self) -> bool:
        """Whether memory holds anything that is still young enough to be answered as stale."""
        return self._memory.holds_any_from(time.time() - self._stale_s)

    def begin_watching(self) -> None:
        """The subscription is up: what is read from now on is fresh until it is ended or `fresh_s` old."""
        self._memory.begin_watching()

    def end_watching(self) -> None:
        """The subscription is down: nothing in memory is fresh until it is read again."""
        self._memory.end_watching()

    def end_set(self, change: SetChanged) -> None:
        """Newer answers were stored: ours, and a question under way that may have read older ones."""
        self._flights.pop(change.key, None)
        told = (change.first_version, change.catalog_version, change.read_at)
        self._memory.end_older(change.key, told)

    def end_defaults(self, change: CatalogChanged) -> None:
        """A catalog has a new head: defaults of its earlier ones are over."""
        for key in [key for key, flight in self._flights.items() if flight.names[0] == change.project]:
            del self._flights[key]
        self._memory.end_defaults(change.project)

    async def close(self) -> None:
        """Wait for what is still on its way to Redis or from Postgres."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ask_together(self, project: str, app: str, user_ids: Sequence[str]) -> list[_Flight]:
        """A flight for each user: one that is under way already, or a seat in a new one for all the rest."""
        flights, new = [], []
        for user_id in user_ids:
            key = cache_key(project, user_id, app)
            flight = self._flights.get(key)
            if flight is None:
                flight = self._begin((project, app, user_id), key)
                new.append(flight)
            flights.append(flight)
        if new:
            self._run(self._fly(project, app, new))
        return flights

    def _begin(self, names: Names, key: str) -> _Flight:
        landed: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        flight = _Flight(names, key, self._memory.epoch, self._memory.find(names), landed)
        self._flights[key] = flight
        return flight

    async def _fly(self, project: str, app: str, flights: Sequence[_Flight]) -> None:
        try:
            await self._ask(project, app, flights)
        except BaseException as error:
            for flight in flights:
                self._fail(flight, error)
            if not isinstance(error, Exception):
                raise

    async def _ask(self, project: str, app: str, flights: Sequence[_Flight]) -> None:
        """Land each flight with its entry from the nearest place that can vouch for it."""
        copies = await self._ask_redis(project, flights)
        rest: list[tuple[_Flight, CachedSet | None]] = []
        for flight, copied in zip(flights, copies, strict=True):
            if copied is not None and self._memory.is_fresh(copied) and not is_lower(copied, flight.kept):
                _FROM_REDIS.inc()
                self._land(flight, copied)
            else:
                rest.append((flight, copied))
        if not rest:
            return
        try:
            read = await self._ask_postgres(project, app, [flight for flight, _ in rest])
        except Unavailable as error:
            for flight, copied in rest:
                self._land_stale(flight, copied, error)
            return
        current = [flight for flight, _ in rest if self._land_read(flight, read[flight.names[2]])]
        self._copy_to_redis([(flight.key, read[flight.names[2]]) for flight in current])

    async def _ask_redis(self, project: str, flights: Sequence[_Flight]) -> Sequence[CachedSet | None]:
        nothing = [None] * len(flights)
        if self._cache is None:
            return nothing
        try:
            return await self._cache.find_all(project, [flight.key for flight in flights])
        except Unavailable:
            return nothing

    async def _ask_postgres(self, project: str, app: str, flights: Sequence[_Flight]) -> dict[str, CachedSet]:
        """What Postgres has for these users, by user id: a stored set, or the defaults of the head."""
        user_ids = [flight.names[2] for flight in flights]
        read_at = time.time()

        async def find(connection: Connection) -> dict[str, CachedSet]:
            found = await entitlements.find_sets(connection, project, user_ids, app)
            if len(found) < len(user_ids):
                found |= await self._find_erased(connection, project, app, set(user_ids) - found.keys())
            if len(found) < len(user_ids):
                defaults = await find_defaults(connection, project, app)
                found = {user_id: found.get(user_id, defaults) for user_id in user_ids}
            return {user_id: CachedSet(stored=stored, read_at=read_at) for user_id, stored in found.items()}

        return await self._reads.ask(find)

    async def _find_erased(
        self, connection: Connection, project: str, app: str, user_ids: Collection[str]
    ) -> dict[str, StoredSet]:
        """Who was erased is answered on under the versions it had: a reader may drop a lower one."""
        names = {
            name: user_id for user_id in user_ids for name in erased_names(self._settings, project, user_id)
        }
        found = await entitlements.find_sets(connection, project, list(names), app) if names else {}
        return {names[name]: stored for name, stored in found.items()}

    def _land_stale(self, flight: _Flight, copied: CachedSet | None, error: Unavailable) -> None:
        """Postgres is away: the newest copy that is young enough answers."""
        best = newest((flight.kept, copied))
        if best is None or not self._is_kept(best):
            self._fail(flight, error)
        else:
            self._land_old(flight, best)

    def _land_read(self, flight: _Flight, read: CachedSet) -> bool:
        """Answers whether `read` is what holds, so that Redis may have it."""
        kept = flight.kept
        if kept is not None and is_lower(read, kept) and self._is_kept(kept):
            # A database restored from a backup or a replica that lags: nobody is answered a lower version
            # than before, so the higher one stands until it is too old.
            log.warning(
                "lower_version_read", version=read.stored.first_version, user_key=kept.stored.user_key
            )
            self._land_old(flight, kept)
            return False
        _FROM_POSTGRES.inc()
        self._land(flight, read)
        return True

    def _land(self, flight: _Flight, cached: CachedSet) -> None:
        # A flight that was left read before a change it was told of: its answer was right when it was
        # asked for, and must not answer anybody who asks later.
        is_current = self._flights.get(flight.key) is flight
        epoch = flight.epoch if is_current else UNWATCHED
        answer = answer_at(cached.stored, flight.names[2], datetime.now(UTC))
        self._memory.remember(flight.names, flight.key, cached, answer, epoch=epoch)
        self._end(flight, answer)

    def _land_old(self, flight: _Flight, cached: CachedSet) -> None:
        _FROM_OLD.inc()
        stale_since = datetime.fromtimestamp(cached.read_at, UTC)
        self._end(flight, answer_at(cached.stored, flight.names[2], datetime.now(UTC), stale_since))

    def _end(self, flight: _Flight, answer: Answer) -> None:
        self._leave(flight)
        if not flight.landed.done():
            flight.landed.set_result(answer)

    def _fail(self, flight: _Flight, error: BaseException) -> None:
        self._leave(flight)
        if not flight.landed.done():
            flight.landed.set_exception(error)
            # Everybody who waited may have left; their error must not be printed at exit.
            flight.landed.exception()

    def _leave(self, flight: _Flight) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def _copy_to_redis(self, entries: Sequence[tuple[str, CachedSet]]) -> None:
        if self._cache is not None and entries:
            self._run(self._store(entries))

    async def _store(self, entries: Sequence[tuple[str, CachedSet]]) -> None:
        if self._cache is None:
            return
        try:
            for first in range(0, len(entries), COPIED_AT_ONCE):
                await self._cache.store(entries[first : first + COPIED_AT_ONCE])
        except Unavailable:
            # The cache has said so in the log; the next reader asks Postgres too.
            return

    def _run(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _is_kept(self, cached: CachedSet) -> bool:
        return time.time() - cached.read_at < self._stale_s
