"""What goes wrong, and when: a seeded deck of faults, drawn one after the other while customers live."""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Sequence

import redis.asyncio as redis

from tests.chaos.world import World

Fault = Callable[[World, random.Random], Awaitable[None]]


async def kill_worker_child(world: World, dice: random.Random) -> None:
    world.fleet.kill_child(dice.choice(world.fleet.names("worker")))


async def kill_worker(world: World, dice: random.Random) -> None:
    world.fleet.kill(dice.choice(world.fleet.names("worker")))


async def kill_webhook(world: World, dice: random.Random) -> None:
    world.fleet.kill("webhook")


async def kill_scheduler(world: World, dice: random.Random) -> None:
    world.fleet.kill(dice.choice(world.fleet.names("scheduler")))


async def kill_redis(world: World, dice: random.Random) -> None:
    world.fleet.kill("valkey")


async def restart_postgres(world: World, dice: random.Random) -> None:
    """An immediate shutdown: every connection is cut in whatever it does, and the log is replayed."""
    world.fleet.kill("postgres", signal.SIGQUIT)


async def flush_redis(world: World, dice: random.Random) -> None:
    async with redis.Redis.from_url(world.environment.servers.redis_url) as client:
        try:
            await client.flushall()
        except redis.RedisError:
            return  # it was just killed


async def stop_a_while(world: World, dice: random.Random) -> None:
    """SIGSTOP of everything a worker is, longer than its lease; then it goes on as if nothing had been."""
    pause_s = float(world.setup.settings.get("lease_s", "15")) * 1.3
    name = dice.choice(world.fleet.names("worker"))
    pids = [pid for pid in (world.fleet.pid(name), *world.fleet.forked_by(name)) if pid]
    for pid in pids:
        world.fleet.signal(pid, signal.SIGSTOP)
    await asyncio.sleep(pause_s)
    for pid in pids:
        world.fleet.signal(pid, signal.SIGCONT)


async def let_stripe_fail(world: World) -> None:
    """3 % 429, 3 % 500, 1 % never answered, of all reads."""
    for fault in (
        {"status": 429, "share": 0.03},
        {"status": 500, "share": 0.03},
        {"stall": True, "share": 0.01},
    ):
        await world.stripe.control("fail", path_pattern="/v1/*", method="GET", times=None, **fault)


async def let_stripe_work(world: World) -> None:
    await world.stripe.control("fail", clear=True)


class Injector:
    """Draws the deck in an order of the seed, a pause before each."""

    def __init__(self, world: World, seed: int, deck: Sequence[Fault], *, every_s: float) -> None:
        self._world = world
        self._dice = random.Random(f"faults {seed}")  # noqa: S311 - repeatable chaos
        self._deck = list(deck)
        self._dice.shuffle(self._deck)
        self._every_s = every_s
        self.done: list[str] = []
        #: Of time.monotonic().
        self.last_at = 0.0
        self.is_over = False

    async def run(self) -> None:
        for fault in self._deck:
            await asyncio.sleep(self._every_s * self._dice.uniform(0.5, 1.5))
            await fault(self._world, self._dice)
            self.done.append(fault.__name__)
            self.last_at = time.monotonic()
        self.is_over = True
