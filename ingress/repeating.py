"""Answer a call once, however often it is sent under one `Idempotency-Key` (domain/flows/idempotency.py)."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response

from domain.flows.idempotency import Attempt, KeyedCall, run_once
from ingress.operation import Call

REPLAYED = {"idempotent-replayed": "true"}


async def answer_once(call: Call[Any, Any], work: Callable[[Attempt], Awaitable[object]]) -> Response:
    """What `work` answers, with the first status that the operation declares; or what it answered before.

        return await answer_once(call, lambda attempt: revoke(call.context, …, keep=attempt.keep))

    The operation says `is_repeatable=True`.

    Raises:
        Invalid: the key stands for another call.
        Conflict: the same call is under way.
    """
    status = next(iter(call.operation.answers))
    answered = await run_once(call.context, _keyed(call), work, status=status)
    return call.answer(answered.body, answered.status, REPLAYED if answered.is_replayed else None)


def _keyed(call: Call[Any, Any]) -> KeyedCall | None:
    if call.idempotency_key is None:
        return None
    return KeyedCall(
        project=call.project_or_all,
        caller=_caller(call),
        route=f"{call.operation.method} {call.request.scope['path']}",
        key=call.idempotency_key,
        asked=[call.query, call.body],
    )


def _caller(call: Call[Any, Any]) -> str:
    """Not the key's id: a call that is sent again after its key was rotated is the same call."""
    project = call.project_or_all if call.project_or_all is not None else "*"
    app = call.app if call.operation.of == "app" else ""
    return f"{call.principal.kind}:{project}/{app}"
