"""How often somebody may: token buckets in the memory of this process, one for each name.

A bucket is one number, the moment at which it is full again, so that taking a token costs a look into a dict.
Each process counts by itself (docs/decisions/0005): with N processes a name gets up to N times as much.
"""

import time
from collections.abc import Callable
from math import ceil

from msgspec import Struct

#: Names that are remembered: far more than a deployment has keys; of an attacker's addresses the latest.
NAMES_AT_MOST = 10_000


class Limit(Struct, frozen=True):
    """`rate_per_s` 0: unlimited. `burst`: how many at once, after a pause that was long enough."""

    rate_per_s: float
    burst: int

    @property
    def window_s(self) -> int:
        """Whole seconds in which an empty bucket fills."""
        return ceil(self.burst / self.rate_per_s) if self.rate_per_s else 0


class Buckets:
    """A bucket for each name, full at first."""

    def __init__(
        self, limit: Limit, *, clock: Callable[[], float] = time.monotonic, at_most: int = NAMES_AT_MOST
    ) -> None:
        self.limit = limit
        self._interval_s = 1 / limit.rate_per_s if limit.rate_per_s else 0.0
        # A microsecond more, or rounding would refuse the last of a burst.
        self._room_s = limit.burst * self._interval_s + 1e-6
        self._clock = clock
        self._at_most = at_most
        self._full_at: dict[str, float] = {}
        self._swept_at = clock()

    def take(self, name: str, tokens: int = 1) -> float:
        """Take tokens. 0: they were there; else the seconds until they are, and nothing is taken.

        More than a burst are never there.
        """
        if not self._interval_s:
            return 0.0
        now = self._clock()
        full_at = self._full_at.get(name, now)
        # Not max(): a call costs more than the rest of this method.
        full_at = (full_at if full_at > now else now) + tokens * self._interval_s  # noqa: FURB136
        if full_at - now > self._room_s:
            return full_at - now - self._room_s
        if len(self._full_at) >= self._at_most and name not in self._full_at:
            self._make_room(now)
        self._full_at[name] = full_at
        return 0.0

    def wait_s(self, name: str) -> float:
        """Seconds until there is a token; 0: there is one. Takes none."""
        if not self._interval_s:
            return 0.0
        missing_s = self._full_at.get(name, 0.0) - self._clock()
        return max(missing_s + self._interval_s - self._room_s, 0.0)

    def remaining(self, name: str) -> tuple[int, int]:
        """(tokens that are there, whole seconds until the bucket is full)."""
        missing_s = max(self._full_at.get(name, 0.0) - self._clock(), 0.0)
        left = int((self._room_s - missing_s) / self._interval_s) if self._interval_s else 0
        return max(left, 0), ceil(missing_s)

    def _make_room(self, now: float) -> None:
        """Forget who is as if new; where nobody is, who came first. A sweep at most once a second."""
        if now - self._swept_at >= 1:
            self._swept_at = now
            self._full_at = {name: full_at for name, full_at in self._full_at.items() if full_at > now}
        while len(self._full_at) >= self._at_most:
            del self._full_at[next(iter(self._full_at))]
