"""One open checkout per user and group: who opens one waits its turn, and ends the others first.

Two open pages are two ways to pay: whoever paid both would have two subscriptions of one group.
The trial of a plan without a group is a group of its own here.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from uuid import UUID

from domain.context import Context
from domain.errors import Conflict, ObjectMissing, Unavailable
from domain.flows.read_budget import CLAIM_WAIT_S, budget_of
from domain.model import TargetRef
from domain.rules.events import internal_event
from domain.rules.obstacles import LIFETIME_PREFIX, TRIAL_PREFIX
from domain.store import checkouts, group_locks, inbox
from domain.store.checkouts import OpenSession
from domain.stripe_gateway import StripeRefused
from domain.telemetry import get_logger

log = get_logger()

#: A turn takes two or three calls of Stripe; who waits longer is told to come again.
WAIT_S, LOOK_EVERY_S = 4.0, 0.05


@asynccontextmanager
async def taking_turn(
    context: Context, project: str, user_key: int, groups: Sequence[str], token: UUID
) -> AsyncIterator[None]:
    """Hold these groups of a user for the block; no groups: at once. The same token takes its turn on.

    A block that fails gives them back, too: a page that Stripe may still make of a lost call is one whose
    address nobody was told.

    Raises:
        Conflict: another checkout or change of this user goes on and on.
        Unavailable: Postgres is away.
    """
    until = time.monotonic() + WAIT_S
    try:
        for group in sorted(groups):
            while not await _take(context, project, user_key, group, token):
                if time.monotonic() > until:
                    raise _busy(group)
                await asyncio.sleep(LOOK_EVERY_S)
        yield
    finally:
        # Where this fails, the leases run out.
        with suppress(Unavailable):
            await _release(context, project, user_key, groups, token)


async def expire_others(
    context: Context, project: str, user_key: int, groups: Sequence[str], ref: UUID
) -> bool:
    """End the user's other open sessions of these groups, in Stripe too.

    Answers whether one was paid meanwhile: then what it made is about to be read.

    Raises:
        Unavailable: Stripe or Postgres is away.
    """
    async with context.database.connection() as connection:
        found = await checkouts.list_open_sessions(connection, project, user_key, groups)
    is_paid = False
    for session in found:
        if session.ref == ref:
            continue
        status = await _expire(context, session)
        if status == "complete":
            # The read that writes so brings what was bought, too: until then every call finds out here.
            is_paid = True
            continue
        async with context.database.transaction() as connection:
            await checkouts.note_status(connection, project, session.ref, status)
    return is_paid


async def _expire(context: Context, session: OpenSession) -> str:
    """Stripe's status of the session now."""
    path = f"/v1/checkout/sessions/{session.session_id}"
    stripe = context.stripe_or_raise
    try:
        # A key of its own each time: Stripe would repeat a failure under the same one for a day, in which the
        # user could open no page. Expiring twice is a refusal, which is looked into below.
        expired = await stripe.create(f"{path}/expire", {}, idempotency_key=f"expire:{uuid.uuid4()}")
    except ObjectMissing:
        return "expired"
    except StripeRefused:
        # It is no longer open, which is why we were about to close it.
        read = await stripe.read(path, budget_of(context, CLAIM_WAIT_S))
        if read["status"] == "open":
            raise
        if read["status"] == "complete":
            await _have_read(context, session.session_id, read["customer"])
        return str(read["status"])
    log.info("checkout_expired", session=session.session_id)
    return str(expired["status"])


async def _have_read(context: Context, session_id: str, customer_id: str) -> None:
    """Stripe's event of the payment may be on its way for a while."""
    event = internal_event(
        f"th_{uuid.uuid4().hex}",
        "claim",
        "checkout.session",
        session_id,
        TargetRef("customer", customer_id),
        cause="checkout",
    )
    async with context.database.transaction() as connection:
        await inbox.mark(connection, [event])


async def _take(context: Context, project: str, user_key: int, group: str, token: UUID) -> bool:
    async with context.database.transaction() as connection:
        return await group_locks.take_group(
            connection, project, user_key, group, token=token, lease_s=context.settings.lease_s
        )


async def _release(context: Context, project: str, user_key: int, groups: Sequence[str], token: UUID) -> None:
    async with context.database.transaction() as connection:
        for group in sorted(groups):
            await group_locks.release_group(connection, project, user_key, group, token=token)


def _busy(group: str) -> Conflict:
    is_group = not group.startswith((TRIAL_PREFIX, LIFETIME_PREFIX))
    where = f"in the group {group!r}" if is_group else f"with the {group.replace(':', ' of ')}"
    return Conflict(
        f"Another checkout or change of this user {where} is under way: send it again when that has ended.",
        code="change_in_progress",
        retry_after_s=2,
    )
