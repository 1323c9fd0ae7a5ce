"""`GET /api/v1/billing`: what a user pays for, for an app's account page."""

from starlette.responses import Response

from domain.flows.show_billing import Billing, show_billing
from ingress.operation import Call, Example, operation
from ingress.wire import QueryStruct, UserId


class BillingQuery(QueryStruct, frozen=True):
    user_id: UserId


@operation(
    "GET",
    "/api/v1/billing",
    summary="What a user pays for",
    scope="billing:read",
    of="app",
    answers={200: Billing},
    refuses=("unknown_project", "unknown_app"),
    example=Example(query={"user_id": "u_example"}),
)
async def get_billing(call: Call[BillingQuery, None]) -> Response:
    """200, also for a user nobody knows: who pays for nothing."""
    billing = await show_billing(call.context, call.project, call.app, call.query.user_id)
    return call.answer(billing, headers={"vary": "Authorization"})


ROUTES = [get_billing]
