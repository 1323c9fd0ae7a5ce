"""The answers one process remembers, and which of them are fresh.

Memory is fresh only while the subscription that ends its entries is up: what was read under an earlier
subscription counts as kept, for as long as a stale answer may be given.
"""

import time
from collections import OrderedDict
from collections.abc import Iterable
from datetime import UTC, datetime

from msgspec import Struct

from domain.model import CachedSet
from domain.rules.answer import Answer, answer_at

#: A stamp further in the future comes from a clock that is wrong: such an entry is not fresh.
SKEW_S = 1.0
#: Epoch of an entry that no subscription watches, and of a process whose subscription is down: never equal.
UNWATCHED, DOWN = -1, 0

#: (project, app, user_id)
Names = tuple[str, str, str]


class _Kept(Struct):
    """One entry, with the answer of the segment it was last asked in."""

    cached: CachedSet
    key: str
    #: The subscription it was read under; UNWATCHED: only good as a stale answer.
    epoch: int
    answer: Answer
    #: Unix seconds between which `answer` holds.
    holds_from: float
    holds_until: float


class Memory:
    """At most `kept_at_most` entries; the one not asked for longest goes first."""

    def __init__(self, *, fresh_s: float, kept_at_most: int) -> None:
        self._fresh_s = fresh_s
        self._kept_at_most = kept_at_most
        self._kept: OrderedDict[Names, _Kept] = OrderedDict()
        self._names: dict[str, Names] = {}
        self._subscriptions = 0
        #: The subscription that is up, or DOWN.
        self.epoch = DOWN

    def __len__(self) -> int:
        return len(self._kept)

    def find_ready(self, names: Names) -> Answer | None:
        """The answer of this moment; None: there is no entry, or nobody vouches for it."""
        kept = self._kept.get(names)
        if kept is None or kept.epoch != self.epoch:
            return None
        now = time.time()
        read_at = kept.cached.read_at
        if not read_at - SKEW_S <= now < read_at + self._fresh_s:
            return None
        self._kept.move_to_end(names)
        if not kept.holds_from <= now < kept.holds_until:
            _render(kept, names[2], now)
        return kept.answer

    def find(self, names: Names) -> CachedSet | None:
        """The entry, however old."""
        kept = self._kept.get(names)
        return None if kept is None else kept.cached

    def remember(self, names: Names, key: str, cached: CachedSet, answer: Answer, *, epoch: int) -> None:
        """Keep what was read under the subscription `epoch` (UNWATCHED: nobody says when it is over).

        `answer`: its answer of this moment.
        """
        known = self._kept.get(names)
        if known is not None and newness(known.cached) > newness(cached):
            return
        is_watched = epoch == self.epoch and epoch != DOWN
        self._kept[names] = _Kept(cached, key, epoch if is_watched else UNWATCHED, answer, 0.0, 0.0)
        self._kept.move_to_end(names)
        self._names[key] = names
        if len(self._kept) > self._kept_at_most:
            _, dropped = self._kept.popitem(last=False)
            del self._names[dropped.key]

    def begin_watching(self) -> None:
        """The subscription is up: what is read from now on is fresh until it is ended or too old."""
        self._subscriptions += 1
        self.epoch = self._subscriptions

    def end_watching(self) -> None:
        """The subscription is down: nothing is fresh until it is read again."""
        self.epoch = DOWN

    def end_older(self, key: str, told: tuple[int, int, float]) -> None:
        """Answers with this `newness` were stored: an older entry of `key` is over."""
        names = self._names.get(key)
        if names is not None and newness(self._kept[names].cached) < told:
            self._kept[names].epoch = UNWATCHED

    def end_defaults(self, of_project: str) -> None:
        """A project's catalog has a new head: defaults (version 0) of its earlier ones are over."""
        for (project, _, _), kept in self._kept.items():
            if project == of_project and rank(kept.cached) < (1, 0):
                kept.epoch = UNWATCHED

    def is_fresh(self, cached: CachedSet) -> bool:
        """Whether its bytes left Postgres at most `fresh_s` ago."""
        return -SKEW_S <= time.time() - cached.read_at < self._fresh_s

    def holds_any_from(self, unix_s: float) -> bool:
        return any(kept.cached.read_at > unix_s for kept in self._kept.values())


def rank(cached: CachedSet) -> tuple[int, int]:
    """(version, catalog version): nobody is answered a lower one than before."""
    return cached.stored.first_version, cached.stored.catalog_version


def newness(cached: CachedSet) -> tuple[int, int, float]:
    return *rank(cached), cached.read_at


def is_lower(cached: CachedSet, than: CachedSet | None) -> bool:
    return than is not None and rank(cached) < rank(than)


def newest(entries: Iterable[CachedSet | None]) -> CachedSet | None:
    found = [entry for entry in entries if entry is not None]
    return max(found, key=newness, default=None)


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
