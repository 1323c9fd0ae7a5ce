"""Requests by their route, in metrics and logs; never by their path, which callers choose."""

from collections.abc import Callable

from starlette.types import Scope

from domain import metrics

#: Methods that a metric names; a caller may send any word.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

#: By (method, route, status): finding a metric by its labels takes longer than counting.
_observers: dict[tuple[str, str, int], Callable[[float], None]] = {}


def route_of(scope: Scope) -> str:
    """The path as it is declared, with the names of its parameters; none: there is nothing at that path.

    Never the path as it was sent: whoever asks at the wrong place may write a person's name into it.
    """
    route = scope.get("route")
    return "none" if route is None else str(route.path)


def observe(scope: Scope, status: int, took_s: float) -> None:
    """Count one request; `status` 0: it got no answer."""
    method = scope["method"] if scope["method"] in METHODS else "other"
    key = (method, route_of(scope), status)
    found = _observers.get(key)
    if found is None:
        found = _observers[key] = metrics.requests.labels(method, key[1], str(status)).observe
    found(took_s)
