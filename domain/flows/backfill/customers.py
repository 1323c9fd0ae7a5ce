"""The stages that link: pages of the account's customers, then mapped ones that no list shows."""

import uuid
from collections.abc import Mapping as Mapped
from collections.abc import Sequence

from msgspec import Struct

from domain.errors import Invalid, ObjectMissing
from domain.flows.backfill.mapping import user_named
from domain.flows.backfill.step import Step, Taken, all_of
from domain.flows.backfill.write import count_left
from domain.flows.link import link_customer
from domain.flows.make_user import erased_among, lock_or_make_user
from domain.flows.reconcile.look import Answer
from domain.flows.record_action import Operator, record_action
from domain.model import TargetRef
from domain.rules.shapes import parse_customer
from domain.store import checkouts, import_customers, inbox, links, list_pages
from domain.store.import_customers import LinkedCustomer
from domain.store.imports import ImportCounts
from domain.store.session import Connection
from domain.stripe_gateway import PAGE

#: Links of one transaction: a delivery for one of these customers waits as long as it takes, some 50 ms.
LINKED_AT_ONCE = 10
#: Mapped customers that no list shows, asked for by id in one step.
BY_ID = 20
#: With none found of more than so many the map is another account's, and reading each would take hours.
MOST_STRANGERS = 20
USER_ERASED = "its user was erased: delete the customer in Stripe, too"


class _Pair(Struct, frozen=True):
    customer_id: str
    user_id: str


class _Sorted(Struct, kw_only=True):
    """What becomes of the customers of one page."""

    to_link: list[_Pair] = []
    unmapped: list[tuple[str, str | None, str | None]] = []
    #: Were their user's before.
    already: list[str] = []
    #: Of those, not by this import.
    known: int = 0


async def take_customers(step: Step) -> Taken:
    """One page of the account's customers, newest first."""
    after = {"starting_after": step.row.cursor} if step.row.cursor else {}
    page = await step.account.read("/v1/customers", limit=PAGE, **after)
    answers: list[Answer] = page["data"]
    found = await _sort(step, answers)
    owed = await _link_all(step, found.to_link, read_all=False)
    async with step.context.database.transaction() as connection:
        await step.hold(connection)
        await import_customers.add_customers(connection, step.row.import_id, found.unmapped)
        await import_customers.remove_customers(connection, step.row.import_id, found.already)
        waiting = await import_customers.count_waiting(connection, step.row.import_id)
    counts = step.row.counts
    done = counts.linked + counts.already + len(found.to_link) + found.known
    return Taken(
        cursor=str(answers[-1]["id"]) if page.get("has_more") and answers else None,
        counts=ImportCounts(
            customers=len(answers),
            linked=len(found.to_link),
            already=found.known,
            oldest=min((int(one["created"]) for one in answers), default=None),
        ),
        # Metadata says of no customer that it will come.
        share=done / (done + waiting) if waiting else None,
        owed=owed,
    )


async def _sort(step: Step, answers: Sequence[Answer]) -> _Sorted:
    ids = [str(one["id"]) for one in answers]
    async with step.context.database.connection() as connection:
        waiting = await import_customers.find_waiting(connection, step.row.import_id, ids)
        owners = await import_customers.list_owners(connection, ids)
    found = _Sorted()
    for one in answers:
        _place(step, one, waiting, owners.get(str(one["id"])), found)
    found.to_link, gone = await _without_erased(step, found.to_link)
    found.unmapped += gone
    return found


async def _without_erased(
    step: Step, pairs: Sequence[_Pair]
) -> tuple[list[_Pair], list[tuple[str, str | None, str | None]]]:
    """Whoever was erased does not come back by a map, and is not named in what is left of it."""
    async with step.context.database.connection() as connection:
        names = {pair.user_id for pair in pairs}
        gone = await erased_among(step.context, connection, step.row.project, names)
    kept = [pair for pair in pairs if pair.user_id not in gone]
    return kept, [(pair.customer_id, None, USER_ERASED) for pair in pairs if pair.user_id in gone]


def _place(
    step: Step, answer: Answer, waiting: Mapped[str, str], owner: LinkedCustomer | None, found: _Sorted
) -> None:
    customer_id = str(answer["id"])
    user_id, reason = user_named(step.row.mapping, answer, waiting)
    if owner is None and user_id is not None:
        found.to_link.append(_Pair(customer_id, user_id))
    elif owner is None:
        found.unmapped.append((customer_id, None, reason))
    elif owner.is_erased:
        found.unmapped.append((customer_id, None, USER_ERASED))
    elif user_id is not None and (owner.project, owner.user_id) != (step.row.project, user_id):
        found.unmapped.append((customer_id, user_id, _taken(step, owner)))
    elif user_id is not None:
        found.already.append(customer_id)
        # What an attempt that died has linked was counted by it.
        found.known += owner.linked_at < step.row.started_at


def _taken(step: Step, owner: LinkedCustomer) -> str:
    if owner.project != step.row.project:
        return f"belongs to project {owner.project} already"
    return "belongs to another user already: `tollhouse find` says to whom"


async def _link_all(step: Step, pairs: Sequence[_Pair], *, read_all: bool) -> tuple[int, ...]:
    """Answers the targets that are owed a sync."""
    chunks = _chunks(pairs)
    owed = await all_of([_link_some(step, chunk, read_all=read_all) for chunk in chunks])
    return tuple(target for some in owed for target in some)


def _chunks(pairs: Sequence[_Pair]) -> list[list[_Pair]]:
    """The customers of a user together, in the order of the list: the newest is for new checkouts."""
    by_user: dict[str, list[_Pair]] = {}
    for pair in pairs:
        by_user.setdefault(pair.user_id, []).append(pair)
    chunks: list[list[_Pair]] = [[]]
    for of_user in by_user.values():
        if len(chunks[-1]) >= LINKED_AT_ONCE:
            chunks.append([])
        chunks[-1] += of_user
    return chunks if pairs else []


async def _link_some(step: Step, pairs: Sequence[_Pair], *, read_all: bool) -> list[int]:
    ids = sorted(pair.customer_id for pair in pairs)
    owed: list[int] = []
    async with step.context.database.transaction() as connection:
        # All targets before all users, each in one order: as everywhere.
        for customer_id in ids:
            await inbox.raise_target(connection, TargetRef("customer", customer_id))
        keys = {
            user_id: await lock_or_make_user(step.context, connection, step.row.project, user_id)
            for user_id in sorted({pair.user_id for pair in pairs})
        }
        owners = await import_customers.list_owners(connection, ids)
        strangers = [pair for pair in pairs if pair.customer_id not in owners]
        for pair in strangers:
            owed += await _link(connection, step, pair, keys[pair.user_id], read_all=read_all)
        await import_customers.remove_customers(connection, step.row.import_id, ids)
        await list_pages.settle_unowed(connection, ids)
        await step.count_linked(connection, len(strangers))
    await step.context.faults.reach("backfill.linked")
    return owed


async def _link(
    connection: Connection, step: Step, pair: _Pair, user_key: int, *, read_all: bool
) -> list[int]:
    project, ref = step.row.project, uuid.uuid4()
    is_primary = await checkouts.find_primary_customer(connection, project, user_key) is None
    await links.insert_unlinked(connection, ref, project, user_key, is_primary=is_primary)
    linked = await link_customer(connection, pair.customer_id, ref, read_all=read_all, source="import")
    await record_action(
        connection,
        Operator(actor=step.actor),
        action="customer.import",
        project=project,
        user_key=user_key,
        subject=("customer", pair.customer_id),
        reason=None,
        details={"import": step.row.import_id, "is_primary": is_primary},
    )
    return [linked.target_id] if read_all or linked.reopened else []


async def take_absent(step: Step) -> Taken:
    """Mapped customers that no list shows: deleted, another account's, or on a test clock."""
    async with step.context.database.connection() as connection:
        waiting = await import_customers.list_waiting(
            connection, step.row.import_id, step.row.cursor or "", BY_ID
        )
        counted = await import_customers.count_waiting(connection, step.row.import_id)
    _refuse_other_account(step, counted)
    to_link: list[_Pair] = []
    unmapped: list[tuple[str, str | None, str | None]] = []
    for one in waiting:
        reason = await _why_absent(step, one.customer_id)
        if reason is None and one.user_id is not None:
            to_link.append(_Pair(one.customer_id, one.user_id))
        else:
            unmapped.append((one.customer_id, one.user_id, reason))
    to_link, gone = await _without_erased(step, to_link)
    unmapped += gone
    # No list shows what they have, either.
    owed = await _link_all(step, to_link, read_all=True)
    async with step.context.database.transaction() as connection:
        await step.hold(connection)
        await import_customers.add_customers(connection, step.row.import_id, unmapped)
    cursor = waiting[-1].customer_id if len(waiting) == BY_ID else None
    left = await count_left(step) if cursor is None else 0
    return Taken(cursor=cursor, counts=ImportCounts(linked=len(to_link), left_to_sync=left), owed=owed)


def _refuse_other_account(step: Step, waiting: int) -> None:
    counts = step.row.counts
    if counts.linked + counts.already == 0 and waiting > MOST_STRANGERS:
        raise Invalid(
            f"None of the {waiting} customers of the map is in this Stripe account and mode, which has "
            f"{counts.customers}: check TOLLHOUSE_STRIPE_SECRET_KEY, and which account the map is of.",
            code="lines_invalid",
        )


async def _why_absent(step: Step, customer_id: str) -> str | None:
    """None: it is there."""
    try:
        answer = await step.account.read(f"/v1/customers/{customer_id}")
    except ObjectMissing:
        return "Stripe has no such customer in this account and mode"
    return "Stripe has deleted it" if parse_customer(answer).is_deleted else None
