"""F-22: workers whose clocks are an hour off, accesses that end this very second, leap days."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.checks import Verdict, read_answers
from tests.chaos.customers import Town
from tests.chaos.faults_of_tests import run_tests
from tests.chaos.faults_random import with_clocks
from tests.chaos.sizes import Sizes
from tests.chaos.world import World

#: Subscriptions that end within the run, one after the other.
LEAVERS, APART_S = 8, 2
LEAP_DAYS = "tests/flows/scenarios/test_moments.py"


@dataclass
class Ends:
    """What readers were told around the second at which an access ends."""

    #: User → unix seconds.
    at: dict[str, int] = field(default_factory=dict)
    #: Users whom the read API answered with access before their end, and without it after.
    granted: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    def note(self, user_id: str, asked_at: float, answered_at: float, said: dict[str, Any]) -> None:
        """An answer that was under way across the end may be either."""
        is_granted, ends_at = said["entitlements"]["export"]["granted"], self.at[user_id]
        if is_granted and asked_at >= ends_at:
            self.wrong.append(f"{user_id}: access {asked_at - ends_at:.3f} s after its end")
        elif not is_granted and answered_at < ends_at and user_id in self.granted:
            self.wrong.append(f"{user_id}: denied {ends_at - answered_at:.3f} s before its end")
        elif is_granted:
            self.granted.add(user_id)
        elif asked_at >= ends_at:
            self.ended.add(user_id)


async def f22(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Clocks an hour fast and slow: accesses end to the second; and leap days, in the scenarios' way."""
    ends = Ends()

    async def leave(world: World) -> None:
        await _leave(world, sizes, seed, ends)

    verdict = await with_clocks(directory, sizes, seed, skew_s=3600, beside=leave)
    everybody = set(ends.at)
    verdict.check("access ends to the second", not ends.wrong, ends.wrong[:3])
    verdict.check("everybody was seen before and after", ends.granted == ends.ended == everybody, ends)
    leap_days = await run_tests(LEAP_DAYS, SCENARIOS="all", SEED=str(seed))
    verdict.check("leap days", not leap_days.failed, leap_days.failed)
    verdict.notes |= {"ends seen": len(ends.ended), "leap days": leap_days.notes["tests"]}
    return verdict


async def _leave(world: World, sizes: Sizes, seed: int, ends: Ends) -> None:
    """Customers whose subscriptions end soon, each at a second of its own; readers never stop asking."""
    town = Town(world.stripe, world.context, seed)
    await town.settle(LEAVERS, unlinked=0.0, prefix="leaver")
    # Time enough for a worker that is stopped for longer than its lease, and for the one after it.
    soon = int(time.time() + 20 + 4 * float(sizes.settings.get("lease_s", "15")))
    for number, one in enumerate(town.customers):
        ends.at[one.user_id] = soon + number * APART_S
        await world.stripe.post(
            "/v1/subscriptions",
            customer=one.customer_id,
            items=[{"price": "price_acme.pro.month"}],
            cancel_at=ends.at[one.user_id],
        )
    while time.time() < soon + LEAVERS * APART_S + 5:
        asked_at = time.time()
        answers = await read_answers(world, town.user_ids, "editor")
        answered_at = time.time()
        for user_id, said in answers.items():
            ends.note(user_id, asked_at, answered_at, said)
        await asyncio.sleep(0.02)
