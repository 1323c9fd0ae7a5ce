"""`POST /api/v1/admin/grant` and `/revoke`, `GET /api/v1/admin/grants`: operators' exceptions."""

from datetime import datetime
from typing import Annotated, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from domain.errors import FieldError, Invalid
from domain.flows.grant import GrantWish, grant
from domain.flows.list_grants import GrantState, list_grants
from domain.flows.revoke import ByGrant, ByTarget, revoke
from domain.model import FeatureValue, GrantEffect, GrantTarget
from ingress.admin.acting import find_idempotency_key, operator_of
from ingress.auth import authenticate, choose_project
from ingress.lifespan import Running
from ingress.wire import UserId, WireStruct, parse_limit, parse_query, read_body

#: A key of the catalog, or a grant's id. Postgres cannot store NUL.
Key = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00]*\Z")]
Instant = Annotated[datetime, Meta(tz=True)]

STATES: tuple[GrantState, ...] = get_args(GrantState)


class TargetBody(WireStruct, frozen=True):
    """Exactly one of them."""

    feature: Key | None = None
    plan: Key | None = None
    app: Key | None = None
    project: Key | None = None


class GrantBody(WireStruct, frozen=True):
    user_id: UserId
    effect: GrantEffect
    target: TargetBody
    reason: str
    #: Left out: all that the target can be. null: unlimited, for integers only.
    value: FeatureValue | UnsetType = UNSET
    #: Left out: at once.
    starts_at: Instant | None = None
    #: Left out: never.
    expires_at: Instant | None = None


class RevokeBody(WireStruct, frozen=True):
    """`grant_id`, or `user_id` with `target` and perhaps `effect`."""

    reason: str
    grant_id: Key | None = None
    user_id: UserId | None = None
    target: TargetBody | None = None
    effect: GrantEffect | None = None


async def create_grant(request: Request) -> Response:
    """201 with the grant and the versions its user's apps now read."""
    running = Running.of(request.scope)
    principal = await authenticate(request.scope, running.keys, "admin:write")
    project = choose_project(principal, parse_query(request.scope["query_string"], {"project"}))
    operator = operator_of(request.scope, principal)
    key = find_idempotency_key(request)
    body = await read_body(request, GrantBody)
    granted = await grant(running.context, project, body.user_id, _wish(body), operator, idempotency_key=key)
    headers = {"Idempotent-Replayed": "true"} if granted.is_replayed else None
    return _json(granted.given, 201, headers)


async def revoke_grants(request: Request) -> Response:
    """200 with what ended, and what still gives access."""
    running = Running.of(request.scope)
    principal = await authenticate(request.scope, running.keys, "admin:write")
    project = choose_project(principal, parse_query(request.scope["query_string"], {"project"}))
    operator = operator_of(request.scope, principal)
    body = await read_body(request, RevokeBody)
    return _json(await revoke(running.context, project, _named(body), body.reason, operator))


async def get_grants(request: Request) -> Response:
    """200 with a page of grants, newest first."""
    running = Running.of(request.scope)
    principal = await authenticate(request.scope, running.keys, "admin:read")
    known = {"project", "user_id", "state", "limit", "cursor"}
    parameters = parse_query(request.scope["query_string"], known)
    page = await list_grants(
        running.context,
        choose_project(principal, parameters),
        user_id=parameters.get("user_id"),
        state=_state(parameters.get("state", "all")),
        cursor=parameters.get("cursor"),
        limit=parse_limit(parameters),
    )
    return _json(page)


def _wish(body: GrantBody) -> GrantWish:
    kind, target = _one_target(body.target)
    return GrantWish(
        effect=body.effect,
        target_kind=kind,
        target=target,
        value=body.value,
        starts_at=body.starts_at,
        expires_at=body.expires_at,
        reason=body.reason,
    )


def _named(body: RevokeBody) -> ByGrant | ByTarget:
    if body.grant_id is not None:
        beside = [name for name in ("user_id", "target", "effect") if getattr(body, name) is not None]
        if beside:
            raise _refused(*(FieldError(name, "leave it out: grant_id says it all") for name in beside))
        return ByGrant(body.grant_id)
    if body.user_id is None or body.target is None:
        raise _refused(FieldError("grant_id", "name the grant, or user_id and target"))
    kind, target = _one_target(body.target)
    return ByTarget(user_id=body.user_id, target_kind=kind, target=target, effect=body.effect)


def _one_target(body: TargetBody) -> tuple[GrantTarget, str]:
    kinds: tuple[GrantTarget, ...] = get_args(GrantTarget)
    named = [(kind, key) for kind in kinds if (key := getattr(body, kind)) is not None]
    if len(named) != 1:
        raise _refused(FieldError("target", f"name exactly one of {', '.join(kinds)}"))
    return named[0]


def _state(text: str) -> GrantState | None:
    """None: of every state."""
    if text == "all":
        return None
    for state in STATES:
        if text == state:
            return state
    raise _refused(FieldError("state", f"one of {', '.join(STATES)} or all"))


def _refused(*errors: FieldError) -> Invalid:
    return Invalid("The request names something that cannot be.", errors=errors)


def _json(answer: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(answer), status, headers, media_type="application/json")


ROUTES = [
    Route("/api/v1/admin/grant", create_grant, methods=["POST"]),
    Route("/api/v1/admin/revoke", revoke_grants, methods=["POST"]),
    Route("/api/v1/admin/grants", get_grants, methods=["GET"]),
]
