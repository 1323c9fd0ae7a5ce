"""The read budget: who may wait how long for a slot to read Stripe, and what a 429 does to everybody.

One row in Postgres hands out the slots (`reserve_slot`). Who may wait longer comes before who may not: a
buyer who looks at the success page before a sync, a sync before work in the background. So that a busy day
never stops the background altogether, a tenth of the rate is kept for it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from domain import metrics
from domain.context import Context
from domain.errors import Throttled
from domain.store import deployment as deployments
from domain.stripe_gateway import Reserve, SlowDown

#: Seconds that a claim (somebody looks at a page) and a sync may wait. Work in the background waits for none.
CLAIM_WAIT_S, SYNC_WAIT_S = 5.0, 2.0
#: Share of the rate that work in the background gets however busy the rest is.
KEPT_SHARE = 0.1
#: After a 429 the shared budget runs at half its rate for so long.
SLOW_S = 60.0


def budget_of(context: Context, max_wait_s: float) -> Reserve:
    """A function that waits for the next slot, or raises Throttled: none within `max_wait_s`."""
    rate = context.stripe_or_raise.rate

    async def reserve() -> None:
        if rate != 0:
            await asyncio.sleep(await _take(context, rate, max_wait_s))

    return reserve


def background_budget(context: Context, now: Callable[[], float] = time.monotonic) -> Reserve:
    """As `budget_of`, for reconcile and backfill: what nobody else wants, and the share that is kept for it.

    One per run: the share is counted here, so two runs at once have twice of it. `now`: monotonic seconds.
    """
    rate = context.stripe_or_raise.rate
    kept_at = float("-inf")

    async def reserve() -> None:
        nonlocal kept_at
        if rate == 0:
            return
        try:
            wait_s = await _take(context, rate, 0.0)
        except Throttled:
            asked_at = now()
            if asked_at - kept_at < 1 / (KEPT_SHARE * rate):
                raise
            # Before the slot is booked: a call that is cancelled in between has used its share, too.
            kept_at = asked_at
            # Behind whoever may wait the longest, and there always is a slot: nobody books further ahead.
            wait_s = await _take(context, rate, CLAIM_WAIT_S + _widest_gaps(rate))
        await asyncio.sleep(wait_s)

    return reserve


@asynccontextmanager
async def noting_429(context: Context) -> AsyncIterator[None]:
    """Stripe's 429 within the block halves the rate of every process for a minute; it is raised further."""
    try:
        yield
    except SlowDown:
        async with context.database.connection() as connection:
            await deployments.slow_down(connection, for_s=SLOW_S)
        raise


async def _take(context: Context, rate: float, max_wait_s: float) -> float:
    async with context.database.connection() as connection:
        wait_s = await deployments.reserve_slot(connection, rate=rate, max_wait_s=max_wait_s)
    if wait_s is None:
        metrics.budget_refusals.inc()
        raise Throttled("The read budget for Stripe has no slot now: it comes back by itself.")
    metrics.budget_waits.observe(wait_s)
    return wait_s


def _widest_gaps(rate: float) -> float:
    """Two gaps between slots at half the rate: the last booking of others may be one gap past their wait."""
    return 2 / (rate / 2 * (1 - deployments.BURST_SHARE))
