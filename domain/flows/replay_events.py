"""Replay: done events get their turn again too, a page at a time; or what that would change, unchanged.

An event is only a hint, so on a healthy deployment a replay changes no answer: the preview is empty, and that
is the standing proof of it.
"""

from collections.abc import Sequence
from itertools import groupby

from msgspec import Struct

from domain.context import Context
from domain.errors import FieldError, Invalid
from domain.flows.idempotency import Keep, keep_nothing
from domain.flows.inspect_events import (
    MOST,
    EventQuery,
    read_cursor,
    resolve_query,
    unknown_event,
    write_cursor,
)
from domain.flows.preview_replay import Difference, preview
from domain.flows.record_action import Operator, record_action
from domain.flows.replay import reopen_hint, with_targets
from domain.store import event_lists, inbox
from domain.store.event_lists import EventFilter, ListedEvent
from domain.store.session import Connection
from domain.telemetry import get_logger

__all__ = ["MOST", "ReplayWish", "Replayed", "replay"]

log = get_logger()


class ReplayWish(Struct, frozen=True, kw_only=True):
    """Named events, or every one that the query takes, newest first."""

    event_ids: tuple[str, ...] = ()
    query: EventQuery = EventQuery()
    cursor: str | None = None
    #: Events of one call.
    limit: int = MOST
    #: Read Stripe and say which answers would change; write nothing.
    dry_run: bool = False


class Replayed(Struct, frozen=True, kw_only=True):
    dry_run: bool
    #: Events that are pending again; of a dry run, those that would be.
    event_ids: tuple[str, ...]
    #: Events left as they are, by id with the reason.
    skipped: dict[str, str]
    #: Of a dry run: answers that would be others.
    differences: tuple[Difference, ...]
    #: Where to go on; None: this was the last page.
    next_cursor: str | None


async def replay(
    context: Context,
    wish: ReplayWish,
    operator: Operator,
    *,
    project: str | None = None,
    keep: Keep = keep_nothing,
) -> Replayed:
    """One page of events get their turn again, processed ones too: one transaction, one audit row.

    Harmless however often. `project` None: whoever's they are; else those of this project alone.

    Raises:
        Invalid: too many events, a limit or cursor that cannot be, ids beside a filter.
        Unknown: a named event is not in the inbox, or not this project's; no such project or user.
        Unavailable: Postgres is away, or, of a dry run, Stripe or its read budget.
    """
    _refuse_impossible(wish)
    if wish.dry_run:
        async with context.database.snapshot() as connection:
            rows, next_cursor = await _load(connection, wish, project)
        previewed = await preview(context, rows)
        return Replayed(
            dry_run=True,
            event_ids=previewed.event_ids,
            skipped=previewed.skipped,
            differences=previewed.differences,
            next_cursor=next_cursor,
        )
    async with context.database.transaction() as connection:
        rows, next_cursor = await _load(connection, wish, project)
        done, skipped, raised = await _reopen(connection, rows)
        replayed = Replayed(
            dry_run=False,
            event_ids=tuple(done),
            skipped=skipped,
            differences=(),
            next_cursor=next_cursor,
        )
        await _record(connection, operator, wish, project, replayed)
        await keep(connection, replayed)
    log.info("events_replayed", events=len(done), targets=raised, skipped=len(skipped))
    return replayed


async def _load(
    connection: Connection, wish: ReplayWish, project: str | None
) -> tuple[list[ListedEvent], str | None]:
    if wish.event_ids:
        rows = []
        for event_id in dict.fromkeys(wish.event_ids):
            found = (
                await event_lists.find_listed(connection, event_id, project) if "\0" not in event_id else None
            )
            if found is None:
                raise unknown_event(event_id)
            rows.append(found)
        return rows, None
    before = read_cursor(wish.cursor) if wish.cursor is not None else None
    wanted = await resolve_query(connection, wish.query)
    rows = await event_lists.list_filtered(connection, wanted, before=before, limit=wish.limit + 1)
    page = rows[: wish.limit]
    return page, write_cursor(page[-1]) if len(rows) > wish.limit else None


async def _reopen(
    connection: Connection, rows: Sequence[ListedEvent]
) -> tuple[list[str], dict[str, str], int]:
    """(events reopened, events skipped with the reason, how many targets are owed a sync for them)."""
    skipped: dict[str, str] = {}
    done: list[str] = []
    raised = 0
    hints = await with_targets(connection, rows, skipped)
    for target, group in groupby(hints, key=lambda hint: hint.target):
        await inbox.raise_target(connection, target)
        raised += 1
        done.extend([await reopen_hint(connection, hint) for hint in group])
    return done, skipped, raised


async def _record(
    connection: Connection, operator: Operator, wish: ReplayWish, project: str | None, replayed: Replayed
) -> None:
    """What was asked for, without the user's name; and how far it came."""
    wanted = await resolve_query(connection, wish.query)
    asked = {name: getattr(wanted, name) for name in EventFilter.__struct_fields__ if name != "user_key"}
    await record_action(
        connection,
        operator,
        action="events.replay",
        project=project or wanted.project,
        user_key=wanted.user_key,
        subject=("event", wish.event_ids[0] if len(wish.event_ids) == 1 else "*"),
        reason=None,
        details={
            "filter": {name: value for name, value in asked.items() if value is not None},
            "events": replayed.event_ids,
            "skipped": len(replayed.skipped),
            "next_cursor": replayed.next_cursor,
        },
    )


def _refuse_impossible(wish: ReplayWish) -> None:
    wrong = []
    if not 1 <= wish.limit <= MOST:
        wrong.append(FieldError("limit", f"1 to {MOST}"))
    if len(wish.event_ids) > MOST:
        wrong.append(FieldError("event_ids", f"at most {MOST} in one call"))
    if wish.event_ids and (wish.cursor is not None or wish.query != EventQuery(project=wish.query.project)):
        wrong.append(FieldError("event_ids", "name events, or a filter: not both"))
    if wrong:
        raise Invalid("This cannot be replayed.", errors=tuple(wrong))
