"""Failures that a test asks for, by path: statuses, latency, calls that never answer, answers cut short."""

import random
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from deploy.local.stripe_simulator.errors import StripeError

#: Stripe's error object for a status that a test injects.
TYPICAL: dict[int, dict[str, str]] = {
    401: {"type": "invalid_request_error", "message": "Invalid API Key provided."},
    402: {"type": "card_error", "code": "card_declined", "message": "Your card was declined."},
    403: {
        "type": "invalid_request_error",
        "message": "The provided key does not have the required permissions.",
    },
    429: {"type": "invalid_request_error", "code": "rate_limit", "message": "Request rate limit exceeded."},
}
SERVER_ERROR = {"type": "api_error", "message": "An unknown error occurred (injected)."}
CLIENT_ERROR = {"type": "invalid_request_error", "message": "The request was refused (injected)."}


@dataclass(slots=True)
class Fault:
    """One rule: the next `times` calls that match are delayed, fail, or hang."""

    path_pattern: str
    #: None: every method.
    method: str | None = None
    #: None: the call succeeds after its latency.
    status: int | None = None
    #: Calls it still applies to; None: until it is cleared.
    times: int | None = 1
    latency_s: float = 0.0
    #: The whole JSON answer; None: Stripe's typical error for the status.
    body: dict[str, Any] | None = None
    #: Never answer; the client's own timeout ends the call.
    stall: bool = False
    #: The call takes effect, and the connection ends in the middle of its answer.
    cut: bool = False
    #: `before`: the call has no effect. `after`: it takes effect, but its answer is lost.
    when: str = "before"
    #: An Idempotency-Key replays the failure from then on, as Stripe does with a 5xx of a call that began.
    saved: bool = False
    #: Which part of the calls that match it applies to, at random.
    share: float = 1.0

    def matches(self, method: str, path: str) -> bool:
        return self.method in {None, method} and fnmatchcase(path, self.path_pattern)


class InjectedFailure(StripeError):
    """A failure that a test asked for; an Idempotency-Key replays it only where the test says so."""

    def __init__(self, fault: Fault) -> None:
        status = fault.status or 500
        typical = TYPICAL.get(status, SERVER_ERROR if status >= 500 else CLIENT_ERROR)  # noqa: PLR2004 (HTTP)
        super().__init__(typical["message"], status=status, is_saved=fault.saved)
        self.error = {**typical}
        self._body = fault.body

    def envelope(self, request_id: str) -> dict[str, Any]:
        return self._body if self._body is not None else super().envelope(request_id)


class Faults:
    """The rules, in the order they were asked for; the first that matches applies."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []

    def take(self, method: str, path: str) -> Fault | None:
        """The rule for this call, if any; uses one of its times."""
        for rule in self.rules:
            if rule.matches(method, path) and random.random() < rule.share:  # noqa: S311 (a test's dice)
                if rule.times is not None:
                    rule.times -= 1
                    if rule.times <= 0:
                        self.rules.remove(rule)
                return rule
        return None
