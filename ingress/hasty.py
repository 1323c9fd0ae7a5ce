"""Keys that ask on although they were told to wait: refused before anything else is looked at.

A refusal must cost much less than an answer, or a hasty caller takes from the others what its limit keeps
from it. So who was refused a read at some path is refused the next one there at the outermost layer: no
exception, no deadline, no bound log, ready bytes. Whose key it is and whether it must wait is still asked of
those who know, each time; what the caller gets is to the byte what the routes would have answered.
"""

import asyncio
import time
from contextlib import suppress
from math import ceil
from typing import Any

from starlette.types import Scope

from domain.errors import Rejected
from domain.flows.authenticate import KeyRing
from ingress.border import Border
from ingress.limits import KeyLimits
from ingress.problems import ReadyProblem, make_ready
from ingress.wire import find_key

#: Others have a body, which would have to be read.
_METHODS = frozenset({"GET", "HEAD"})
#: Paths of one key that are remembered: a caller may invent any number.
PATHS_AT_MOST = 100
#: Seconds for which such a refusal is held, so that who asks again at once gets fewer of them, and how many
#: are held at a time; the others are sent at once.
HOLD_S, HELD_AT_MOST = 0.02, 1000
#: Seconds after the last refusal for which requests are looked at here first.
WATCHED_S = 2.0


class Hasty:
    """One per process."""

    def __init__(self, keys: KeyRing, limits: KeyLimits, border: Border) -> None:
        self._keys = keys
        self._limits = limits
        self._border = border
        #: By key id, of those that were refused a read: the routes of the paths they asked for.
        self._routes: dict[str, dict[str, Any]] = {}
        self._watched_until = 0.0
        self._held = 0
        #: By whole seconds to wait.
        self._ready: dict[int, ReadyProblem] = {}

    def note(self, scope: Scope, key_id: str) -> None:
        """A request of this key was refused: the next ones are worth a look."""
        if scope["method"] not in _METHODS:
            return
        routes = self._routes.setdefault(key_id, {})
        if len(routes) >= PATHS_AT_MOST:
            routes.clear()
        routes[scope["path"]] = scope["route"]
        self._watched_until = time.monotonic() + WATCHED_S

    def find_refusal(self, scope: Scope) -> ReadyProblem | None:
        """What the request is refused with, and then the access log names the key; None: let it in."""
        if not self._routes or scope["method"] not in _METHODS:
            return None
        if (now := time.monotonic()) > self._watched_until:
            self._routes.clear()
            return None
        key_id, wait_s = self._find_waiting(scope)
        if wait_s <= 0 or not self._is_admitted(scope):
            return None
        self._watched_until = now + WATCHED_S
        scope["tollhouse.key_id"] = key_id
        scope["route"] = self._routes[key_id][scope["path"]]
        return self._problem(ceil(wait_s))

    async def hold(self) -> None:
        """Let a refusal wait: the others' answers go first."""
        if self._held >= HELD_AT_MOST:
            return
        self._held += 1
        try:
            await asyncio.sleep(HOLD_S)
        finally:
            self._held -= 1

    def _find_waiting(self, scope: Scope) -> tuple[str, float]:
        """Whose request it is, and for how many seconds its key must wait; 0: it need not."""
        with suppress(Rejected):
            principal = self._keys.find_fresh(find_key(scope["headers"]))
            if principal is not None and scope["path"] in self._routes.get(principal.key_id, ()):
                return principal.key_id, self._limits.reads_wait_s(principal.key_id)
        return "", 0.0

    def _is_admitted(self, scope: Scope) -> bool:
        if self._border.is_watched:
            try:
                self._border.admit(scope)
            except Rejected:
                return False
        return True

    def _problem(self, wait_s: int) -> ReadyProblem:
        ready = self._ready.get(wait_s)
        if ready is None:
            ready = self._ready[wait_s] = make_ready(self._limits.refusal_of_read(wait_s))
        return ready
