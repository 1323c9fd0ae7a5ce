"""`GET /api/v1/entitlements/changes`: what changed for an app, for a caller that polls."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct
from starlette.responses import Response

from domain.flows.changes import START, read_changes
from ingress.operation import Call, Example, operation
from ingress.wire import MAX_LIMIT, Limit, QueryStruct

Cursor = Annotated[str, Meta(description="`start`, `now`, or a next_cursor as it was answered")]


class ChangesQuery(QueryStruct, frozen=True):
    #: `start`: from the oldest change that is kept.
    cursor: Cursor = START
    limit: Limit = MAX_LIMIT


class ChangeAnswer(Struct, frozen=True, kw_only=True):
    """A user has a newer version: read it, and drop whatever is lower."""

    user_id: str
    version: int
    #: Features whose answer is another than before; none where only something later changed.
    changed: list[str]
    #: The type of the event that led to it, `grant`, `revoke`, `catalog` or `boundary`.
    cause: str
    recorded_at: datetime


class ChangesAnswer(Struct, frozen=True, kw_only=True):
    data: list[ChangeAnswer]
    #: Always there, so that a poller goes on from it.
    next_cursor: str


@operation(
    "GET",
    "/api/v1/entitlements/changes",
    summary="What changed in the app, in the order of commits",
    scope="entitlements:read",
    of="app",
    answers={200: ChangesAnswer},
    refuses=("unknown_project", "unknown_app", "cursor_expired"),
    example=Example(query={"limit": "10"}),
)
async def list_changes(call: Call[ChangesQuery, None]) -> Response:
    """200 with a page, empty where nothing changed."""
    page = await read_changes(call.context, call.project, call.app, call.query.cursor, call.query.limit)
    data = [
        ChangeAnswer(
            user_id=change.user_id,
            version=change.version,
            changed=list(change.changed),
            cause=change.cause,
            recorded_at=change.recorded_at,
        )
        for change in page.changes
    ]
    return call.answer(ChangesAnswer(data=data, next_cursor=page.next_cursor))


ROUTES = [list_changes]
