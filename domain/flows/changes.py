"""The change feed of an app: what changed, in the order of commits, for somebody who polls.

No number given inside a transaction follows the order of commits, so rows get their position after it, from
whoever reads the feed and from the scheduler (docs/decisions/0004-positions-after-commit.md).
"""

from msgspec import Struct

from domain.context import Context
from domain.errors import Expired, FieldError, Invalid, Unknown
from domain.flows.read_catalog import find_head
from domain.rules.entitlements import refuse_unknown_app
from domain.store import changes
from domain.store.changes import Change
from domain.store.session import Connection

#: Rows numbered in one transaction: about 10 ms of the lock that every other reader of new rows waits for.
BATCH = 1_000
#: Transactions of one turn of the scheduler; the rest is its next one's.
MOST_BATCHES = 50

START, NOW = "start", "now"
_PREFIX = "c"
#: A cursor is `c` and a position; a bigint has at most 19 digits.
_MOST_DIGITS = 18


class ChangesPage(Struct, frozen=True, kw_only=True):
    """Changes after a cursor, and the cursor after them: the same one where nothing has changed since."""

    changes: list[Change]
    next_cursor: str


async def read_changes(context: Context, project: str, app: str, cursor: str, limit: int) -> ChangesPage:
    """The next changes of one app, at most `limit`.

    `cursor` is `start` (the oldest kept), `now` (nothing, and the cursor from which on nothing is missed)
    or a `next_cursor`. A change that was committed before this call is in this page or a later one.

    Raises:
        Invalid: `cursor` is none of these, or one that this database never gave.
        Expired: changes after it were deleted, so that whoever went on would miss them.
        Unknown: there is no such project, or its catalog has no such app.
        Unavailable: Postgres is away.
    """
    after = _parse_cursor(cursor)
    async with context.database.connection() as connection:
        await _refuse_unknown(connection, project, app)
        is_waiting = await changes.has_unnumbered(connection)
    if is_waiting:
        await _number_batch(context)
    async with context.database.connection() as connection:
        if after is None:
            return ChangesPage(changes=[], next_cursor=_cursor(await changes.newest_position(connection)))
        found = await changes.list_changes(connection, project, app, after, limit)
        # Asked after the list was read: what was deleted before that has raised the floor by now.
        floor = await changes.read_floor(connection, project, app)
        if cursor == START:
            after = max(after, floor)
        elif after < floor:
            raise _expired(context.settings.changes_retention_days)
        if not found:
            await _refuse_future(connection, after)
    return ChangesPage(changes=found, next_cursor=_cursor(found[-1].position if found else after))


async def number_changes(context: Context) -> int:
    """Give every committed row its position, so that nothing piles up where nobody reads.

    Answers how many.
    """
    total = 0
    for _ in range(MOST_BATCHES):
        numbered = await _number_batch(context) if await _is_waiting(context) else 0
        total += numbered
        if numbered < BATCH:
            break
    return total


async def _number_batch(context: Context) -> int:
    async with context.database.transaction() as connection:
        await changes.lock_feed(connection)
        return await changes.number_changes(connection, BATCH)


async def _is_waiting(context: Context) -> bool:
    async with context.database.connection() as connection:
        return await changes.has_unnumbered(connection)


async def _refuse_unknown(connection: Connection, project: str, app: str) -> None:
    head = await find_head(connection, project)
    if head is None:
        raise Unknown(f"There is no project {project!r}.", code="unknown_project")
    refuse_unknown_app(head.catalog, app)


async def _refuse_future(connection: Connection, after: int) -> None:
    """A cursor past everything ever given: the database was restored to a time before it was given."""
    if after > await changes.highest_given(connection):
        raise _wrong_cursor(
            "this database never gave it (was it restored from a backup?): take a new one with "
            f"cursor={NOW}, then read every user you keep again"
        )


def _cursor(position: int) -> str:
    return f"{_PREFIX}{position}"


def _parse_cursor(cursor: str) -> int | None:
    """The position to begin after; None: the newest."""
    if cursor == NOW:
        return None
    if cursor == START:
        return 0
    digits = cursor.removeprefix(_PREFIX)
    is_ours = digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS
    if not cursor.startswith(_PREFIX) or not is_ours:
        raise _wrong_cursor(f"send a next_cursor as it was answered, or {START}, or {NOW}")
    return int(digits)


def _expired(days: float) -> Expired:
    return Expired(
        "Changes after this cursor are deleted, and going on from here would miss them: take a new cursor "
        f"with cursor={NOW}; then read every user that you keep again (POST /api/v1/entitlements/query takes "
        f"500 at once); then go on from the new cursor. Changes are kept for {days:g} days.",
        code="cursor_expired",
    )


def _wrong_cursor(detail: str) -> Invalid:
    return Invalid("This is no cursor of the change feed.", errors=(FieldError("cursor", detail),))
