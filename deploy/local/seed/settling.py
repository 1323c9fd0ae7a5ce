"""Waiting until everything that the simulated Stripe announced is delivered, and worked off."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from deploy.local.commands import begin
from deploy.local.environment import without_ours
from deploy.local.processes import ProcessFailed
from deploy.local.seed.shop import expect
from deploy.local.state import Ready
from deploy.local.web import Connection

#: Each look is a process that starts, which whoever works could use: a second more for so many that wait.
LOOK_EVERY_S, A_SECOND_FOR, SELDOM_S = 0.5, 300, 10.0
#: A sync that failed is tried again within seconds; without any progress for so long, nobody works.
STUCK_S = 60.0
#: So `tollhouse status` ends when Postgres is away, or its schema too old; 1: something is late.
DOWN = 2


@dataclass(frozen=True, slots=True)
class Left:
    """What is still to be done, and what will not be."""

    #: Deliveries that the webhook has not acknowledged.
    deliveries: int
    #: Events that nobody has worked off, and targets that are owed a sync.
    events: int
    targets: int
    #: Targets and events that have given up.
    given_up: int

    @property
    def total(self) -> int:
        return self.deliveries + self.events + self.targets


def wait_until_settled(ready: Ready, on_progress: Callable[[int], None]) -> Left:
    """`on_progress` is told how much is left. Raises ProcessFailed when nothing moves."""
    last, moved_at = -1, time.monotonic()
    while True:
        left = look(ready)
        on_progress(left.total)
        if left.total == 0:
            return left
        if left.total != last:
            last, moved_at = left.total, time.monotonic()
        if time.monotonic() - moved_at > STUCK_S:
            raise ProcessFailed(stuck(left))
        time.sleep(min(SELDOM_S, LOOK_EVERY_S + left.total / A_SECOND_FOR))


def stuck(left: Left) -> str:
    """What to do about it: where deliveries alone wait, nothing of the service holds them up."""
    todo = "`tollhouse status` says what holds them up."
    if left.events == left.targets == 0:
        todo = (
            "a webhook endpoint of the simulated Stripe does not take them. `tollhouse catalog plan` names "
            "those that lead elsewhere where TOLLHOUSE_WEBHOOK_URL is set. The users are there."
        )
    return (
        f"{left.deliveries} deliveries, {left.events} events and {left.targets} targets wait, and nothing "
        f"has moved for {STUCK_S:.0f} s: {todo}"
    )


def look(ready: Ready) -> Left:
    """Deliveries first: what arrives between the two questions is an event by the second."""
    with Connection(ready.stripe_url) as stripe:
        deliveries = count_rows(stripe).get("delivery", 0)
    figures = _read_figures(ready)
    return Left(
        deliveries=deliveries,
        events=figures["pending_events"],
        targets=figures["owed_targets"],
        given_up=figures["dead_targets"] + figures["failed_events"],
    )


def count_rows(stripe: Connection) -> dict[str, int]:
    """The rows of the simulated Stripe by kind, all accounts together."""
    state = expect(stripe.request("GET", "/_sim/state"), "GET /_sim/state", 200)
    counts: dict[str, int] = {}
    for kinds in state["accounts"].values():
        for kind, rows in kinds.items():
            counts[kind] = counts.get(kind, 0) + rows
    return counts


def _read_figures(ready: Ready) -> dict[str, int]:
    """What `tollhouse status` counts. Raises ProcessFailed where it can count nothing."""
    environ = without_ours(os.environ) | {
        "TOLLHOUSE_ENV": "local",
        "TOLLHOUSE_DATABASE_URL": ready.database_url,
        "TOLLHOUSE_REDIS_URL": ready.redis_url,
        "TOLLHOUSE_CACHE_URL": ready.cache_url,
    }
    command = begin(["status", "--json"], environ)
    printed, said = command.process.communicate()
    if command.process.returncode >= DOWN:
        raise ProcessFailed(f"`{command.shown}` ended with {command.process.returncode}:\n{said or printed}")
    figures: dict[str, int] = json.loads(printed)["figures"]
    return figures
