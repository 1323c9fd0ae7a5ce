"""`GET /api/v1/admin/dead`, `GET …/{id}`, `POST …/{id}/retry` and `/discard`: what gave up."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from domain.flows.authenticate import Principal
from domain.flows.dead import discard_dead, retry_dead
from domain.flows.list_dead import list_dead, show_dead
from domain.flows.manage_keys import Scope
from ingress.admin.acting import operator_of
from ingress.auth import authenticate, choose_project
from ingress.lifespan import Running
from ingress.wire import WireStruct, parse_limit, parse_query, read_body


class RetryBody(WireStruct, frozen=True):
    #: Left out: none is kept.
    reason: str | None = None


class DiscardBody(WireStruct, frozen=True):
    reason: str


async def get_dead(request: Request) -> Response:
    """200 with a page, the longest waiting first."""
    running, principal = await _enter(request, "admin:read")
    parameters = parse_query(request.scope["query_string"], {"project", "limit", "cursor"})
    page = await list_dead(
        running.context,
        _choose(principal, parameters),
        cursor=parameters.get("cursor"),
        limit=parse_limit(parameters),
    )
    return _json(page)


async def get_one(request: Request) -> Response:
    """200 with one and the events that wait on it."""
    running, principal = await _enter(request, "admin:read")
    parameters = parse_query(request.scope["query_string"], {"project"})
    detail = await show_dead(running.context, _choose(principal, parameters), request.path_params["id"])
    return _json(detail)


async def retry_one(request: Request) -> Response:
    """200 with what goes on again."""
    running, principal = await _enter(request, "admin:write")
    parameters = parse_query(request.scope["query_string"], {"project"})
    body = await read_body(request, RetryBody)
    retried = await retry_dead(
        running.context,
        _choose(principal, parameters),
        request.path_params["id"],
        operator_of(request.scope, principal),
        reason=body.reason,
    )
    return _json(retried)


async def discard_one(request: Request) -> Response:
    """200 with the events that are ignored from now on."""
    running, principal = await _enter(request, "admin:write")
    parameters = parse_query(request.scope["query_string"], {"project"})
    body = await read_body(request, DiscardBody)
    discarded = await discard_dead(
        running.context,
        _choose(principal, parameters),
        request.path_params["id"],
        body.reason,
        operator_of(request.scope, principal),
    )
    return _json(discarded)


async def _enter(request: Request, needed: Scope) -> tuple[Running, Principal]:
    running = Running.of(request.scope)
    return running, await authenticate(request.scope, running.keys, needed)


def _choose(principal: Principal, parameters: dict[str, str]) -> str | None:
    """The key's project. An operator of all may leave it open: much of what gives up is nobody's yet."""
    if principal.kind == "operator" and principal.project is None and "project" not in parameters:
        return None
    return choose_project(principal, parameters)


def _json(answer: object) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")


PATH = "/api/v1/admin/dead"
ROUTES = [
    Route(PATH, get_dead, methods=["GET"]),
    Route(f"{PATH}/{{id}}", get_one, methods=["GET"]),
    Route(f"{PATH}/{{id}}/retry", retry_one, methods=["POST"]),
    Route(f"{PATH}/{{id}}/discard", discard_one, methods=["POST"]),
]
