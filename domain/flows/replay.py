"""Replay: events get their turn again. Harmless however often, because an event is only a hint."""

import zlib
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import groupby

from msgspec import Struct

from domain.context import Context
from domain.errors import Unknown
from domain.flows.record_action import NOBODY, Operator, record_action
from domain.model import EventState, TargetRef
from domain.rules.events import BodyRefused, Deployment, classify, read_envelope
from domain.store import deployment as deployments
from domain.store import inbox
from domain.store.inbox import EventRow
from domain.store.session import Connection

#: Events of one transaction: their targets stay locked until it ends.
PER_TRANSACTION = 100

#: What `events requeue` takes without being told which: work that is not done.
UNPROCESSED = (EventState.FAILED, EventState.PENDING)


class Requeued(Struct, frozen=True, kw_only=True):
    #: Events that are pending again.
    event_ids: tuple[str, ...]
    #: Events left as they are, by id with the reason.
    skipped: dict[str, str]


class Hint(Struct, frozen=True, kw_only=True):
    """An event with the target that is raised for it."""

    event_id: str
    target: TargetRef
    object_kind: str
    object_id: str
    #: The row never had a target: it gets this one.
    is_new: bool


async def requeue(context: Context, event_ids: Sequence[str] = (), operator: Operator = NOBODY) -> Requeued:
    """Give events their turn again: the named ones, or every failed or pending one.

    Processed ones are skipped: nothing of theirs is owed. A row without a target gets the one today's type
    table finds in its payload. Each transaction has its row in the audit log.

    Raises:
        Unknown: a named event is not in the inbox.
        Unavailable: Postgres is away; what was done until then stays done.
    """
    done: list[str] = []
    skipped: dict[str, str] = {}
    async for rows in _batches(context, event_ids):
        ready = [row for row in rows if row.state != EventState.PROCESSED]
        skipped.update({row.event_id: "already processed" for row in rows if row not in ready})
        async with context.database.transaction() as connection:
            hints = await with_targets(connection, ready, skipped)
            for target, group in groupby(hints, key=lambda hint: hint.target):
                await inbox.raise_target(connection, target)
                done.extend([await reopen_hint(connection, hint) for hint in group])
            if hints:
                await _record(connection, operator, [hint.event_id for hint in hints])
            await context.faults.reach("replay.reopened")
    return Requeued(event_ids=tuple(done), skipped=skipped)


async def _record(connection: Connection, operator: Operator, event_ids: list[str]) -> None:
    await record_action(
        connection,
        operator,
        action="events.requeue",
        project=None,
        user_key=None,
        subject=("event", event_ids[0] if len(event_ids) == 1 else "*"),
        reason=None,
        details={"events": event_ids},
    )


async def _batches(context: Context, event_ids: Sequence[str]) -> AsyncIterator[list[EventRow]]:
    if event_ids:
        for start in range(0, len(event_ids), PER_TRANSACTION):
            yield await _load(context, event_ids[start : start + PER_TRANSACTION])
        return
    after = ""
    while True:
        async with context.database.connection() as connection:
            rows = await inbox.list_unprocessed(
                connection, [state.value for state in UNPROCESSED], after, PER_TRANSACTION
            )
        if not rows:
            return
        yield rows
        after = rows[-1].event_id


async def _load(context: Context, event_ids: Sequence[str]) -> list[EventRow]:
    rows: list[EventRow] = []
    async with context.database.connection() as connection:
        for event_id in event_ids:
            found = await inbox.find_event(connection, event_id)
            if found is None:
                raise Unknown(
                    f"There is no event {event_id}: `tollhouse events list` shows the newest ones.",
                    code="unknown_event",
                )
            rows.append(found[0])
    return rows


async def with_targets(
    connection: Connection, rows: Iterable[EventRow], skipped: dict[str, str]
) -> list[Hint]:
    """Rows with the target they belong to, in the order in which targets are locked; locks nothing yet."""
    found: list[Hint] = []
    for row in rows:
        hint = _kept_hint(row) or await _classified_hint(connection, row)
        if hint is None:
            skipped[row.event_id] = f"{row.state}: no target ({row.reason})"
        else:
            found.append(hint)
    return sorted(found, key=lambda hint: (hint.target.kind == "customer", hint.target, hint.event_id))


async def reopen_hint(connection: Connection, hint: Hint) -> str:
    """The event is pending again, its target being locked. Answers its id."""
    if hint.is_new:
        await inbox.give_target(connection, hint.event_id, hint.object_kind, hint.object_id, hint.target)
    else:
        # A row that FORWARD moved meanwhile is pending on its customer, which FORWARD has raised.
        await inbox.reopen(connection, [hint.event_id], hint.target)
    return hint.event_id


def _kept_hint(row: EventRow) -> Hint | None:
    if row.target_kind is None or row.target_ref is None:
        return None
    return Hint(
        event_id=row.event_id,
        target=TargetRef(row.target_kind, row.target_ref),
        object_kind=row.object_kind or "",
        object_id=row.object_id or "",
        is_new=False,
    )


async def _classified_hint(connection: Connection, row: EventRow) -> Hint | None:
    """Ask today's type table about a row that never had a target."""
    found = await inbox.find_event(connection, row.event_id)
    if found is None or found[1] is None:
        return None
    deployment = await deployments.find_deployment(connection)
    known = Deployment(deployment.account_id, deployment.mode, deployment.env) if deployment else None
    try:
        event = classify(read_envelope(zlib.decompress(found[1])), known)
    except BodyRefused:
        return None
    if event.target is None or event.object_kind is None or event.object_id is None:
        return None
    return Hint(
        event_id=row.event_id,
        target=event.target,
        object_kind=event.object_kind,
        object_id=event.object_id,
        is_new=True,
    )
