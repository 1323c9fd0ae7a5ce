"""Waiting until everything that the simulated Stripe announced is delivered, and read."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deploy.local.processes import ProcessFailed
from deploy.local.seed.shop import expect
from deploy.local.state import Ready
from deploy.local.web import Connection

LOOK_EVERY_S = 0.25
#: A sync that failed is tried again within seconds; without any progress for so long, nobody works.
STUCK_S = 60.0


@dataclass(frozen=True, slots=True)
class Left:
    """What is still to be done."""

    deliveries: int
    #: Whether an event waits for its turn.
    is_pending: bool

    @property
    def is_nothing(self) -> bool:
        return not self.deliveries and not self.is_pending


def wait_until_settled(ready: Ready, on_progress: Callable[[int], None]) -> None:
    """`on_progress` is told how many deliveries are left. Raises ProcessFailed when nothing moves."""
    quiet, best, moved_at = 0, -1, time.monotonic()
    with Connection(ready.stripe_url) as stripe, Connection(ready.base_url) as api:
        while quiet < 2:  # noqa: PLR2004 - the last delivery may have come between the two questions
            left = _look(ready, stripe, api)
            quiet = quiet + 1 if left.is_nothing else 0
            on_progress(left.deliveries)
            if left.is_nothing or left.deliveries != best:
                best, moved_at = left.deliveries, time.monotonic()
            if time.monotonic() - moved_at > STUCK_S:
                raise ProcessFailed(
                    f"{left.deliveries} deliveries or some events still wait, and nothing has moved for "
                    f"{STUCK_S:.0f} s: `tollhouse status` says what holds them up."
                )
            time.sleep(LOOK_EVERY_S)


def count_rows(stripe: Connection) -> dict[str, int]:
    """The rows of the simulated Stripe by kind, all accounts together."""
    state = expect(stripe.request("GET", "/_sim/state"), "GET /_sim/state", 200)
    counts: dict[str, int] = {}
    for kinds in state["accounts"].values():
        for kind, rows in kinds.items():
            counts[kind] = counts.get(kind, 0) + rows
    return counts


def list_dead(ready: Ready) -> list[dict[str, Any]]:
    with Connection(ready.base_url) as api:
        found: list[dict[str, Any]] = _ask(ready, api, "/api/v1/admin/dead?limit=100")["data"]
        return found


def _look(ready: Ready, stripe: Connection, api: Connection) -> Left:
    deliveries = count_rows(stripe).get("delivery", 0)
    pending = _ask(ready, api, "/api/v1/admin/events?state=pending&limit=1")["data"]
    return Left(deliveries, bool(pending))


def _ask(ready: Ready, api: Connection, path: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {ready.operator_key}"}
    return expect(api.request("GET", path, headers=headers), f"GET {path}", 200)
