"""`GET /api/v1/admin/scheduler`, `GET …/{job}/runs`, `POST …/{job}/pause`, `/resume`, `/run`: timed jobs."""

from starlette.responses import Response

from domain.flows.order_jobs import Ordered, pause_job, resume_job, run_job
from domain.flows.show_jobs import JobRunPage, SchedulerShown, list_job_runs, show_scheduler
from ingress.operation import Call, Example, operation
from ingress.repeating import answer_once
from ingress.wire import NoQuery, PageQuery, WireStruct

PATH = "/api/v1/admin/scheduler"
NAMES = {"job": "The job, as the list names it."}
#: What each order refuses.
REFUSES = ("unknown_job", "job_not_timed", "reason_invalid")


class PauseBody(WireStruct, frozen=True):
    #: For whoever finds it paused.
    reason: str


class OrderBody(WireStruct, frozen=True):
    #: Left out: none is kept.
    reason: str | None = None


@operation(
    "GET",
    PATH,
    summary="Who leads, and how each job does",
    scope="admin:read",
    of="deployment",
    answers={200: SchedulerShown},
    example=Example(),
)
async def get_scheduler(call: Call[NoQuery, None]) -> Response:
    """200 with every job."""
    return call.answer(await show_scheduler(call.context))


@operation(
    "GET",
    f"{PATH}/{{job}}/runs",
    summary="What a job did and is at, newest first",
    says="Quick turns without anything to do leave no row; those that ended alike within a minute share one. "
    "A turn of the leader's that takes seconds is there before it ends; when its scheduler dies, the next "
    "that leads ends it with an error.",
    scope="admin:read",
    of="deployment",
    answers={200: JobRunPage},
    refuses=("unknown_job",),
    names=NAMES,
    example=Example(path={"job": "reconcile"}, query={"limit": "10"}),
)
async def get_job_runs(call: Call[PageQuery, None]) -> Response:
    """200 with a page."""
    page = await list_job_runs(
        call.context, call.path["job"], cursor=call.query.cursor, limit=call.query.limit
    )
    return call.answer(page)


@operation(
    "POST",
    f"{PATH}/{{job}}/pause",
    summary="Give a job no further turn",
    says="One under way is finished. What every scheduler does (`who` is `all`) cannot be paused.",
    scope="admin:write",
    of="deployment",
    answers={200: Ordered},
    refuses=(*REFUSES, "job_paused"),
    names=NAMES,
    is_acting=True,
    is_repeatable=True,
    example=Example(path={"job": "expire_payloads"}, body={"reason": "a dispute needs the old ones"}),
)
async def pause_one_job(call: Call[NoQuery, PauseBody]) -> Response:
    """200; it stays degraded health until it is resumed."""
    return await answer_once(
        call,
        lambda attempt: pause_job(
            call.context, call.path["job"], call.body.reason, call.operator, keep=attempt.keep
        ),
    )


@operation(
    "POST",
    f"{PATH}/{{job}}/resume",
    summary="Give a job its turns again",
    scope="admin:write",
    of="deployment",
    answers={200: Ordered},
    refuses=(*REFUSES, "job_not_paused"),
    names=NAMES,
    is_acting=True,
    is_repeatable=True,
    example=Example(path={"job": "expire_payloads"}, body={"reason": "the dispute is won"}),
)
async def resume_one_job(call: Call[NoQuery, OrderBody]) -> Response:
    """200; its next turn is within its interval."""
    return await answer_once(
        call,
        lambda attempt: resume_job(
            call.context, call.path["job"], call.operator, reason=call.body.reason, keep=attempt.keep
        ),
    )


@operation(
    "POST",
    f"{PATH}/{{job}}/run",
    summary="Give a job one turn now",
    says="By the scheduler that leads, within a second or two; a paused job stays paused after it. "
    "`fill_gaps` and `reconcile` do their work whether or not it is time. `runs` then shows who asked.",
    scope="admin:write",
    of="deployment",
    answers={202: Ordered},
    refuses=REFUSES,
    names=NAMES,
    is_acting=True,
    is_repeatable=True,
    example=Example(path={"job": "prune_changes"}, body={"reason": "the disk is full"}),
)
async def run_one_job(call: Call[NoQuery, OrderBody]) -> Response:
    """202: it is asked for."""
    return await answer_once(
        call,
        lambda attempt: run_job(
            call.context, call.path["job"], call.operator, reason=call.body.reason, keep=attempt.keep
        ),
    )


ROUTES = [get_scheduler, get_job_runs, pause_one_job, resume_one_job, run_one_job]
