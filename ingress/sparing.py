"""Lines of the log about callers that are told to wait: one a second for each, however hasty it is.

A line costs more than the refusal it tells of, and everybody else's requests wait for it.
"""

import time
from collections.abc import Callable

from domain.flows.limit import Buckets, Limit

#: A name's lines.
_LINES = Limit(rate_per_s=1.0, burst=1)


class Sparing:
    """One per process. `names`: keys of ours, so there are few; "" for callers without one."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines = Buckets(_LINES, clock=clock)
        self._unlogged: dict[str, int] = {}

    def find_unlogged(self, name: str) -> int | None:
        """How many lines were left out before this one; None: leave it out, too."""
        if self._lines.take(name) > 0:
            self._unlogged[name] = self._unlogged.get(name, 0) + 1
            return None
        return self._unlogged.pop(name, 0)
