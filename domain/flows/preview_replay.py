"""What a replay would change: Stripe is read, answers are computed in a transaction that is rolled back."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.flows.fetch import Fetched, fetch
from domain.flows.gather_facts import gather_facts
from domain.flows.read_budget import CLAIM_WAIT_S
from domain.flows.read_catalog import find_head
from domain.flows.write_mirror import write_mirror
from domain.model import Entitlement, EntitlementSet, Facts
from domain.rules.changes import list_changed
from domain.rules.entitlements import compute
from domain.rules.timeline import decode_timeline, is_same_from, segment_at, timeline
from domain.store import customers, entitlements
from domain.store.event_lists import ListedEvent
from domain.store.money import Holder
from domain.store.session import Connection

_encode = msgspec.json.Encoder().encode

#: What `feature` is where only a later answer would be another one.
LATER = "*"


class Difference(Struct, frozen=True, kw_only=True):
    """One answer that would be another one."""

    project: str
    user_id: str
    app: str
    #: `*`: the present answers stay, a later one of the stored timeline would be another.
    feature: str
    #: None: the feature is not in the answers.
    before: Entitlement | None
    after: Entitlement | None


class Previewed(Struct, frozen=True, kw_only=True):
    #: Events whose objects were read.
    event_ids: tuple[str, ...]
    #: Events that lead to no answer, by id with the reason.
    skipped: dict[str, str]
    differences: tuple[Difference, ...]


class _Undo(Exception):
    """Ends the transaction of a preview: nothing of it is kept."""


async def preview(context: Context, events: Sequence[ListedEvent]) -> Previewed:
    """Read from Stripe what the events name, and compare the answers it would give with the stored ones.

    Writes nothing: rows are written inside a transaction that is always rolled back, under the user's lock.

    Raises:
        Throttled: the read budget has no slot. Unavailable: Stripe or Postgres is away.
    """
    read: list[str] = []
    skipped: dict[str, str] = {}
    differences: list[Difference] = []
    by_customer: dict[str, list[ListedEvent]] = defaultdict(list)
    for event in events:
        if (why := _without_answer(event)) is not None:
            skipped[event.event_id] = why
        else:
            by_customer[str(event.target_ref)].append(event)
    for customer_id, own in sorted(by_customer.items()):
        objects = {(str(event.object_kind), str(event.object_id)) for event in own}
        fetched = await fetch(context, objects, max_wait_s=CLAIM_WAIT_S)
        broken = {one.event_id: error for one in own if (error := _error(fetched, one)) is not None}
        skipped.update(broken)
        read += [event.event_id for event in own if event.event_id not in broken]
        differences += await _compare(context, customer_id, fetched)
    return Previewed(event_ids=tuple(read), skipped=skipped, differences=tuple(differences))


def _without_answer(event: ListedEvent) -> str | None:
    if event.target_kind is None:
        return f"{event.state}: no target ({event.reason})"
    if event.target_kind != "customer":
        return f"synced as a {event.target_kind} by itself: no user's answer depends on it yet"
    return "foreign: its customer is linked to nobody" if event.user_id is None else None


def _error(fetched: Fetched, event: ListedEvent) -> str | None:
    return fetched.error_of((str(event.object_kind), str(event.object_id)))


async def _compare(context: Context, customer_id: str, fetched: Fetched) -> list[Difference]:
    found: list[Difference] = []
    try:
        async with context.database.transaction() as connection:
            found = await _differences(context, connection, customer_id, fetched)
            raise _Undo
    except _Undo:
        return found


async def _differences(
    context: Context, connection: Connection, customer_id: str, fetched: Fetched
) -> list[Difference]:
    owner = await customers.find_owner(connection, customer_id)
    if owner is None or owner.is_erased:
        return []
    await customers.lock_user(connection, owner.user_key)
    holder = Holder(project=owner.project, user_key=owner.user_key, customer_id=customer_id)
    await write_mirror(connection, holder, fetched)
    # After the mirror: a test clock may have moved.
    user = await customers.lock_user(connection, owner.user_key)
    now = user.clock_at or await context.now(connection)
    head = await find_head(connection, user.project)
    if head is None:
        return []
    facts = await gather_facts(connection, user.project, user.user_key)
    stored = {one.app: one for one in await entitlements.list_sets(connection, user.project, user.user_key)}
    differences: list[Difference] = []
    for app in sorted(head.catalog.apps):
        new = timeline(facts, head.catalog, app, now)
        if app in stored:
            kept = decode_timeline(_encode(stored[app].segments))
            before = segment_at(kept, now)[1].entitlements
            is_same = is_same_from(kept, new, now)
        else:
            before = compute(Facts(), head.catalog, app, now)
            is_same = before == new[0].entitlements
        if not is_same:
            differences += _list(user.project, user.user_id, app, before, new[0].entitlements)
    return differences


def _list(
    project: str, user_id: str, app: str, before: EntitlementSet, after: EntitlementSet
) -> list[Difference]:
    changed = list_changed(before, after) or [LATER]
    return [
        Difference(
            project=project,
            user_id=user_id,
            app=app,
            feature=feature,
            before=before.get(feature),
            after=after.get(feature),
        )
        for feature in changed
    ]
