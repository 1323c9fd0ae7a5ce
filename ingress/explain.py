"""`GET /api/v1/entitlements/{feature}/explain`: why an answer is, was or will be what it is."""

from datetime import UTC, datetime
from typing import Annotated, get_args

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from domain.errors import FieldError, Invalid
from domain.flows.authenticate import Principal
from domain.flows.explain import AsKnown, Question, explain_feature
from ingress.auth import authenticate, choose_app
from ingress.lifespan import Running
from ingress.wire import parse_query, require_user_id

KNOWN = frozenset({"user_id", "at", "as_known", "app", "project"})
_INSTANT = "an instant with its offset (RFC 3339), such as 2026-11-22T13:00:00Z; in a URL write + as %2B"

Instant = Annotated[datetime, Meta(tz=True)]


async def explain(request: Request) -> Response:
    """The explanation of this moment, or of `at`."""
    running = Running.of(request.scope)
    principal = await authenticate(request.scope, running.keys, "entitlements:read")
    parameters = parse_query(request.scope["query_string"], KNOWN)
    project, app = choose_app(principal, parameters)
    asked = Question(
        project=project,
        app=app,
        user_id=require_user_id(parameters),
        feature=request.path_params["feature"],
        at=_parse_instant(parameters.get("at")),
        as_known=_parse_as_known(parameters.get("as_known", "then")),
        shows_all=_sees_everything(principal),
    )
    explained = await explain_feature(running.context, asked)
    headers = {"cache-control": "no-store", "vary": "Authorization"}
    return Response(msgspec.json.encode(explained), media_type="application/json", headers=headers)


def _sees_everything(principal: Principal) -> bool:
    """An app never sees operators' words, nor sources that are no business of its own."""
    return principal.kind != "app" and "admin:read" in principal.scopes


def _parse_instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return msgspec.convert(text, Instant).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError) as error:
        raise Invalid("This is no instant.", errors=(FieldError("at", _INSTANT),)) from error


def _parse_as_known(text: str) -> AsKnown:
    for known in get_args(AsKnown):
        if text == known:
            return known  # type: ignore[no-any-return]  # `get_args` loses that these are its literals
    what = "then (the facts known when it was answered) or now (today's facts)"
    raise Invalid("This is no way of knowing.", errors=(FieldError("as_known", what),))


ROUTES = [Route("/api/v1/entitlements/{feature}/explain", explain, methods=["GET"])]
