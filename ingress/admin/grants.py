"""`POST /api/v1/admin/grant` and `/revoke`, `GET /api/v1/admin/grants`: operators' exceptions."""

from datetime import datetime, timedelta
from typing import Annotated, Literal, get_args

from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response

from domain.errors import FieldError, Invalid
from domain.flows.grant import Given, GrantWish, grant
from domain.flows.list_grants import LONGEST, GrantPage, GrantState, list_grants
from domain.flows.revoke import ByGrant, ByTarget, Revoked, revoke
from domain.model import FeatureValue, GrantEffect, GrantTarget
from ingress.operation import Call, Example, operation
from ingress.repeating import answer_once
from ingress.wire import NoQuery, PageQuery, UserId, WireStruct

#: A key of the catalog, or a grant's id. Postgres cannot store NUL.
Key = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00]*\Z")]
Instant = Annotated[datetime, Meta(tz=True)]


#: Ten years.
MOST_SECONDS = LONGEST // timedelta(seconds=1)


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


class GrantsQuery(PageQuery, frozen=True):
    user_id: UserId | None = None
    state: GrantState | Literal["all"] = "all"
    #: Only those that end by themselves within so many seconds from now, the next one first.
    expiring_within_s: (
        Annotated[int, Meta(ge=1, le=MOST_SECONDS, description=f"1 to {MOST_SECONDS}")] | None
    ) = None


@operation(
    "POST",
    "/api/v1/admin/grant",
    summary="Give or take something by hand",
    scope="admin:write",
    of="project",
    answers={201: Given},
    refuses=("unknown_project", "grant_invalid", "reason_invalid", "idempotency_key_reused"),
    is_acting=True,
    is_repeatable=True,
    example=Example(
        body={
            "user_id": "u_example",
            "effect": "allow",
            "target": {"feature": "export"},
            "reason": "promised by support",
        },
        keeps={"grant_id": "id"},
    ),
)
async def create_grant(call: Call[NoQuery, GrantBody]) -> Response:
    """201 with the grant and the versions its user's apps now read."""
    body = call.body
    granted = await grant(
        call.context,
        call.project,
        body.user_id,
        _wish(body),
        call.operator,
        idempotency_key=call.idempotency_key,
    )
    headers = {"Idempotent-Replayed": "true"} if granted.is_replayed else None
    return call.answer(granted.given, headers=headers)


@operation(
    "POST",
    "/api/v1/admin/revoke",
    summary="End operators' grants",
    scope="admin:write",
    of="project",
    answers={200: Revoked},
    refuses=("unknown_project", "unknown_grant", "unknown_user", "revocation_invalid", "reason_invalid"),
    is_acting=True,
    is_repeatable=True,
    example=Example(body={"grant_id": "{grant_id}", "reason": "it was for a week"}),
)
async def revoke_grants(call: Call[NoQuery, RevokeBody]) -> Response:
    """200 with what ended, and what still gives access."""
    body = call.body
    return await answer_once(
        call,
        lambda attempt: revoke(
            call.context, call.project, _named(body), body.reason, call.operator, keep=attempt.keep
        ),
    )


@operation(
    "GET",
    "/api/v1/admin/grants",
    summary="What operators granted, newest first",
    scope="admin:read",
    of="project",
    answers={200: GrantPage},
    refuses=("unknown_project",),
    example=Example(query={"user_id": "u_example", "state": "active"}),
)
async def get_grants(call: Call[GrantsQuery, None]) -> Response:
    """200 with a page of grants."""
    asked = call.query
    page = await list_grants(
        call.context,
        call.project,
        user_id=asked.user_id,
        state=None if asked.state == "all" else asked.state,
        expiring_within=(
            None if asked.expiring_within_s is None else timedelta(seconds=asked.expiring_within_s)
        ),
        cursor=asked.cursor,
        limit=asked.limit,
    )
    return call.answer(page)


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


def _refused(*errors: FieldError) -> Invalid:
    return Invalid("The request names something that cannot be.", errors=errors)


ROUTES = [create_grant, revoke_grants, get_grants]
