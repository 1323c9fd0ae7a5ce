"""Write a page: what each customer has of it, under the locks of a sync's COMMIT.

A page is older than whatever was synced since it was read. With the customer's target locked, events that
wait or were done since then tell: such a customer is not written, and its sync is wished for instead.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from domain.flows.backfill.step import Step, all_of
from domain.flows.book_revenue import book_revenue
from domain.flows.fetch import Fetched
from domain.flows.recompute import Recomputed, before_commit, publish, recompute_user
from domain.flows.set_moments import set_moments
from domain.flows.write_mirror import write_mirror
from domain.model import NewEvent, TargetRef
from domain.rules.events import internal_event
from domain.store import customers, import_customers, inbox, list_pages
from domain.store.import_customers import LinkedCustomer
from domain.store.money import Holder
from domain.store.session import Connection
from domain.telemetry import get_logger

log = get_logger()

#: Customers of one transaction: a delivery for one of them waits as long as it takes, some 0.1 s.
WRITTEN_AT_ONCE = 10
#: A list of Stripe's may be behind a read of one object: what was synced so shortly before may be newer, too.
LAG_S = 60
CAUSE = "import"


class Part(Struct, frozen=True, kw_only=True):
    """What a page holds of one customer."""

    customer_id: str
    fetched: Fetched
    #: Something of it cannot be understood: a sync says so, and sets it aside.
    is_broken: bool = False


async def write_parts(step: Step, parts: Sequence[Part], read_at: datetime) -> tuple[int, ...]:
    """Write all of a page. A process that dies in between has written some of it; twice is harmless.

    `read_at`: the database's clock before the page was asked for. Answers the targets of customers that are
    left to a sync, which may be rung.
    """
    ordered = sorted(parts, key=lambda part: part.customer_id)
    chunks = [ordered[at : at + WRITTEN_AT_ONCE] for at in range(0, len(ordered), WRITTEN_AT_ONCE)]
    owed = await all_of([_write_chunk(step, chunk, read_at) for chunk in chunks])
    await step.context.faults.reach("backfill.written")
    return tuple(target for one in owed for target in one)


async def count_left(step: Step) -> int:
    """Customers that this import has left to a sync and that its counts lack, to be asked at a stage's end.

    The inbox says which: one that several pages left is one customer, and so is one of a step that was taken
    again. One whose sync somebody else had wished for is not counted.
    """
    async with step.context.database.connection() as connection:
        left = await list_pages.count_left(connection, step.row.project, step.row.started_at)
    return left - step.row.counts.left_to_sync


async def _write_chunk(step: Step, parts: Sequence[Part], page_read_at: datetime) -> tuple[int, ...]:
    ids = [part.customer_id for part in parts]
    async with step.context.database.transaction() as connection:
        await step.hold(connection)
        await list_pages.lock_targets(connection, ids)
        left, marked = await _leave(connection, parts, page_read_at)
        known = await import_customers.list_owners(connection, ids)
        # Asked again: whoever erases a user holds these locks.
        owners = {customer_id: owner for customer_id, owner in known.items() if not owner.is_erased}
        mine = [
            (part, owners[part.customer_id])
            for part in parts
            if part.customer_id not in left and part.customer_id in owners
        ]
        for user_key in sorted({owner.user_key for _, owner in mine}):
            await customers.lock_user(connection, user_key)
        for part, owner in mine:
            await _write_part(step, connection, part, owner)
        recomputed = await _recompute(step, connection, mine)
        read_at = before_commit()
    await publish(step.context, recomputed, read_at)
    return marked


async def _leave(
    connection: Connection, parts: Sequence[Part], page_read_at: datetime
) -> tuple[set[str], tuple[int, ...]]:
    """Customers that a sync has to write, each with a wish for it; and their targets."""
    since = page_read_at - timedelta(seconds=LAG_S)
    busy = await list_pages.list_busy(connection, [part.customer_id for part in parts], since)
    wished = {one.customer_id for one in busy if one.has_wish}
    left = {one.customer_id for one in busy} | {part.customer_id for part in parts if part.is_broken}
    events = [_wish(customer_id) for customer_id in sorted(left - wished)]
    if not events:
        return left, ()
    marked = await inbox.mark(connection, sorted(events, key=lambda event: event.event_id))
    return left, marked.target_ids


def _wish(customer_id: str) -> NewEvent:
    target = TargetRef("customer", customer_id)
    return internal_event(
        f"th_{uuid.uuid4().hex}", "import", "customer_all", customer_id, target, cause="changed_meanwhile"
    )


async def _write_part(step: Step, connection: Connection, part: Part, owner: LinkedCustomer) -> None:
    holder = Holder(project=owner.project, user_key=owner.user_key, customer_id=part.customer_id)
    await write_mirror(connection, holder, part.fetched)
    await book_revenue(connection, holder, part.fetched)
    target = TargetRef("customer", part.customer_id)
    await set_moments(step.context, connection, target, (), part.fetched)


async def _recompute(
    step: Step, connection: Connection, mine: Sequence[tuple[Part, LinkedCustomer]]
) -> list[Recomputed]:
    """Users who gained a source, or who have answers that what was written may change.

    Of the others nothing was answered yet, and money alone gives nothing.
    """
    sources = {owner.user_key for part, owner in mine if _gives_access(part.fetched)}
    others = {owner.user_key for _, owner in mine} - sources
    answered = (
        await list_pages.list_answered(connection, step.row.project, sorted(others)) if others else set()
    )
    return [
        await recompute_user(step.context, connection, user_key, cause=CAUSE)
        for user_key in sorted(sources | answered)
    ]


def _gives_access(fetched: Fetched) -> bool:
    """An invoice may be a purchase by itself, where no subscription is on it."""
    return bool(
        fetched.subscriptions
        or any(one.purchases for one in fetched.sessions.values())
        or any(one.subscription_id is None for one in fetched.invoices.values())
    )
