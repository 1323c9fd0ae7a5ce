"""Objects that we mirror and Stripe does not show: one is a drift, many at once are a wrong key.

A worker whose key belongs to another account would be told 404 about everything; what it holds must not be
written over, nor events be settled, by that.
"""

import time
from collections import deque

from domain.errors import Unavailable

#: More than this in a minute are no accident: objects of ours do not disappear from Stripe one after another.
MOST = 3
WITHIN_S = 60.0


class Vanishing:
    """Counts what vanished in this process lately."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, str]] = deque()

    def note(self, object_id: str) -> None:
        """Raises: Unavailable, with an alarm, where too many different objects have vanished lately."""
        now = time.monotonic()
        while self._seen and self._seen[0][0] < now - WITHIN_S:
            self._seen.popleft()
        self._seen.append((now, object_id))
        if len({seen for _, seen in self._seen}) > MOST:
            raise Unavailable(
                f"Stripe shows none of {MOST + 1} objects we mirror: nothing is written until that ends. "
                "Check that TOLLHOUSE_STRIPE_SECRET_KEY is this account's.",
                code="objects_vanish",
                alarm=True,
            )
