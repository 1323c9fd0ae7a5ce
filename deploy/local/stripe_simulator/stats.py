"""What happened: API calls and delivery attempts, counted for tests and the demo."""

import time
from collections import Counter, deque
from typing import Any

#: How much is remembered; older entries fall out.
CALLS_KEPT, ATTEMPTS_KEPT, FIRSTS_KEPT = 50_000, 50_000, 50_000


class Stats:
    """Counts since the start or the last reset."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin to count anew."""
        self.calls: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        #: (unix time, `METHOD template`) of the latest calls.
        self.latest: deque[tuple[float, str]] = deque(maxlen=CALLS_KEPT)
        self.deliveries: Counter[str] = Counter()
        #: One entry per delivery attempt, oldest first.
        self.attempts: deque[dict[str, Any]] = deque(maxlen=ATTEMPTS_KEPT)
        #: event id → type and unix time of its first attempt.
        self.first_delivery: dict[str, dict[str, Any]] = {}

    def count_call(self, method: str, template: str, status: int) -> None:
        name = f"{method} {template}"
        self.calls[name] += 1
        self.statuses[status] += 1
        self.latest.append((time.time(), name))

    def count_attempt(self, attempt: dict[str, Any], outcome: str) -> None:
        """`outcome` is ok, failed or dropped; a dropped event was never sent."""
        self.attempts.append(attempt)
        self.deliveries[outcome] += 1
        if outcome == "dropped":
            return
        self.deliveries["attempted"] += 1
        if attempt["event_id"] not in self.first_delivery:
            first = {"type": attempt["type"], "at": attempt["started_at"]}
            self.first_delivery[attempt["event_id"]] = first
            if len(self.first_delivery) > FIRSTS_KEPT:
                del self.first_delivery[next(iter(self.first_delivery))]

    def summary(self) -> dict[str, Any]:
        per_second: dict[str, Counter[str]] = {}
        for moment, name in self.latest:
            per_second.setdefault(name, Counter())[str(int(moment))] += 1
        outcomes = ("attempted", "ok", "failed", "dropped")
        return {
            "calls": dict(self.calls),
            "total_calls": self.calls.total(),
            "statuses": {str(status): number for status, number in self.statuses.items()},
            "per_second": {name: dict(seconds) for name, seconds in per_second.items()},
            "busiest_second": self.busiest_second(),
            "deliveries": {name: self.deliveries[name] for name in outcomes},
            "first_delivery": self.first_delivery,
        }

    def busiest_second(self) -> int:
        """The most calls in any one second, wherever it begins."""
        window: deque[float] = deque()
        most = 0
        for moment, _name in self.latest:
            window.append(moment)
            while moment - window[0] >= 1:
                window.popleft()
            most = max(most, len(window))
        return most
