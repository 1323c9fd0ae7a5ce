"""What operators see of what gave up: dead targets and failed events, each with what to do about it."""

from datetime import UTC, datetime, timedelta

from msgspec import Struct

from domain.context import Context
from domain.errors import FieldError, Invalid, Unknown
from domain.flows.grant import require_head
from domain.store import dead
from domain.store.dead import DeadKind, DeadRow, WaitingEvent
from domain.store.session import Connection

__all__ = ["DeadDetail", "DeadPage", "ListedDead", "list_dead", "load_dead", "show_dead"]

MOST = 100
#: Events that a detail names.
MOST_WAITING = 50
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ListedDead(Struct, frozen=True, kw_only=True):
    #: What `retry` and `discard` take: the target's Stripe id, or the event's id.
    id: str
    kind: DeadKind
    #: What is synced as one: kind → Stripe id.
    target: dict[str, str]
    #: Of an event: its type, and the object it names.
    event_type: str | None
    object_id: str | None
    error: str
    #: Failures in a row; of a target whose worker died each time, claims without an outcome.
    tries: int
    #: Unfinished events that go on when it is retried.
    waiting: int
    #: When the oldest of them was received, and how long ago by the database's clock; None: there is none.
    since: datetime | None
    age_s: float | None
    #: None: nobody of ours is known to own it.
    project: str | None
    user_id: str | None
    #: What an operator does now.
    next: str


class DeadPage(Struct, frozen=True, kw_only=True):
    data: list[ListedDead]
    next_cursor: str | None


class DeadDetail(Struct, frozen=True, kw_only=True):
    dead: ListedDead
    #: Unfinished events of its target, oldest first, at most MOST_WAITING.
    events: list[WaitingEvent]


async def list_dead(
    context: Context, project: str | None, *, cursor: str | None = None, limit: int = 50
) -> DeadPage:
    """The longest waiting first. `project` None: of every project, and what belongs to nobody known.

    Raises:
        Unknown: there is no such project.
        Invalid: a limit outside 1 to 100, a cursor that is none of ours.
    """
    if not 1 <= limit <= MOST:
        raise Invalid("This page cannot be.", errors=(FieldError("limit", f"1 to {MOST}"),))
    after = _read_cursor(cursor) if cursor is not None else None
    async with context.database.connection() as connection:
        if project is not None:
            await require_head(connection, project)
        rows = await dead.list_page(connection, project=project, after=after, limit=limit + 1)
    page = rows[:limit]
    return DeadPage(
        data=[_listed(row) for row in page],
        next_cursor=_write_cursor(page[-1]) if len(rows) > limit else None,
    )


async def show_dead(context: Context, project: str | None, dead_id: str) -> DeadDetail:
    """One of them, with the events that wait. Raises: Unknown, as `load_dead`."""
    async with context.database.snapshot() as connection:
        row = await load_dead(connection, project, dead_id)
        events = await dead.list_waiting(connection, row.target, MOST_WAITING)
    return DeadDetail(dead=_listed(row), events=events)


async def load_dead(connection: Connection, project: str | None, dead_id: str) -> DeadRow:
    """Raises: Unknown, where nothing of that name gave up, or it is not this project's."""
    # Postgres cannot hold NUL, so nothing is named like that.
    row = await dead.find_dead(connection, project, dead_id) if "\0" not in dead_id else None
    if row is None:
        of_project = "" if project is None else f" of project {project}"
        raise Unknown(
            f"No dead target and no failed event{of_project} is named {dead_id!r}: it never gave up, goes on "
            "again, or was discarded. `tollhouse dead list` or GET /api/v1/admin/dead shows what there is.",
            code="unknown_dead",
        )
    return row


def _listed(row: DeadRow) -> ListedDead:
    return ListedDead(
        id=row.id,
        kind=row.kind,
        target={row.target.kind: row.target.stripe_id},
        event_type=row.event_type,
        object_id=row.object_id,
        error=row.error or "it left no error",
        tries=row.tries,
        waiting=row.waiting,
        since=row.since,
        age_s=row.age_s,
        project=row.project,
        user_id=row.user_id,
        next=_next(row),
    )


def _next(row: DeadRow) -> str:
    return (
        f"remove the cause that the error names, then tollhouse dead retry {row.id}; "
        f"to give it up: tollhouse dead discard {row.id} --reason …"
    )


def _write_cursor(row: DeadRow) -> str:
    """Microseconds and id: nothing that a URL would have to escape."""
    return f"{((row.since or _EPOCH) - _EPOCH) // timedelta(microseconds=1)}.{row.id}"


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    micros, _, dead_id = cursor.partition(".")
    try:
        if not (micros.isascii() and micros.isdigit() and dead_id):
            raise ValueError
        return _EPOCH + timedelta(microseconds=int(micros)), dead_id
    except (ValueError, OverflowError) as error:
        what = "take the next_cursor of the page before, or leave it out"
        raise Invalid("This is no cursor of this list.", errors=(FieldError("cursor", what),)) from error
