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
#: Who has begun to read may wait so much longer than who has not: half a run is read for nothing. Without it
#: more runs at once than the rate serves refuse each other's second slot for ever, and none ends.
BEGUN_S = 1.0
#: Between two looks for a slot of a run that has begun.
LOOK_EVERY_S = 0.2
#: Share of the rate that work in the background gets however busy the rest is.
KEPT_SHARE = 0.1
#: After a 429 the shared budget runs at half its rate for so long.
SLOW_S = 60.0


def budget_of(context: Context, max_wait_s: float) -> Reserve:
    """A function that waits for the next slot: one per run, whatever number of reads it has.

    Raises Throttled when the first has no slot within `max_wait_s`. Then the run has begun, and the others
    wait for theirs; `fetch_timeout_s` after the first they raise Throttled, too.
    """
    rate = context.stripe_or_raise.rate
    # One at a time, or those beside the first would book slots that nobody uses when it is refused.
    turn = asyncio.Lock()
    until = float("inf")

    async def reserve() -> None:
        nonlocal until
        if rate == 0:
            return
        async with turn:
            if until == float("inf"):
                wait_s = await _take(context, rate, max_wait_s)
                until = time.monotonic() + context.settings.fetch_timeout_s
            else:
                wait_s = await _take_by(context, rate, max_wait_s + BEGUN_S, until)
        await asyncio.sleep(wait_s)

    return reserve


async def _take_by(context: Context, rate: float, max_wait_s: float, until: float) -> float:
    """As `_take`, asked again until there is one; `until`: monotonic seconds."""
    while time.monotonic() < until:
        wait_s = await _find(context, rate, max_wait_s)
        if wait_s is not None:
            return wait_s
        await asyncio.sleep(LOOK_EVERY_S)
    return await _take(context, rate, max_wait_s)


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
            wait_s = await _take(context, rate, CLAIM_WAIT_S + BEGUN_S + _widest_gaps(rate))
        await asyncio.sleep(wait_s)

    return reserve


def patient_budget(context: Context, within_s: float) -> Reserve:
    """As `background_budget`, but waits for its share; Throttled when `within_s` seconds are over."""
    reserve, rate = background_budget(context), context.stripe_or_raise.rate
    until = time.monotonic() + within_s

    async def reserve_patiently() -> None:
        while True:
            try:
                return await reserve()
            except Throttled:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(1 / (KEPT_SHARE * rate))

    return reserve_patiently


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
    wait_s = await _find(context, rate, max_wait_s)
    if wait_s is None:
        metrics.budget_refusals.inc()
        raise Throttled("The read budget for Stripe has no slot now: it comes back by itself.")
    return wait_s


async def _find(context: Context, rate: float, max_wait_s: float) -> float | None:
    """Seconds until the slot that is now ours; None: there is none."""
    async with context.database.connection() as connection:
        wait_s = await deployments.reserve_slot(connection, rate=rate, max_wait_s=max_wait_s)
    if wait_s is not None:
        metrics.budget_waits.observe(wait_s)
    return wait_s


def _widest_gaps(rate: float) -> float:
    """Two gaps between slots at half the rate: the last booking of others may be one gap past their wait."""
    return 2 / (rate / 2 * (1 - deployments.BURST_SHARE))
