"""What operators did: the audit log, newest first, as somebody reads it who wants to know who and why."""

from datetime import datetime

from msgspec import Raw, Struct

from domain.context import Context
from domain.errors import FieldError, Invalid, Unknown
from domain.flows.grant import refuse_impossible_user, require_head
from domain.store import audit, customers
from domain.store.audit import AuditFilter, AuditRow
from domain.store.session import Connection

__all__ = ["AuditPage", "AuditQuery", "ListedAction", "list_audit"]

MOST = 100
#: Digits of an id that Postgres can hold for sure.
CURSOR_LENGTH = 18


class AuditQuery(Struct, frozen=True, kw_only=True):
    """Which actions; None: whatever it is."""

    #: None: of every project, and of the whole deployment.
    project: str | None = None
    #: Of this user of the project.
    user_id: str | None = None
    actor: str | None = None
    #: Such as grant.create, or grant for all about grants.
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class ListedAction(Struct, frozen=True, kw_only=True):
    id: int
    at: datetime
    #: Name of the key, with whom it acted for; `cli:…` from a terminal.
    actor: str
    #: noun.verb, such as grant.create.
    action: str
    #: None: of the whole deployment.
    project: str | None
    #: None: it concerned no one user.
    user_id: str | None
    #: What was named: kind → id.
    subject: dict[str, str]
    #: The operator's words; None: none were asked for.
    reason: str | None
    #: What was asked for and what it changed; its fields are the action's own.
    details: Raw
    #: None: from a terminal.
    request_id: str | None


class AuditPage(Struct, frozen=True, kw_only=True):
    data: list[ListedAction]
    next_cursor: str | None


async def list_audit(
    context: Context, query: AuditQuery, *, cursor: str | None = None, limit: int = 50
) -> AuditPage:
    """Actions, newest first. `cursor` is the `next_cursor` of the page before.

    Raises:
        Unknown: there is no such project or user.
        Invalid: a user without its project, a limit outside 1 to 100, a cursor that is none of ours.
        Unavailable: Postgres is away.
    """
    if not 1 <= limit <= MOST:
        raise Invalid("This page cannot be.", errors=(FieldError("limit", f"1 to {MOST}"),))
    before = _read_cursor(cursor) if cursor is not None else None
    async with context.database.connection() as connection:
        wanted = await _resolve(connection, query)
        rows = await audit.list_entries(connection, wanted, before=before, limit=limit + 1)
    page = rows[:limit]
    return AuditPage(
        data=[_listed(row) for row in page], next_cursor=str(page[-1].id) if len(rows) > limit else None
    )


async def _resolve(connection: Connection, query: AuditQuery) -> AuditFilter:
    if query.project is not None:
        await require_head(connection, query.project)
    return AuditFilter(
        project=query.project,
        user_key=None
        if query.user_id is None
        else await _find_user(connection, query.project, query.user_id),
        actor=query.actor,
        action=query.action,
        since=query.since,
        until=query.until,
    )


async def _find_user(connection: Connection, project: str | None, user_id: str) -> int:
    if project is None:
        said = FieldError("project", "name the project that the user belongs to")
        raise Invalid("A user is named by its project and its id.", errors=(said,))
    refuse_impossible_user(user_id)
    user_key = await customers.find_user_key(connection, project, user_id)
    if user_key is None:
        raise Unknown(
            f"Nobody knows a user {user_id!r} in project {project}. `tollhouse find` looks in every project.",
            code="unknown_user",
        )
    return user_key


def _listed(row: AuditRow) -> ListedAction:
    return ListedAction(
        id=row.id,
        at=row.at,
        actor=row.actor,
        action=row.action,
        project=row.project,
        user_id=row.user_id,
        subject={row.subject_kind: row.subject_id},
        reason=row.reason,
        details=row.details,
        request_id=row.request_id,
    )


def _read_cursor(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= CURSOR_LENGTH):
        what = "take the next_cursor of the page before, or leave it out"
        raise Invalid("This is no cursor of this list.", errors=(FieldError("cursor", what),))
    return int(cursor)
