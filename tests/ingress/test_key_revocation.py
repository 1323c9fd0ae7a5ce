"""A key that ends, ends everywhere; a key that is rotated is missed by nobody."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

from domain.errors import Rejected
from domain.flows.manage_keys import create_key, revoke_key
from domain.flows.rotate_key import rotate_key
from domain.settings import Secret, Settings
from ingress import read
from ingress.lifespan import Running, open_running
from tests.conftest import with_settings
from tests.ingress.doors import client_of, running_reader
from tests.proxy import proxied
from tests.seeds import seed_catalog
from tests.waiting import until

PATH = "/api/v1/entitlements?user_id=u_17"


async def test_a_revoked_key_is_refused_by_four_warm_processes_within_five_seconds(
    settings: Settings,
) -> None:
    async with AsyncExitStack() as stack:
        doors = [await stack.enter_async_context(running_reader(settings)) for _ in range(4)]
        context = doors[0].context
        await seed_catalog(context)
        ended, kept = [
            (await create_key(context, kind="app", project="acme", app="editor", name=name)) for name in "ab"
        ]
        for door in doors:
            assert [await _status(door, key.key) for key in (ended, kept)] == [200, 200]
        await revoke_key(context, ended.key_id)
        # Each of them hears of it by itself: nobody asks with the key before memory has let go of it.
        await until(lambda: not any(door.keys.find_fresh(ended.key) for door in doors), within_s=5)
        for door in doors:
            assert [await _status(door, key.key) for key in (ended, kept)] == [401, 200]
            assert door.keys.find_fresh(kept.key) is not None


async def test_with_redis_cut_a_revoked_key_is_refused_once_it_is_no_longer_fresh(settings: Settings) -> None:
    """10 s by default; here compressed to 0.3 s."""
    async with proxied(settings.cache_url.reveal()) as proxy:
        cut_off = with_settings(settings, cache_url=Secret(proxy.url), fresh_s=0.3)
        async with open_running("read", cut_off) as door:
            await until(lambda: door.lookup.is_watching)
            await seed_catalog(door.context)
            key = await create_key(door.context, kind="app", project="acme", app="editor", name="x")
            assert await _status(door, key.key) == 200
            await proxy.cut()
            assert await _status(door, key.key) == 200
            await revoke_key(door.context, key.key_id)
            await until(lambda: door.keys.find_fresh(key.key) is None)
            assert await _status(door, key.key) == 401


async def test_nobody_is_refused_while_a_key_is_rotated_under_load(settings: Settings) -> None:
    async with running_reader(settings) as door, running_reader(settings) as other:
        await seed_catalog(door.context)
        first = await create_key(door.context, kind="app", project="acme", app="editor", name="x")
        in_use, answers = [first.key], Counter[str]()
        is_over = asyncio.Event()

        async def ask(at: Running) -> None:
            while not is_over.is_set():
                try:
                    _ = at.keys.find_fresh(in_use[0]) or await at.keys.authenticate(in_use[0])
                    answers["let in"] += 1
                except Rejected:
                    answers["refused"] += 1
                # An answer from memory waits for nothing, and would let nobody else run.
                await asyncio.sleep(0)

        async def after(more: int) -> None:
            wanted = answers.total() + more
            await until(lambda: answers.total() >= wanted)

        asking = [asyncio.create_task(ask(at)) for at in (door, other) for _ in range(4)]
        old = first
        for _ in range(3):
            await after(500)
            new = (await rotate_key(door.context, old.key_id)).created
            await after(500)
            in_use[0] = new.key
            await after(500)
            await revoke_key(door.context, old.key_id)
            old = new
        await after(500)
        is_over.set()
        await asyncio.gather(*asking)
        assert answers["refused"] == 0
        assert await _status(door, first.key) == 401


async def _status(door: Running, key: str) -> int:
    async with client_of(read.app, door, key) as client:
        return (await client.get(PATH)).status_code
