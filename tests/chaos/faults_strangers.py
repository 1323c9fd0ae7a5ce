"""F-26: strangers on the account shout, and success pages poll for what nobody has paid yet."""

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from tests.chaos.checks import Verdict, judge, until_quiet
from tests.chaos.customers import PROJECT, Town
from tests.chaos.faults_away import LAG, lively
from tests.chaos.sizes import Sizes
from tests.chaos.stripe import Acknowledged, Json
from tests.chaos.world import Setup, World

STRANGERS, PAGES = 10, 10
#: A page asks more often than its checkout may be read.
ASKS_EVERY_S, READ_EVERY_S = 1.0, 2.0
SESSIONS = "GET /v1/checkout/sessions/{id}"
#: What is read with a session. Strangers' events name customers and subscriptions.
OF_A_CLAIM = {SESSIONS, "GET /v1/checkout/sessions/{id}/line_items"}


class Pages:
    """Success pages that have claimed too early: their checkouts stay open, and they go on asking."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._key = {"authorization": f"Bearer {world.keys.app_keys[f'{PROJECT}/editor']}"}
        self.sessions: list[str] = []
        #: Answers by status.
        self.answers: Counter[int] = Counter()
        self.slowest_s = 0.0

    async def open(self) -> None:
        """A checkout each, of new users."""
        for number in range(PAGES):
            wish = {
                "user_id": f"buyer_{number}",
                "items": [{"plan": "pro", "price": "month"}],
                "success_url": "http://localhost:3000/ok",
                "cancel_url": "http://localhost:3000/no",
            }
            status, made = await self._post("", wish)
            assert status == 201, made
            self.sessions.append(made["id"])

    async def poll(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.gather(*(self._claim(session) for session in self.sessions))
            await asyncio.sleep(ASKS_EVERY_S)

    async def _claim(self, session: str) -> None:
        began = time.monotonic()
        status, _ = await self._post(f"/{session}/claim", None)
        self.answers[status] += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    async def _post(self, path: str, wish: Json | None) -> tuple[int, Json]:
        url = f"{self._world.environment.ports.url('api')}/api/v1/checkout/session{path}"
        async with self._world.http.post(url, json=wish, headers=self._key) as answer:
            return answer.status, await answer.json()


async def f26(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Fifty strangers' events a second, ten pages that poll: ours wait no longer, Stripe is hardly asked."""
    setup = Setup(settings=sizes.settings, has_api=True)
    async with lively(directory, sizes, seed, setup) as (world, town, acknowledged):
        strangers = [
            await world.stripe.post("/v1/customers", description=f"stranger {number}")
            for number in range(STRANGERS)
        ]
        pages = Pages(world)
        await pages.open()
        noise = [_shout(world, strangers, sizes.away_s), pages.poll(sizes.away_s)]
        before = await _lag_of(world, acknowledged, _live(town, sizes))
        beside = await _lag_of(world, acknowledged, _live(town, sizes), *noise)
        after = await _lag_of(world, acknowledged, _live(town, sizes))
        asked, seconds = await _asked_for_them(world, acknowledged, strangers, pages, sizes)
        is_quiet = await until_quiet(world, acknowledged, within_s=sizes.patience_s)
        verdict = await judge(world, town, acknowledged, is_quiet=is_quiet)
        _check_reads(verdict, asked, seconds)
        _check_lag(verdict, sizes, alone=max(before, after), beside=beside)
        verdict.check("pages were answered", set(pages.answers) <= {200, 202}, pages.answers)
        verdict.check("within 10 s", pages.slowest_s <= 10, pages.slowest_s)
        verdict.notes |= {"lag_p99_s before": before, "beside": beside, "after": after}
        verdict.notes |= {
            "reads": dict(asked),
            "claims": dict(pages.answers),
            "slowest_claim_s": round(pages.slowest_s, 2),
        }
        return verdict


async def _asked_for_them(
    world: World, acknowledged: Acknowledged, strangers: list[Json], pages: Pages, sizes: Sizes
) -> tuple[Counter[str], float]:
    """What Stripe is asked while only strangers shout and pages poll, and for how many seconds."""
    # Nobody else may be waiting to be read again meanwhile.
    await until_quiet(world, acknowledged, within_s=sizes.patience_s, rechecks=True)
    before, began = await _reads(world), time.monotonic()
    await asyncio.gather(_shout(world, strangers, sizes.away_s / 2), pages.poll(sizes.away_s / 2))
    await until_quiet(world, acknowledged, within_s=sizes.patience_s)
    return await _reads(world) - before, time.monotonic() - began


def _check_reads(verdict: Verdict, asked: Counter[str], seconds: float) -> None:
    others = {name: number for name, number in asked.items() if name not in OF_A_CLAIM}
    verdict.check("Stripe was not asked about strangers", not others, others)
    most = PAGES * (seconds / READ_EVERY_S + 1)
    verdict.check("a checkout was read at most every 2 s", 0 < asked[SESSIONS] <= most, asked)


def _check_lag(verdict: Verdict, sizes: Sizes, *, alone: float, beside: float) -> None:
    # As in F-15: one bell that nobody heard is the p99 of a small run, strangers or not.
    one_bell_s = float(sizes.settings.get("ring_again_s", "5")) + 1.0
    limit_s = max(2 * alone, one_bell_s)
    verdict.check("own lag p99 at most twice", beside <= limit_s, f"{beside} s, at most {limit_s} s")


async def _live(town: Town, sizes: Sizes) -> None:
    await town.live(until_events=await town.count_events() + sizes.events // 4, pause_s=0.3)


async def _lag_of(world: World, acknowledged: Acknowledged, *lives: Coroutine[Any, Any, None]) -> float:
    began = time.time()
    await asyncio.gather(*lives)
    await until_quiet(world, acknowledged, within_s=60)
    (lag,) = await world.rows(LAG, began)
    return round(float(lag["lag_p99_s"]), 2)


async def _shout(world: World, strangers: list[Json], seconds: float) -> None:
    """Five events ten times a second."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for one in strangers[:5]:
            subject = {"id": f"sub_of_{one['id']}", "object": "subscription", "customer": one["id"]}
            await world.stripe.control("events", type="customer.subscription.updated", object=subject)
        await asyncio.sleep(0.1)


async def _reads(world: World) -> Counter[str]:
    calls = (await world.stripe.see("stats"))["calls"]
    return Counter({name: number for name, number in calls.items() if name.startswith("GET ")})
