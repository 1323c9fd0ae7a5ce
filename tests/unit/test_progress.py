"""The bar of commands that take a while."""

import asyncio
from contextlib import suppress

import pytest

from ingress.cli.progress import progress


async def test_ctrl_c_ends_the_work_at_its_next_step_though_a_library_lost_it() -> None:
    steps: list[int] = []

    async def work() -> None:
        with progress("steps") as show:
            for step in range(1, 10):
                with suppress(asyncio.CancelledError):  # as `asyncio.wait_for` of Python 3.11 may
                    await asyncio.sleep(0)
                steps.append(step)
                show(step, 10)

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert steps == [1]
