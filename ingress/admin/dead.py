"""`GET /api/v1/admin/dead`, `GET …/{id}`, `POST …/{id}/retry` and `/discard`: what gave up."""

from starlette.responses import Response

from domain.flows.dead import Discarded, Retried, discard_dead, retry_dead
from domain.flows.list_dead import DeadDetail, DeadPage, list_dead, show_dead
from ingress.operation import Call, Example, operation
from ingress.repeating import answer_once
from ingress.wire import NoQuery, PageQuery, WireStruct

PATH = "/api/v1/admin/dead"
NAMES = {"id": "Stripe id of the target, or id of the event, as the list names it."}


class RetryBody(WireStruct, frozen=True):
    #: Left out: none is kept.
    reason: str | None = None


class DiscardBody(WireStruct, frozen=True):
    reason: str


@operation(
    "GET",
    PATH,
    summary="What gave up, the longest waiting first",
    scope="admin:read",
    of="all",
    answers={200: DeadPage},
    refuses=("unknown_project",),
    example=Example(query={"limit": "10"}, keeps={"dead_id": "data.0.id", "other_dead_id": "data.1.id"}),
)
async def get_dead(call: Call[PageQuery, None]) -> Response:
    """200 with a page."""
    page = await list_dead(
        call.context, call.project_or_all, cursor=call.query.cursor, limit=call.query.limit
    )
    return call.answer(page)


@operation(
    "GET",
    f"{PATH}/{{id}}",
    summary="One that gave up, and the events that wait on it",
    scope="admin:read",
    of="all",
    answers={200: DeadDetail},
    refuses=("unknown_dead",),
    names=NAMES,
    example=Example(path={"id": "{dead_id}"}),
)
async def get_one_dead(call: Call[NoQuery, None]) -> Response:
    """200 with one and its events."""
    return call.answer(await show_dead(call.context, call.project_or_all, call.path["id"]))


@operation(
    "POST",
    f"{PATH}/{{id}}/retry",
    summary="Let it go on",
    scope="admin:write",
    of="all",
    answers={200: Retried},
    refuses=("unknown_dead", "not_dead", "reason_invalid"),
    names=NAMES,
    is_acting=True,
    is_repeatable=True,
    example=Example(path={"id": "{dead_id}"}, body={"reason": "the cause is gone"}),
)
async def retry_one_dead(call: Call[NoQuery, RetryBody]) -> Response:
    """200 with what goes on again."""
    return await answer_once(
        call,
        lambda attempt: retry_dead(
            call.context,
            call.project_or_all,
            call.path["id"],
            call.operator,
            reason=call.body.reason,
            keep=attempt.keep,
        ),
    )


@operation(
    "POST",
    f"{PATH}/{{id}}/discard",
    summary="Give up its events for good",
    scope="admin:write",
    of="all",
    answers={200: Discarded},
    refuses=("unknown_dead", "not_dead", "reason_invalid"),
    names=NAMES,
    is_acting=True,
    is_repeatable=True,
    example=Example(path={"id": "{other_dead_id}"}, body={"reason": "it is nobody's"}),
)
async def discard_one_dead(call: Call[NoQuery, DiscardBody]) -> Response:
    """200 with the events that are ignored from now on."""
    return await answer_once(
        call,
        lambda attempt: discard_dead(
            call.context,
            call.project_or_all,
            call.path["id"],
            call.body.reason,
            call.operator,
            keep=attempt.keep,
        ),
    )


ROUTES = [get_dead, get_one_dead, retry_one_dead, discard_one_dead]
