"""`POST /api/v1/entitlements/query`: what many users may use, in one request."""

from collections.abc import Sequence
from math import ceil
from typing import Annotated

from msgspec import Meta, Struct
from starlette.responses import Response

from domain.errors import FieldError, Invalid
from domain.flows.query import query
from ingress.answers import EntitlementsAnswer
from ingress.operation import Call, Example, operation
from ingress.wire import MAX_FEATURES, NoQuery, UserId, WireStruct

PATH = "/api/v1/entitlements/query"

MAX_USERS = 500
#: 500 ids of 255 characters of 4 bytes, with quotes and commas, and some features: more than the other doors
#: take, and only after the key was checked.
BODY_BYTES = 512 * 1024
#: Users whose answers from memory take as long as one whole read: a batch must not be a way around the limit.
USERS_PER_READ = 5
#: Duplicates named in one refusal: enough to see what went wrong.
NAMED_AT_MOST = 20

Feature = Annotated[str, Meta(min_length=1, max_length=255)]


class QueryBody(WireStruct, frozen=True):
    user_ids: Annotated[list[UserId], Meta(min_length=1, max_length=MAX_USERS)]
    #: Left out: every feature of the app.
    features: Annotated[list[Feature], Meta(min_length=1, max_length=MAX_FEATURES)] | None = None


class QueryAnswer(Struct, frozen=True, kw_only=True):
    #: One per user, in the order of the request.
    data: list[EntitlementsAnswer]


@operation(
    "POST",
    PATH,
    summary="What many users may use, in one request",
    says=f"Each {USERS_PER_READ} users count as one read of the key's limit.",
    scope="entitlements:read",
    of="app",
    answers={200: QueryAnswer},
    refuses=("unknown_project", "unknown_app", "unknown_feature"),
    body_bytes=BODY_BYTES,
    example=Example(body={"user_ids": ["u_example", "u_other"], "features": ["export"]}),
)
async def query_entitlements(call: Call[NoQuery, QueryBody]) -> Response:
    """200 with one answer per user, in the order of the request."""
    body = call.body
    _refuse_duplicates("user_ids", body.user_ids)
    _refuse_duplicates("features", body.features or ())
    call.running.limits.take_more_reads(call.principal.key_id, _reads_of(len(body.user_ids)) - 1)
    answers = await query(call.running.lookup, call.project, call.app, body.user_ids, body.features)
    return call.answer(b'{"data":[' + b",".join(answers) + b"]}")


def _reads_of(users: int) -> int:
    return ceil(users / USERS_PER_READ)


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


ROUTES = [query_entitlements]
