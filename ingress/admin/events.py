"""`GET /api/v1/admin/events`, `GET …/{id}`, `POST …/replay`: what was delivered, and its turn again."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta
from starlette.responses import Response

from domain.flows.inspect_events import EventDetail, EventPage, EventQuery, list_events, show_event
from domain.flows.replay_events import MOST, Replayed, ReplayWish, replay
from ingress.operation import Call, Example, operation
from ingress.repeating import answer_once
from ingress.wire import Limit, NoQuery, PageQuery, UserId, WireStruct

PATH = "/api/v1/admin/events"

#: As `domain.model.EventState`.
State = Literal["pending", "processed", "ignored", "foreign", "failed"]
#: A name of ours or of Stripe's. Postgres cannot store NUL.
Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00]*\Z")]
Instant = Annotated[datetime, Meta(tz=True, description="an instant such as 2026-11-22T09:00:00Z")]


class EventsQuery(PageQuery, frozen=True):
    state: State | None = None
    #: Such as checkout.session.completed.
    type: Name | None = None
    source: Name | None = None
    #: The object it names, or the customer it is synced with.
    object: Name | None = None
    user_id: UserId | None = None
    #: Of users who checked out through this app.
    app: Name | None = None
    since: Instant | None = None
    until: Instant | None = None


class ReplayBody(WireStruct, frozen=True):
    """`event_ids`, or a filter: without any, every event, newest first."""

    event_ids: Annotated[tuple[Name, ...], Meta(max_length=MOST)] = ()
    state: State | None = None
    type: Name | None = None
    source: Name | None = None
    object: Name | None = None
    user_id: UserId | None = None
    app: Name | None = None
    since: Instant | None = None
    until: Instant | None = None
    #: The next_cursor of the answer before.
    cursor: str | None = None
    #: Events of one call.
    limit: Limit = MOST
    #: Read Stripe and say which answers would change; write nothing.
    dry_run: bool = False


@operation(
    "GET",
    PATH,
    summary="Events, newest first",
    scope="admin:read",
    of="all",
    answers={200: EventPage},
    refuses=("unknown_project", "unknown_user"),
    example=Example(query={"limit": "10"}, keeps={"event_id": "data.0.event_id"}),
)
async def get_events(call: Call[EventsQuery, None]) -> Response:
    """200 with a page."""
    asked = call.query
    page = await list_events(
        call.context, _query(asked, call.project_or_all), cursor=asked.cursor, limit=asked.limit
    )
    return call.answer(page)


@operation(
    "GET",
    f"{PATH}/{{id}}",
    summary="One event: its payload, what became of it, and what to do next",
    scope="admin:read",
    of="all",
    answers={200: EventDetail},
    refuses=("unknown_event",),
    names={"id": "Id of the event: Stripe's `evt_…`, or our own `th_…`."},
    example=Example(path={"id": "{event_id}"}),
)
async def get_event(call: Call[NoQuery, None]) -> Response:
    """200 with the event and those around it."""
    return call.answer(await show_event(call.context, call.path["id"], call.project_or_all))


@operation(
    "POST",
    f"{PATH}/replay",
    summary="Give events their turn again, or see what that would change",
    says=(
        "One call takes one page; go on with `next_cursor`. An event is a hint to read Stripe: replaying is "
        "harmless however often. With `dry_run` Stripe is read, nothing is written, and `differences` are "
        "the answers that would be others: none, where all is well."
    ),
    scope="admin:write",
    of="all",
    answers={200: Replayed},
    refuses=("unknown_event", "unknown_project", "unknown_user"),
    is_acting=True,
    is_repeatable=True,
    example=Example(body={"event_ids": ["{event_id}"]}),
)
async def replay_events(call: Call[NoQuery, ReplayBody]) -> Response:
    """200 with what is pending again."""
    body = call.body
    wish = ReplayWish(
        event_ids=body.event_ids,
        query=_query(body, call.project_or_all),
        cursor=body.cursor,
        limit=body.limit,
        dry_run=body.dry_run,
    )
    return await answer_once(
        call,
        lambda attempt: replay(
            call.context, wish, call.operator, project=call.project_or_all, keep=attempt.keep
        ),
    )


def _query(asked: EventsQuery | ReplayBody, project: str | None) -> EventQuery:
    return EventQuery(
        state=asked.state,
        type=asked.type,
        source=asked.source,
        object_id=asked.object,
        project=project,
        user_id=asked.user_id,
        app=asked.app,
        since=asked.since,
        until=asked.until,
    )


ROUTES = [get_events, replay_events, get_event]
