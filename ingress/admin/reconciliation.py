"""`/api/v1/admin/reconciliation`, its `/runs`, `/runs/{id}` and `…/abandon`: passes and what they named."""

from starlette.responses import Response

from domain.flows.reconcile import Run, RunDetail, RunPage, Wish, abandon, begin, list_runs, show_run
from ingress.operation import Call, Example, operation
from ingress.repeating import answer_once
from ingress.wire import NoQuery, PageQuery, UserId, WireStruct

PATH = "/api/v1/admin/reconciliation"
NAMES = {"id": "The run's id, run_…"}


class ReconcileBody(WireStruct, frozen=True):
    #: Name what differs, and repair nothing.
    check: bool = False
    #: Refunds, disputes and finished checkouts of any age, too; else those of the last seven days.
    full: bool = False
    #: One user of the project alone, and everything of it.
    user_id: UserId | None = None
    #: Left out: none is kept.
    reason: str | None = None


@operation(
    "POST",
    PATH,
    summary="Begin a pass that compares Stripe, mirror, answers and cache",
    says="A scheduler carries it out within the read budget; `runs/{id}` shows how far it is. One at a time.",
    scope="admin:write",
    of="all",
    answers={202: Run},
    refuses=("unknown_project", "unknown_user", "reconciliation_running", "reason_invalid"),
    is_acting=True,
    is_repeatable=True,
    example=Example(body={"check": True, "reason": "after the incident"}, keeps={"run_id": "id"}),
)
async def start_reconciliation(call: Call[NoQuery, ReconcileBody]) -> Response:
    """202 with the run, which has only begun."""
    body = call.body
    wish = Wish(project=call.project_or_all, user_id=body.user_id, is_check=body.check, is_full=body.full)
    return await answer_once(
        call,
        lambda attempt: begin(call.context, wish, call.operator, reason=body.reason, keep=attempt.keep),
    )


class AbandonBody(WireStruct, frozen=True):
    #: Left out: none is kept.
    reason: str | None = None


@operation(
    "POST",
    f"{PATH}/runs/{{id}}/abandon",
    summary="Give a pass up, so that another can begin",
    says=(
        "For one that can never end. What it has named and repaired stays; a process that is at it stops at "
        "its next step. Said twice it changes nothing."
    ),
    scope="admin:write",
    of="all",
    answers={200: Run},
    refuses=("unknown_run", "reconciliation_ended", "reason_invalid"),
    names=NAMES,
    is_acting=True,
    is_repeatable=True,
    example=Example(path={"id": "{run_id}"}, body={"reason": "Stripe refuses the list of disputes"}),
)
async def abandon_reconciliation(call: Call[NoQuery, AbandonBody]) -> Response:
    """200 with the run, which is over."""
    return await answer_once(
        call,
        lambda attempt: abandon(
            call.context,
            call.path["id"],
            call.operator,
            project=call.project_or_all,
            reason=call.body.reason,
            keep=attempt.keep,
        ),
    )


@operation(
    "GET",
    f"{PATH}/runs",
    summary="Passes so far, newest first",
    scope="admin:read",
    of="all",
    answers={200: RunPage},
    refuses=("unknown_project",),
    example=Example(query={"limit": "10"}),
)
async def get_reconciliation_runs(call: Call[PageQuery, None]) -> Response:
    """200 with a page."""
    page = await list_runs(
        call.context, call.project_or_all, cursor=call.query.cursor, limit=call.query.limit
    )
    return call.answer(page)


@operation(
    "GET",
    f"{PATH}/runs/{{id}}",
    summary="One pass, and the drifts it named",
    scope="admin:read",
    of="all",
    answers={200: RunDetail},
    refuses=("unknown_run",),
    names=NAMES,
    example=Example(path={"id": "{run_id}"}),
)
async def get_reconciliation_run(call: Call[NoQuery, None]) -> Response:
    """200 with the run and its drifts."""
    return call.answer(await show_run(call.context, call.project_or_all, call.path["id"]))


ROUTES = [
    start_reconciliation,
    abandon_reconciliation,
    get_reconciliation_runs,
    get_reconciliation_run,
]
