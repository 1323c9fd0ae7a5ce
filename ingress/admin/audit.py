"""`GET /api/v1/admin/audit`: who did what, and why."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta
from starlette.responses import Response

from domain.flows.list_audit import AuditPage, AuditQuery, list_audit
from ingress.operation import Call, Example, operation
from ingress.wire import PageQuery, UserId

#: As it stands in the log. Postgres cannot store NUL.
Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00]*\Z")]
Instant = Annotated[datetime, Meta(tz=True, description="an instant such as 2026-11-22T09:00:00Z")]


class ActionsQuery(PageQuery, frozen=True):
    #: Name of the key, with whom it acted for: `support:anna`; of a terminal `cli:anna`.
    actor: Name | None = None
    #: Such as `grant.create`, or the noun alone: `grant`.
    action: Name | None = None
    #: Of this user of the project.
    user_id: UserId | None = None
    since: Instant | None = None
    until: Instant | None = None


@operation(
    "GET",
    "/api/v1/admin/audit",
    summary="What operators did, newest first",
    says=(
        "A key of one project sees that project's actions; those of the whole deployment are for operators "
        "of all projects."
    ),
    scope="admin:read",
    of="all",
    answers={200: AuditPage},
    refuses=("unknown_project", "unknown_user"),
    example=Example(query={"action": "grant", "limit": "10"}),
)
async def get_audit(call: Call[ActionsQuery, None]) -> Response:
    """200 with a page."""
    asked = call.query
    query = AuditQuery(
        project=call.project_or_all,
        user_id=asked.user_id,
        actor=asked.actor,
        action=asked.action,
        since=asked.since,
        until=asked.until,
    )
    return call.answer(await list_audit(call.context, query, cursor=asked.cursor, limit=asked.limit))


ROUTES = [get_audit]
