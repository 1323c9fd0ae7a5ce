"""Fault points: named places at which a test stalls, fails or kills this very process.

`TOLLHOUSE_FAULT_POINTS=sync.fetched=stall:20:0.1,receive.committed=kill:0.05`: each `point=action:chance`, a
stall with its seconds first; `point@cus_1=…` only for one target, or one user's key. For tests alone: without
the setting every point is one empty tuple looked at, and with a live Stripe key a process refuses to start.
"""

import asyncio
import os
import random
import signal
from typing import Literal, get_args

from msgspec import Struct

from domain.errors import Unavailable

Action = Literal["kill", "raise", "break", "stall"]

#: Every point and where it stands; a name that is not here is refused.
POINTS = {
    "receive.committed": "the event is durable, the bell is not rung and Stripe has no answer",
    "sync.claimed": "the lease is taken, nothing is read",
    "sync.fetched": "Stripe was read, COMMIT has not begun",
    "sync.committing": "everything of COMMIT is written, its transaction is open",
    "sync.committed": "the new answer is in Postgres, the cache has the old one",
    "recompute.committing": "a boundary's or a catalog's answers are written, the transaction is open",
    "recompute.committed": "they are in Postgres, the cache has the old ones",
    "timers.marked": "a timer's event is inserted, the timer is not deleted; one transaction",
    "idempotency.claimed": "the call's key is its attempt's, nothing is done",
    "idempotency.kept": "the call and its answer are durable, the caller has no answer",
    "checkout.customer": "the customer is in Stripe and linked, the checkout has no row",
    "checkout.inserted": "the checkout has its row, Stripe knows of no session",
    "checkout.created": "Stripe has made the session, nobody has written down its answer",
    "catalog.changed": "one product or price is as the catalog says, the others are not yet",
    "catalog.created": "Stripe has everything new, no version says so",
    "catalog.stored": "the version is in force, nobody is recomputed",
    "catalog.recomputed": "everybody is, the old prices are not archived",
    "changes.pruned": "old changes are deleted, the transaction is open",
    "import.committed": "the grants of one user (subject: its first line) are made, the next user's are not",
    "replay.reopened": "events are pending again; the transaction is open",
    "erase.bodies": "bodies of deliveries are deleted, the user is as it was",
    "erase.committed": "the user is erased in Postgres, the cache has the old answers",
    "backfill.linked": "some customers of a page are linked, the import stands before the page",
    "backfill.written": "a page is in the mirror, the import stands before it",
}


class FaultPoint(Struct, frozen=True, kw_only=True):
    name: str
    action: Action
    #: Of `stall`.
    seconds: float = 0.0
    #: 0 to 1.
    chance: float
    #: Only for this target or user; "": for all.
    subject: str = ""


class Faults:
    """The fault points of one process."""

    def __init__(self, points: tuple[FaultPoint, ...] = ()) -> None:
        self._points = points

    async def reach(self, name: str, subject: str = "") -> None:
        """Do what a test wants to happen at this point, nothing otherwise.

        Raises:
            Unavailable: a test wants it to (`raise`).
            RuntimeError: a test wants a defect (`break`).
        """
        for point in self._points:
            if point.name == name and point.subject in {"", subject} and _happens(point.chance):
                await _act(point)


NO_FAULTS = Faults()


def parse_fault_points(text: str) -> tuple[FaultPoint, ...]:
    """Raises ValueError, saying what to write instead."""
    return tuple(_parse_point(part.strip()) for part in text.split(",") if part.strip())


def _parse_point(text: str) -> FaultPoint:
    place, _, deed = text.partition("=")
    name, _, subject = place.partition("@")
    action, *numbers = deed.split(":")
    if name not in POINTS:
        raise ValueError(f"there is no fault point {name!r}: there are {', '.join(POINTS)}")
    if action not in get_args(Action) or len(numbers) != (2 if action == "stall" else 1):
        raise ValueError(f"write {name}=kill:CHANCE, raise:CHANCE, break:CHANCE or stall:SECONDS:CHANCE")
    *seconds, chance = (float(number) for number in numbers)
    return FaultPoint(
        name=name,
        action=action,  # type: ignore[arg-type] # one of them, as was just asked
        seconds=seconds[0] if seconds else 0.0,
        chance=chance,
        subject=subject,
    )


def _happens(chance: float) -> bool:
    return random.random() < chance  # noqa: S311 - a test's dice


async def _act(point: FaultPoint) -> None:
    match point.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stall":
            await asyncio.sleep(point.seconds)
        case "raise":
            raise Unavailable(f"A test made {point.name} fail.")
        case "break":
            raise RuntimeError(f"a test broke {point.name}")
