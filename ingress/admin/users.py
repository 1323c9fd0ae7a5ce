"""`/api/v1/admin/users/{user}`, its `/sync` and `/export`: one user as operators see it."""

from typing import Annotated

from msgspec import Meta
from starlette.responses import Response

from domain.flows.export_user import ExportedUser, export_user
from domain.flows.idempotency import Attempt
from domain.flows.record_action import Operator
from domain.flows.show_user import ShownUser, show_user
from domain.flows.sync_user import SyncedUser, sync_user
from ingress.operation import Call, Example, operation
from ingress.repeating import answer_once
from ingress.wire import NoQuery, QueryStruct

PATH = "/api/v1/admin/users/{user}"
NAMES = {"user": "The project's id of the user."}


class UserQuery(QueryStruct, frozen=True):
    #: Happenings of the timeline.
    limit: Annotated[int, Meta(ge=1, le=500, description="1 to 500")] = 100


@operation(
    "GET",
    PATH,
    summary="A user: customers, answers, and a timeline of everything that led to them",
    scope="admin:read",
    of="project",
    answers={200: ShownUser},
    refuses=("unknown_project", "unknown_user"),
    names=NAMES,
    example=Example(path={"user": "u_example"}),
)
async def get_user(call: Call[UserQuery, None]) -> Response:
    """200 with the user."""
    return call.answer(await show_user(call.context, call.project, call.path["user"], limit=call.query.limit))


@operation(
    "POST",
    f"{PATH}/sync",
    summary="Read everything of a user from Stripe now, and say what that changed",
    says="Waits for at most 10 s; `settled` false: a worker goes on.",
    scope="admin:write",
    of="project",
    answers={200: SyncedUser},
    refuses=("unknown_project", "unknown_user"),
    names=NAMES,
    is_acting=True,
    is_repeatable=True,
    example=Example(path={"user": "u_example"}),
)
async def sync_one_user(call: Call[NoQuery, None]) -> Response:
    """200 with the difference."""

    async def sync(attempt: Attempt) -> SyncedUser:
        synced = await sync_user(
            call.context,
            call.running.syncer,
            call.project,
            call.path["user"],
            call.operator,
            within_s=SYNC_WITHIN_S,
            keep=attempt.keep,
        )
        call.running.ring(synced.owed)
        return synced.user

    return await answer_once(call, sync)


@operation(
    "GET",
    f"{PATH}/export",
    summary="Everything that is held of a user",
    says="Rows as stored, and the bodies of deliveries that are still kept. The audit log says who asked.",
    scope="admin:read",
    of="project",
    answers={200: ExportedUser},
    refuses=("unknown_project", "unknown_user", "user_moved"),
    names=NAMES,
    example=Example(path={"user": "u_example"}),
)
async def export_one_user(call: Call[NoQuery, None]) -> Response:
    """200 with all of it."""
    operator = Operator(actor=call.principal.name, request_id=call.request.scope["tollhouse.request_id"])
    return call.answer(await export_user(call.context, call.project, call.path["user"], operator))


#: Shorter than the deadline of a whole request.
SYNC_WITHIN_S = 7.0

ROUTES = [get_user, sync_one_user, export_one_user]
