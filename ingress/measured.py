"""Counts requests under their route, never under their path, which callers choose."""

from collections.abc import Callable

from starlette.types import Scope

from domain import metrics

#: Methods that a metric names; a caller may send any word.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

#: By (method, route, status): finding a metric by its labels takes longer than counting.
_observers: dict[tuple[str, str, int], Callable[[float], None]] = {}


def observe(scope: Scope, status: int, took_s: float) -> None:
    """Count one request; `status` 0: it got no answer."""
    route = scope.get("route")
    method = scope["method"] if scope["method"] in METHODS else "other"
    key = (method, route.path if route is not None else "none", status)
    found = _observers.get(key)
    if found is None:
        found = _observers[key] = metrics.requests.labels(method, key[1], str(status)).observe
    found(took_s)
