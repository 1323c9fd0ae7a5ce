"""`GET /api/v1/admin/find`: whose something is, from whatever an operator has in hand."""

from typing import Annotated

from msgspec import Meta
from starlette.responses import Response

from domain.flows.find import FoundPage, find
from ingress.operation import Call, Example, operation
from ingress.wire import QueryStruct


class FindQuery(QueryStruct, frozen=True):
    #: A user's id, any Stripe id, an event's, a grant's or a run's, an invoice number, an e-mail.
    q: Annotated[str, Meta(min_length=1, max_length=255, description="1 to 255 characters")]


@operation(
    "GET",
    "/api/v1/admin/find",
    summary="Whose something is, and what to do next",
    says="An e-mail is asked of Stripe, exactly and live, and is neither kept nor logged.",
    scope="admin:read",
    of="all",
    answers={200: FoundPage},
    refuses=("not_found_anywhere", "unknown_project"),
    example=Example(query={"q": "u_example"}),
)
async def find_anything(call: Call[FindQuery, None]) -> Response:
    """200 with everything that is named so."""
    return call.answer(await find(call.context, call.query.q, call.project_or_all))


ROUTES = [find_anything]
