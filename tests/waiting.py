"""Waiting for a state that has no event of its own."""

import asyncio
from collections.abc import Callable


async def until(is_so: Callable[[], bool], *, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not is_so():  # noqa: ASYNC110 - what is waited for is a state of the part under test
            await asyncio.sleep(0.005)
