"""F-06, F-07, F-11 and F-12/13: a server is away, slow, half there, or says too much was asked."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.chaos import injector as inject
from tests.chaos.checks import Verdict, judge, read_answers, until_quiet
from tests.chaos.customers import Town
from tests.chaos.faults_random import live_through
from tests.chaos.sizes import Sizes
from tests.chaos.stripe import Acknowledged
from tests.chaos.world import Setup, World, running_world

LAG = """
    SELECT coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM done_at - received_at)),
                    0)::float AS lag_p99_s
    FROM webhook_events WHERE source = 'stripe' AND state = 'processed' AND received_at > to_timestamp($1)
"""


class Asked:
    """What readers were answered while something was away: by status or freshness, and the slowest."""

    def __init__(self) -> None:
        self.said: dict[str, int] = {}
        self.slowest_s = 0.0

    async def ask(self, world: World, user_ids: list[str]) -> str:
        began = time.monotonic()
        try:
            answers = await read_answers(world, user_ids, "editor")
            said = "stale" if any(one["freshness"] == "stale" for one in answers.values()) else "live"
        except AssertionError as error:
            said = str(error)[:40]
        except aiohttp.ClientConnectionError:
            said = "unreachable"
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        self.said[said] = self.said.get(said, 0) + 1
        return said


@asynccontextmanager
async def lively(
    directory: Path, sizes: Sizes, seed: int, setup: Setup
) -> AsyncIterator[tuple[World, Town, Acknowledged]]:
    """Everybody has begun to live, all is synced, and the reader has seen all users once."""
    async with running_world(directory, setup) as world:
        town = Town(world.stripe, world.context, seed)
        acknowledged = Acknowledged(world.stripe)
        await town.settle(sizes.customers)
        await town.live(until_events=sizes.events // 4)
        await until_quiet(world, acknowledged, within_s=sizes.patience_s)
        await read_answers(world, town.user_ids, "editor")
        await read_answers(world, town.user_ids, "viewer")
        yield world, town, acknowledged


async def during(sizes: Sizes, world: World, town: Town, asked: Asked, *, users: int = 5) -> None:
    """Live and ask for as long as something is away."""
    until = time.monotonic() + sizes.away_s
    while time.monotonic() < until:
        await town.live(until_events=await town.count_events() + 10)
        await asked.ask(world, town.dice.sample(town.user_ids, min(users, len(town.user_ids))))
        await asyncio.sleep(0.5)


async def f06(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Redis is away under load."""
    async with lively(directory, sizes, seed, Setup(settings=sizes.settings)) as (world, town, acknowledged):
        acknowledged.answers.clear()
        asked, began = Asked(), time.time()
        world.fleet.hold("valkey")
        await during(sizes, world, town, asked)
        await acknowledged.look()
        world.fleet.release("valkey")
        back = time.monotonic()
        is_quiet = await until_quiet(world, acknowledged, within_s=60)
        gone_s = time.monotonic() - back
        verdict = await judge(world, town, acknowledged, is_quiet=is_quiet)
        (lag,) = await world.rows(LAG, began)
        verdict.converged_s = round(gone_s, 1) if is_quiet else None
        verdict.check("the door answered nothing but 200", set(acknowledged.answers) == {"200"})
        verdict.check("readers were answered live", set(asked.said) == {"live"}, asked.said)
        verdict.check("lag p99 at most 15 s", lag["lag_p99_s"] <= 15, lag)
        verdict.notes |= {
            "away_s": sizes.away_s,
            **lag,
            "read": asked.said,
            "slowest_read_s": asked.slowest_s,
        }
        return verdict


async def f07(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Postgres is away: the door says 503, readers get what is kept, and nobody has to be restarted."""
    async with lively(directory, sizes, seed, Setup(settings=sizes.settings)) as (world, town, acknowledged):
        acknowledged.answers.clear()
        acknowledged.durations.clear()
        asked = Asked()
        deaths = world.fleet.deaths()
        world.fleet.hold("postgres")
        await during(sizes, world, town, asked)
        await acknowledged.look()
        answers, slowest_s = dict(acknowledged.answers), max(acknowledged.durations, default=0.0)
        world.fleet.release("postgres")
        await asyncio.sleep(0.2)
        await world.fleet.until_ready("postgres")
        back_s = await _until_live(world, town)
        is_quiet = await until_quiet(world, acknowledged, within_s=sizes.patience_s)
        verdict = await judge(world, town, acknowledged, is_quiet=is_quiet)
        verdict.converged_s = round(back_s, 1)
        verdict.check("the door said 503 and nothing else", set(answers) == {"503"}, answers)
        verdict.check("within 5 s", slowest_s <= 5, slowest_s)
        verdict.check("readers were answered", set(asked.said) <= {"live", "stale"}, asked.said)
        verdict.check("and told that it is stale", "stale" in asked.said, asked.said)
        verdict.check("back within 10 s", back_s <= 10, back_s)
        verdict.check("nobody was restarted", world.fleet.deaths() - deaths == 1, world.fleet.deaths())
        verdict.notes |= {
            "away_s": sizes.away_s,
            "door": answers,
            "slowest_503_s": slowest_s,
            "read": asked.said,
        }
        return verdict


async def _until_live(world: World, town: Town) -> float:
    asked, began = Asked(), time.monotonic()
    # What is waited for is another process's state.
    while await asked.ask(world, town.user_ids[:5]) != "live" and time.monotonic() - began < 60:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    return time.monotonic() - began


# ── F-11 ──

Cut = Callable[[World, random.Random], Awaitable[None]]


def _disturbing(server: str, how: str, seconds: float) -> Cut:
    async def disturb(world: World, _dice: random.Random) -> None:
        proxy = world.proxies[server]
        if how == "cut":
            await proxy.cut()
        elif how == "stall":
            proxy.stall()
        elif how == "drop replies":
            proxy.drop_replies()
        else:
            proxy.latency_s = 0.2
        await asyncio.sleep(seconds)
        if how == "drop replies":
            await proxy.cut()
        await proxy.restore()

    disturb.__name__ = f"{how} {server}"
    return disturb


async def f11(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Latency, cuts, dropped replies and half-open connections to Postgres, Redis and Stripe."""
    deck = tuple(
        _disturbing(server, how, 2.5)
        for server in ("postgres", "redis", "stripe")
        for how in ("cut", "stall", "drop replies", "latency")
    )
    async with running_world(directory, Setup(settings=sizes.settings, is_proxied=True)) as world:
        verdict = await live_through(world, sizes, seed, deck=deck, stripe_fails=False)
        verdict.check("no request took more than 10 s", verdict.notes["slowest_delivery_s"] <= 10)
        worked_off_s = verdict.notes["worked_off_s"]
        verdict.check("worked off in time", worked_off_s <= sizes.converge_s, f"{worked_off_s} s")
        return verdict


# ── F-12/13 ──


async def f12(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Stripe is away, then says 429 to a third; nothing is dead and the read budget holds in every second."""
    rate = 40
    own = {"TOLLHOUSE_STRIPE_RATE": str(rate)}
    setup = Setup(settings=sizes.settings, env={"worker": own, "scheduler": own})
    async with running_world(directory, setup) as world:
        town, acknowledged = Town(world.stripe, world.context, seed), Acknowledged(world.stripe)
        await town.settle(max(5, sizes.customers // 4))
        for name in world.fleet.names("worker"):
            world.fleet.hold(name)
        await town.live(until_events=sizes.events // 4)
        # From here on nobody but our processes calls Stripe.
        quiet_at = int(time.time()) + 1
        await world.stripe.control("fail", path_pattern="/v1/*", status=503, times=None)
        for name in world.fleet.names("worker"):
            world.fleet.release(name)
        await asyncio.sleep(sizes.away_s)
        await world.stripe.control(
            "fail", path_pattern="/v1/*", status=429, times=None, share=0.33, clear=True
        )
        await asyncio.sleep(sizes.away_s / 2)
        await inject.let_stripe_work(world)
        last = time.monotonic()
        is_quiet = await until_quiet(world, acknowledged, within_s=sizes.patience_s * 3)
        converged_s = round(time.monotonic() - last, 1)
        busiest = _busiest(await world.stripe.see("stats"), quiet_at)
        verdict = await judge(world, town, acknowledged, is_quiet=is_quiet)
        verdict.converged_s = converged_s if is_quiet else None
        verdict.check("the read budget held", busiest <= rate + 1, busiest)
        verdict.notes |= {"rate": rate, "most calls in a second": busiest, "away_s": sizes.away_s}
        return verdict


def _busiest(stats: dict[str, Any], since: int) -> int:
    seconds: dict[str, int] = {}
    for calls in stats["per_second"].values():
        for second, number in calls.items():
            if int(second) >= since:
                seconds[second] = seconds.get(second, 0) + number
    return max(seconds.values(), default=0)
