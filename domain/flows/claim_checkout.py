"""What has become of a checkout: from our row, or (a claim) read from Stripe now, for a buyer's success page.

A claim is an internal event like any other hint, so it leads to what Stripe's own event would have led to. It
is worked off here and at once; whatever is too slow for the page is a worker's, and the page asks again.
"""

import asyncio
import time
import uuid
from datetime import UTC, datetime
from typing import Literal

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import Unknown
from domain.flows.defaults import find_defaults
from domain.flows.sync import Syncer
from domain.flows.sync_now import sync_within
from domain.model import EntitlementSet, TargetRef
from domain.rules.answer import Answer, answer_at
from domain.rules.events import internal_event
from domain.rules.order import Item
from domain.store import checkouts, entitlements, inbox
from domain.store.checkouts import CheckoutRow
from domain.telemetry import get_logger

log = get_logger()

#: A page that asks more often is answered by the read that the first one wished for.
CLAIM_EVERY_S = 2.0
#: Between two looks while another process works on the same customer.
LOOK_EVERY_S = 0.05

#: creating: Stripe has not answered yet; unknown: a status that Stripe did not have when this was written.
State = Literal["creating", "open", "complete", "expired", "unknown"]
STATES: dict[str, State] = {
    "creating": "creating",
    "open": "open",
    "complete": "complete",
    "expired": "expired",
}
#: Payment statuses after which nothing more of a complete session is awaited.
PAID = frozenset({"paid", "no_payment_required"})

_decode_items = msgspec.json.Decoder(tuple[Item, ...]).decode
_decode_set = msgspec.json.Decoder(EntitlementSet).decode


class ShownCheckout(Struct, frozen=True, kw_only=True):
    #: Stripe's, cs_…; null: Stripe has not answered yet.
    id: str | None
    ref: str
    user_id: str
    mode: str
    state: State
    #: Whether nothing more is awaited: paid, free, or expired.
    settled: bool
    #: Stripe's: paid, unpaid, no_payment_required; null: not read yet.
    payment_status: str | None
    items: tuple[Item, ...]
    created_at: datetime
    expires_at: datetime | None


class ClaimedCheckout(Struct, frozen=True, kw_only=True):
    state: State
    user_id: str
    #: Whether nothing more is awaited. A delayed payment is complete long before it is settled.
    settled: bool
    #: Of the entitlements, as the read path gives it.
    version: int
    entitlements: EntitlementSet


class Claim(Struct, frozen=True):
    claimed: ClaimedCheckout
    #: False: Stripe was not read for this claim: it was too slow, or had just been read for another.
    is_read: bool
    #: Targets that may be rung: somebody wished for their read, and it is not done.
    owed: tuple[int, ...] = ()


class _Owing(Struct, frozen=True):
    """Where the read of a session is looked for."""

    project: str
    user_key: int
    #: The wish was made there; who the session's customer is, only Stripe knows.
    target: TargetRef
    session_id: str


class _TooSoonError(Exception):
    """Takes the wish of a claim back: another one was read for a moment ago."""


async def show_checkout(context: Context, project: str, app: str, name: str) -> ShownCheckout:
    """A checkout by Stripe's id or our ref, from our row alone.

    Raises:
        Unknown: this app has opened no such checkout.
        Unavailable: Postgres is away.
    """
    row = await _load(context, project, app, name)
    return ShownCheckout(
        id=row.session_id,
        ref=str(row.ref),
        user_id=row.user_id,
        mode=row.mode,
        state=_state(row),
        settled=_is_settled(row),
        payment_status=row.payment_status,
        items=_decode_items(row.items),
        created_at=row.created_at,
        expires_at=row.expires_at,
    )


async def claim_checkout(context: Context, syncer: Syncer, project: str, app: str, name: str) -> Claim:
    """Have Stripe read for a checkout, and answer what its user may use then.

    What is settled is known, and costs no read. What takes longer than `read_back_s` is a worker's.

    Raises:
        Unknown: this app has opened no such checkout.
        Unavailable: Postgres is away.
    """
    began = time.monotonic()
    row = await _load(context, project, app, name)
    is_read, owed = _is_settled(row), tuple[int, ...]()
    if not is_read and row.session_id is not None:
        target = _target(row, row.session_id)
        is_marked = await _mark_once(context, project, row, row.session_id, target)
        until = began + context.settings.read_back_s
        owing = _Owing(project, row.user_key, target, row.session_id)
        is_read, owed = await _await_sync(context, syncer, owing, until, is_marked=is_marked)
        row = await _load(context, project, app, name)
        took_ms = round((time.monotonic() - began) * 1000, 1)
        log.info("checkout_claimed", session=row.session_id, is_read=is_read, state=row.status, ms=took_ms)
    answer = await _read_answer(context, project, app, row.user_id)
    claimed = ClaimedCheckout(
        state=_state(row),
        user_id=row.user_id,
        settled=_is_settled(row),
        version=answer.version,
        entitlements=_decode_set(answer.segment.entitlements),
    )
    return Claim(claimed, is_read, owed)


async def _load(context: Context, project: str, app: str, name: str) -> CheckoutRow:
    async with context.database.connection() as connection:
        # Postgres takes no NUL, so no checkout is named by one.
        row = None if "\0" in name else await checkouts.find_checkout(connection, project, app, name)
    if row is None:
        raise Unknown(
            "This app has opened no such checkout: name it by the id or the ref that opening it answered.",
            code="unknown_checkout",
        )
    return row


def _target(row: CheckoutRow, session_id: str) -> TargetRef:
    if row.customer_id is None:
        return TargetRef("checkout.session", session_id)
    return TargetRef("customer", row.customer_id)


async def _mark_once(
    context: Context, project: str, row: CheckoutRow, session_id: str, target: TargetRef
) -> bool:
    """Whether this claim may wish for a read; another one may have, a moment ago.

    The target before the checkout's row, as a sync locks them: in the other order both would wait for each
    other. One transaction: a second claim that finds the first one's time finds its wish, too.
    """
    event_id = f"th_{uuid.uuid4().hex}"
    event = internal_event(event_id, "claim", "checkout.session", session_id, target, cause="claim")
    try:
        async with context.database.transaction() as connection:
            await inbox.mark(connection, [event])
            if not await checkouts.begin_claim(connection, project, row.ref, CLAIM_EVERY_S):
                raise _TooSoonError
    except _TooSoonError:
        return False
    return True


async def _await_sync(
    context: Context, syncer: Syncer, owing: _Owing, until: float, *, is_marked: bool
) -> tuple[bool, tuple[int, ...]]:
    """Whether a wish that was open when this began was worked off, here or elsewhere, before `until`; and the
    target that still owes it.

    `until`: monotonic seconds. `is_marked`: one was.
    """
    was_open = is_marked
    while True:
        async with context.database.connection() as connection:
            target_id = await checkouts.find_claimed_target(
                connection, owing.project, owing.user_key, owing.target, owing.session_id
            )
        if target_id is None:
            return was_open, ()
        was_open = True
        synced = await sync_within(syncer, target_id, until - time.monotonic())
        if synced is None:
            return False, (target_id,)
        if not synced.outcomes or "processed" not in synced.outcomes:
            await asyncio.sleep(LOOK_EVERY_S)


def _state(row: CheckoutRow) -> State:
    return STATES.get(row.status, "unknown")


def _is_settled(row: CheckoutRow) -> bool:
    return row.status == "expired" or (row.status == "complete" and row.payment_status in PAID)


async def _read_answer(context: Context, project: str, app: str, user_id: str) -> Answer:
    """From Postgres, because what was just committed may still be on its way into the caches."""
    async with context.database.connection() as connection:
        found = await entitlements.find_sets(connection, project, [user_id], app)
        stored = found.get(user_id) or await find_defaults(connection, project, app)
    return answer_at(stored, user_id, datetime.now(UTC))
