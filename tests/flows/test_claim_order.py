"""A claim that meets the commit of a sync of the same customer: they wait for each other in one order."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

from domain.context import Context
from domain.errors import Unavailable
from domain.flows.checkout import Item, Wish, open_checkout
from domain.flows.claim_checkout import claim_checkout
from domain.flows.sync import Synced, Syncer
from domain.model import TargetRef
from domain.rules.events import internal_event
from domain.store import checkouts, inbox
from tests.flows.event_path import EventPath
from tests.flows.interleaving import Stepper, held_by, is_waiting

WISH = Wish(
    user_id="u_1",
    items=[Item("pro", "month")],
    success_url="http://localhost:3000/ok",
    cancel_url="http://localhost:3000/no",
)
Claim = Callable[[Context], Awaitable[object]]


class AtFence(Stepper):
    """Holds a sync once its commit has locked the target and has written nothing yet."""

    def __init__(self) -> None:
        super().__init__(hold_at=0)
        self._is_fenced = False

    async def step(self, what: str) -> None:
        if self._is_fenced and not self.held.is_set():
            self.held_at = what
            self.held.set()
            await self.released.wait()
        self._is_fenced = self._is_fenced or ("lease_token = $2" in what and what.endswith("FOR UPDATE"))


async def meet(path: EventPath, target_id: int, claim: Claim) -> tuple[Synced, object]:
    """What becomes of a sync and of a claim that comes while the sync's commit holds the target."""
    stepper = AtFence()
    syncing = asyncio.ensure_future(Syncer(held_by(stepper, path.context)).sync_target(target_id))
    async with asyncio.timeout(10):
        await stepper.held.wait()
    claiming = asyncio.ensure_future(claim(path.context))
    try:
        assert await is_waiting(path.context, claiming), "the claim needs what the commit holds"
    finally:
        stepper.released.set()
    synced, claimed = await asyncio.gather(syncing, claiming, return_exceptions=True)
    assert isinstance(synced, Synced)
    return synced, claimed


async def test_a_claim_and_the_commit_of_a_sync_wait_in_one_order_and_in_the_other_they_deadlock(
    path: EventPath,
) -> None:
    opened = await open_checkout(path.context, "acme", "editor", WISH)
    await path.stripe.pay(opened.id)
    [row] = await path.rows("SELECT stripe_customer_id FROM stripe_customers")
    target = TargetRef("customer", row["stripe_customer_id"])

    async def owe() -> int:
        await path.execute("UPDATE checkout_sessions SET claimed_at = NULL")
        await path.mark("customer_all", target.stripe_id)
        [owed] = await path.rows("SELECT id FROM sync_targets WHERE stripe_id = $1", target.stripe_id)
        return int(owed["id"])

    async def claim(context: Context) -> object:
        return await claim_checkout(context, Syncer(context), "acme", "editor", opened.id)

    async def claim_its_row_first(context: Context) -> object:
        event = internal_event(
            f"th_{uuid4().hex}", "claim", "checkout.session", opened.id, target, cause="claim"
        )
        async with context.database.transaction() as connection:
            await checkouts.begin_claim(connection, "acme", UUID(opened.ref), 2.0)
            return await inbox.mark(connection, [event])

    synced, claimed = await meet(path, await owe(), claim)
    assert "processed" in synced.outcomes
    assert not isinstance(claimed, BaseException)

    synced, claimed = await meet(path, await owe(), claim_its_row_first)
    assert "processed" not in synced.outcomes or isinstance(claimed, Unavailable)
