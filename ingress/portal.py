"""`POST /api/v1/portal/session`, `GET /api/v1/portal/eligibility`: where users change what they pay for."""

from typing import Annotated
from weakref import WeakKeyDictionary

from msgspec import Meta
from starlette.responses import Response

from domain.flows.portal import (
    FlowWish,
    OpenedPortal,
    PortalConfigurations,
    PortalEligibility,
    PortalWish,
    find_eligibility,
    open_portal,
)
from ingress.lifespan import Running
from ingress.operation import Call, Example, operation
from ingress.wire import NoQuery, QueryStruct, UserId, WireStruct

Text = Annotated[str, Meta(min_length=1, max_length=255)]

#: What each running process knows of the portals at Stripe. Not made with the process, because `read` and
#: `webhook` never load the Stripe client.
_configurations: WeakKeyDictionary[Running, PortalConfigurations] = WeakKeyDictionary()


class PaymentMethodFlow(WireStruct, frozen=True, tag_field="type", tag="payment_method_update"):
    """Straight to a new card."""


class CancelFlow(WireStruct, frozen=True, tag_field="type", tag="subscription_cancel"):
    """Straight to the cancellation of a subscription."""

    #: Left out: the only one that runs.
    group: Text | None = None


class UpdateFlow(WireStruct, frozen=True, tag_field="type", tag="subscription_update"):
    """Straight to the choice of another plan."""

    #: Left out: the only one that runs.
    group: Text | None = None


class ConfirmFlow(WireStruct, frozen=True, tag_field="type", tag="subscription_update_confirm"):
    """Straight to the confirmation of one switch; the quantity stays."""

    plan: Text
    price: Text
    #: Left out: the only one that runs.
    group: Text | None = None


class PortalBody(WireStruct, frozen=True):
    user_id: UserId
    #: At an origin the catalog allows.
    return_url: str
    #: Left out: the portal's first page.
    flow: PaymentMethodFlow | CancelFlow | UpdateFlow | ConfirmFlow | None = None


class EligibilityQuery(QueryStruct, frozen=True):
    user_id: UserId


@operation(
    "GET",
    "/api/v1/portal/eligibility",
    summary="Whether Stripe's portal would open for a user",
    scope="portal:write",
    of="app",
    answers={200: PortalEligibility},
    refuses=("unknown_project", "unknown_app"),
    example=Example(query={"user_id": "u_example"}),
)
async def get_portal_eligibility(call: Call[EligibilityQuery, None]) -> Response:
    """200, also for a user nobody knows: `no_customer`."""
    found = await find_eligibility(call.context, call.project, call.app, call.query.user_id)
    return call.answer(found, headers={"vary": "Authorization"})


@operation(
    "POST",
    "/api/v1/portal/session",
    summary="Open Stripe's portal for a user",
    says="Each call opens another session: send it again freely.",
    scope="portal:write",
    of="app",
    answers={201: OpenedPortal},
    refuses=(
        "unknown_project",
        "unknown_app",
        "portal_invalid",
        "stripe_refused",
        "no_customer",
        "customer_deleted",
        "no_billing_history",
        "portal_not_configured",
        "no_switch_plans",
        "no_subscription",
        "set_to_cancel",
        "change_scheduled",
        "multiple_items",
        "nothing_to_change",
    ),
    example=Example(body={"user_id": "u_example", "return_url": "http://localhost:3000/account"}),
)
async def create_portal_session(call: Call[NoQuery, PortalBody]) -> Response:
    """201 with the page to send the customer to."""
    body = call.body
    flow = body.flow
    wish = PortalWish(
        user_id=body.user_id, return_url=body.return_url, flow=_flow_of(flow) if flow is not None else None
    )
    return call.answer(
        await open_portal(call.context, _configurations_of(call.running), call.project, call.app, wish)
    )


def _configurations_of(running: Running) -> PortalConfigurations:
    known = _configurations.get(running)
    if known is None:
        known = _configurations[running] = PortalConfigurations(running.context)
    return known


def _flow_of(flow: PaymentMethodFlow | CancelFlow | UpdateFlow | ConfirmFlow) -> FlowWish:
    match flow:
        case PaymentMethodFlow():
            return FlowWish(kind="payment_method_update")
        case CancelFlow():
            return FlowWish(kind="subscription_cancel", group=flow.group)
        case UpdateFlow():
            return FlowWish(kind="subscription_update", group=flow.group)
        case ConfirmFlow():
            return FlowWish(
                kind="subscription_update_confirm", group=flow.group, plan=flow.plan, price=flow.price
            )


ROUTES = [get_portal_eligibility, create_portal_session]
