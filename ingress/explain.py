"""`GET /api/v1/entitlements/{feature}/explain`: why an answer is, was or will be what it is."""

from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta
from starlette.responses import Response

from domain.errors import FieldError, Invalid
from domain.flows.authenticate import Principal
from domain.flows.explain import AsKnown, Explained, Question, explain_feature
from ingress.operation import Call, Example, operation
from ingress.wire import QueryStruct, UserId

_INSTANT = "an instant with its offset (RFC 3339), such as 2026-11-22T13:00:00Z; in a URL write + as %2B"
_AS_KNOWN = "then (the facts known when it was answered) or now (today's facts)"


class ExplainQuery(QueryStruct, frozen=True):
    user_id: UserId
    #: Left out: now.
    at: Annotated[datetime, Meta(tz=True, description=_INSTANT)] | None = None
    as_known: Annotated[AsKnown, Meta(description=_AS_KNOWN)] = "then"


@operation(
    "GET",
    "/api/v1/entitlements/{feature}/explain",
    summary="Why an answer is, was or will be what it is",
    scope="entitlements:read",
    of="app",
    answers={200: Explained},
    refuses=("unknown_project", "unknown_app", "unknown_feature"),
    names={"feature": "Key of a feature that the app can see."},
    example=Example(path={"feature": "export"}, query={"user_id": "u_example"}),
)
async def explain(call: Call[ExplainQuery, None]) -> Response:
    """The explanation of this moment, or of `at`."""
    asked = Question(
        project=call.project,
        app=call.app,
        user_id=call.query.user_id,
        feature=call.path["feature"],
        at=_in_utc(call.query.at),
        as_known=call.query.as_known,
        shows_all=_sees_everything(call.principal),
    )
    return call.answer(await explain_feature(call.context, asked), headers={"vary": "Authorization"})


def _sees_everything(principal: Principal) -> bool:
    """An app never sees operators' words, nor sources that are no business of its own."""
    return principal.kind != "app" and "admin:read" in principal.scopes


def _in_utc(at: datetime | None) -> datetime | None:
    """Raises: Invalid, where that is before the year 1 or after the year 9999."""
    try:
        return at.astimezone(UTC) if at is not None else None
    except OverflowError as error:
        raise Invalid("This is no instant.", errors=(FieldError("at", _INSTANT),)) from error


ROUTES = [explain]
