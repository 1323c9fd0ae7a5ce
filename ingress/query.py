"""`POST /api/v1/entitlements/query`: what many users may use, in one request."""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from domain.errors import FieldError, Invalid
from domain.flows.query import query
from ingress.auth import authenticate, choose_app
from ingress.lifespan import Running
from ingress.wire import MAX_FEATURES, UserId, WireStruct, parse_query, read_body

PATH = "/api/v1/entitlements/query"

MAX_USERS = 500
#: 500 ids of 255 characters of 4 bytes, with quotes and commas, and some features: more than the other doors
#: take, and only after the key was checked.
BODY_BYTES = 512 * 1024
#: Duplicates named in one refusal: enough to see what went wrong.
NAMED_AT_MOST = 20

Feature = Annotated[str, Meta(min_length=1, max_length=255)]


class QueryBody(WireStruct, frozen=True):
    user_ids: Annotated[list[UserId], Meta(min_length=1, max_length=MAX_USERS)]
    #: Left out: every feature of the app.
    features: Annotated[list[Feature], Meta(min_length=1, max_length=MAX_FEATURES)] | None = None


async def answer_query(request: Request) -> Response:
    """200 with one answer per user, in the order of the request."""
    running = Running.of(request.scope)
    principal = await authenticate(request.scope, running.keys, "entitlements:read")
    parameters = parse_query(request.scope["query_string"], {"app", "project"})
    project, app = choose_app(principal, parameters)
    body = await read_body(request, QueryBody)
    _refuse_duplicates("user_ids", body.user_ids)
    _refuse_duplicates("features", body.features or ())
    answers = await query(running.lookup, project, app, body.user_ids, body.features)
    return Response(
        b'{"data":[' + b",".join(answers) + b"]}",
        headers={"cache-control": "no-store"},
        media_type="application/json",
    )


def _refuse_duplicates(field: str, values: Sequence[str]) -> None:
    """Raises: Invalid, naming each place that repeats an earlier one."""
    if len(set(values)) == len(values):
        return
    first: dict[str, int] = {}
    errors = [
        FieldError(f"{field}[{index}]", f"the same as {field}[{first[value]}]")
        for index, value in enumerate(values)
        if first.setdefault(value, index) != index
    ]
    raise Invalid(
        f"Each of {field} may be given once; {len(errors)} are repeated.",
        errors=tuple(errors[:NAMED_AT_MOST]),
    )


ROUTES = [Route(PATH, answer_query, methods=["POST"])]
