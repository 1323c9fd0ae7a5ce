"""COMMIT: one fenced transaction turns what was read into mirror, answers and settled events.

Order of locks: the target, then (for FORWARD) the customer's target, then the user, then everything else.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.flows.book_revenue import book_revenue
from domain.flows.fetch import Fetched
from domain.flows.judge import Verdict, judge
from domain.flows.recheck import lagging, set_rechecks, unconfirmed
from domain.flows.recompute import Recomputed, before_commit, recompute_user
from domain.flows.set_moments import set_moments
from domain.flows.vanishing import Vanishing
from domain.flows.write_mirror import write_mirror, write_shared
from domain.model import Claim, EventState, Owner, PendingEvent
from domain.store import customers, erased, inbox, mirror, targets
from domain.store.customers import CustomerOwner
from domain.store.money import Holder
from domain.store.session import Connection
from domain.telemetry import get_logger

log = get_logger()

#: A set-aside event that fails so often is `failed`; the others of its customer went on meanwhile.
MOST_TRIES = 8


class VerdictChanged(Exception):
    """Between JUDGE and COMMIT the target became somebody else's."""


class Work(Struct, frozen=True, kw_only=True):
    """What a run holds when it comes to COMMIT."""

    claim: Claim
    verdict: Verdict
    events: tuple[PendingEvent, ...]
    #: Pending events were left over for the next run.
    has_more: bool
    #: Events of another mode or account, by id with the reason.
    elsewhere: dict[str, str]
    fetched: Fetched
    vanishing: Vanishing


class Committed(Struct, frozen=True, kw_only=True):
    #: The lease was lost meanwhile: nothing was written.
    is_fenced: bool = False
    #: Owed and due again: run once more.
    is_owed: bool = False
    #: Targets of customers to which events were forwarded: they may be rung.
    forwarded: tuple[int, ...] = ()
    recomputed: Recomputed | None = None
    read_at: float = 0.0
    #: From the door to this commit, by the database's clock; None where nothing was processed.
    age_ms: float | None = None
    outcome: str = "settled"


async def commit(context: Context, work: Work) -> Committed:
    """Write the outcome of one run, or nothing at all.

    Raises:
        VerdictChanged: rolled back; release the lease and run again.
        Unavailable, Broken: rolled back; FAIL.
    """
    async with context.database.transaction() as connection:
        if not await targets.lock(connection, work.claim):
            return Committed(is_fenced=True, outcome="fenced")
        if await judge(connection, work.claim.target, work.events) != work.verdict:
            raise VerdictChanged
        for event_id, reason in work.elsewhere.items():
            await inbox.finish(connection, [event_id], EventState.FOREIGN, reason)
        mine = tuple(event for event in work.events if event.event_id not in work.elsewhere)
        committed = await _write(context, connection, work, mine)
        await context.faults.reach("sync.committing", work.claim.target.stripe_id)
        return committed


async def _write(
    context: Context, connection: Connection, work: Work, events: tuple[PendingEvent, ...]
) -> Committed:
    if not events:
        return await _settle(connection, work, None, "settled")
    if work.verdict.is_shared:
        return await _write_shared(context, connection, work, events)
    if not work.verdict.is_customer:
        target = work.claim.target
        read = work.fetched.customer_of.get((target.kind, target.stripe_id))
        customer_id = work.verdict.known_customer or read
        if customer_id is not None:
            return await _forward(connection, work, customer_id)
        return await _write_unowned(context, connection, work, events)
    if work.verdict.owner is None:
        return await _write_foreign(context, connection, work, events)
    return await _write_ours(context, connection, work, events, work.verdict.owner)


async def _forward(connection: Connection, work: Work, customer_id: str) -> Committed:
    target_id, moved = await inbox.move(connection, work.claim, customer_id)
    log.info("events_forwarded", target=work.claim.target.stripe_id, customer=customer_id, events=moved)
    settled = await targets.settle(connection, work.claim, has_more=False, owner=None)
    return Committed(is_owed=settled.is_owed, forwarded=(target_id,), outcome="forwarded")


async def _write_shared(
    context: Context, connection: Connection, work: Work, events: tuple[PendingEvent, ...]
) -> Committed:
    """A product, a price or a test clock: mirrored for itself, and no user's answers depend on it."""
    target = work.claim.target
    shared = await write_shared(connection, target.kind, target.stripe_id, work.fetched)
    state = EventState.PROCESSED if shared.reason is None else EventState.FOREIGN
    await _finish(connection, events, state, shared.reason)
    await set_rechecks(context, connection, target, lagging(events, work.fetched))
    return await _settle(connection, work, Owner.OURS if shared.is_ours else Owner.FOREIGN, state.value)


async def _write_unowned(
    context: Context, connection: Connection, work: Work, events: tuple[PendingEvent, ...]
) -> Committed:
    """An object without a customer: a guest's, or one that Stripe does not show."""
    target = work.claim.target
    is_missing = (target.kind, target.stripe_id) in work.fetched.missing
    reason = "object_missing" if is_missing else "no_customer"
    await _finish(connection, events, EventState.FOREIGN, reason)
    await set_rechecks(context, connection, target, lagging(events, work.fetched))
    return await _settle(connection, work, None if is_missing else Owner.FOREIGN, "foreign")


async def _write_foreign(
    context: Context, connection: Connection, work: Work, events: tuple[PendingEvent, ...]
) -> Committed:
    """A customer on our Stripe account that is not ours: stored, counted, visible, never an error."""
    if work.verdict.is_erased:
        return await _write_erased(connection, work, events)
    await _finish(connection, events, EventState.FOREIGN, "unlinked_customer")
    if work.verdict.refs:
        rechecks = unconfirmed(events, work.claim.target.stripe_id, str(work.verdict.refs[0]))
        await set_rechecks(context, connection, work.claim.target, rechecks)
    return await _settle(connection, work, Owner.FOREIGN, "foreign")


async def _write_erased(connection: Connection, work: Work, events: tuple[PendingEvent, ...]) -> Committed:
    """A customer of somebody who was erased: its events have come, and what they say is not kept."""
    await _finish(connection, events, EventState.FOREIGN, "user_erased")
    await erased.drop_bodies_of(connection, [event.event_id for event in events])
    return await _settle(connection, work, Owner.FOREIGN, "erased")


async def _write_ours(
    context: Context,
    connection: Connection,
    work: Work,
    events: tuple[PendingEvent, ...],
    owner: CustomerOwner,
) -> Committed:
    await customers.lock_user(connection, owner.user_key)
    holder = Holder(project=owner.project, user_key=owner.user_key, customer_id=work.claim.target.stripe_id)
    await write_mirror(connection, holder, work.fetched)
    await book_revenue(connection, holder, work.fetched)
    recomputed = await recompute_user(
        context, connection, owner.user_key, cause=events[-1].type if events else "sync"
    )
    error = await _finish_ours(context, connection, work, events)
    await set_rechecks(context, connection, work.claim.target, lagging(events, work.fetched))
    await set_moments(context, connection, work.claim.target, events, work.fetched)
    age_ms = await inbox.age_ms(connection, [event.event_id for event in events])
    settled = await _settle(connection, work, Owner.OURS, "processed", error)
    return msgspec.structs.replace(settled, recomputed=recomputed, read_at=before_commit(), age_ms=age_ms)


async def _finish_ours(
    context: Context, connection: Connection, work: Work, events: Sequence[PendingEvent]
) -> str | None:
    """Each event gets its state; answers the error of the first object that was set aside, if any."""
    processed: list[PendingEvent] = []
    first_error: str | None = None
    for event in events:
        key = (event.object_kind, event.object_id)
        error = work.fetched.error_of(key)
        if error is not None:
            first_error = first_error or error
            await _set_aside(context, connection, event, error)
        elif key in work.fetched.missing and not await _is_mirrored(connection, work, event):
            await _finish(connection, [event], EventState.FOREIGN, "object_missing")
        else:
            processed.append(event)
    await _finish(connection, processed, EventState.PROCESSED, None)
    return first_error


async def _set_aside(context: Context, connection: Connection, event: PendingEvent, error: str) -> None:
    failed = await inbox.set_aside(
        connection,
        [event.event_id],
        error,
        retry_base_s=context.settings.retry_base_s,
        most=MOST_TRIES,
    )
    if failed:
        log.error("event_failed", event_id=event.event_id, type=event.type, error=error)
    else:
        log.warning("event_set_aside", event_id=event.event_id, type=event.type, error=error)


async def _is_mirrored(connection: Connection, work: Work, event: PendingEvent) -> bool:
    """A mirrored object, or a linked customer, that Stripe does not show keeps what it has."""
    if not event.object_kind.startswith("customer"):
        known = await mirror.find_mirrored_customer(connection, event.object_kind, event.object_id)
        if known is None:
            return False
    log.error("object_vanished", kind=event.object_kind, object_id=event.object_id)
    work.vanishing.note(event.object_id)
    return True


async def _finish(
    connection: Connection, events: Sequence[PendingEvent], state: EventState, reason: str | None
) -> None:
    if events:
        await inbox.finish(connection, [event.event_id for event in events], state, reason)


async def _settle(
    connection: Connection, work: Work, owner: Owner | None, outcome: str, error: str | None = None
) -> Committed:
    settled = await targets.settle(connection, work.claim, has_more=work.has_more, owner=owner, error=error)
    return Committed(is_owed=settled.is_owed, outcome=outcome)
