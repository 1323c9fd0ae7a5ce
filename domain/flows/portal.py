"""Open Stripe's portal for a user, or say whether it would open; a customer is never made for it."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, FieldError, Invalid
from domain.flows.grant import require_head
from domain.flows.portal_configuration import PortalConfigurations
from domain.flows.portal_refusals import refuse_flow, refuse_portal
from domain.flows.read_budget import noting_429
from domain.flows.stripe_refusal import telling_refusals
from domain.model import LinkedCustomer
from domain.rules.catalog import Catalog
from domain.rules.entitlements import refuse_unknown_app
from domain.rules.holdings import group_of, is_running
from domain.rules.portal import (
    Choice,
    FlowKind,
    PortalFlows,
    PortalReason,
    choose_customer,
    find_flow_refusal,
    judge_flows,
    judge_portal,
)
from domain.rules.portal_settings import PortalSettings, portal_settings
from domain.rules.redirect import SESSION_PLACEHOLDER, find_redirect_fault, usable_origins
from domain.store import billing, customers, facts
from domain.store.session import Connection
from domain.stripe_gateway import JsonObject, StripeRefused
from domain.telemetry import get_logger

__all__ = [
    "FlowWish",
    "OpenedPortal",
    "PortalConfigurations",
    "PortalEligibility",
    "PortalWish",
    "find_eligibility",
    "open_portal",
]

log = get_logger()


class FlowWish(Struct, frozen=True, kw_only=True):
    """One action to which the portal opens straight."""

    kind: FlowKind
    #: Which subscription; None: the only one that runs.
    group: str | None = None
    #: `subscription_update_confirm` only: what to switch to.
    plan: str = ""
    price: str = ""


class PortalWish(Struct, frozen=True, kw_only=True):
    user_id: str
    return_url: str
    #: None: the portal's first page.
    flow: FlowWish | None = None


class OpenedPortal(Struct, frozen=True, kw_only=True):
    #: Stripe's, bps_….
    id: str
    #: Where to send the customer, soon: it lets in whoever has it, and ends by itself.
    url: str


class PortalEligibility(Struct, frozen=True, kw_only=True):
    project: str
    app: str
    user_id: str
    available: bool
    #: Null: it is available.
    reason: PortalReason | None
    flows: PortalFlows


class _Standing(Struct, frozen=True, kw_only=True):
    """What is known of a user before Stripe is asked."""

    catalog: Catalog
    settings: PortalSettings
    head_prices: dict[tuple[str, str], str]
    linked: Sequence[LinkedCustomer]
    #: Running subscriptions, oldest first.
    choices: Sequence[Choice]


async def find_eligibility(context: Context, project: str, app: str, user_id: str) -> PortalEligibility:
    """Whether the portal would open for a user, from our own rows: nothing is asked of Stripe or written.

    Raises:
        Unknown: there is no such project or app.
        Unavailable: Postgres is away.
    """
    standing = await _read_standing(context, project, app, user_id)
    origins = usable_origins(standing.catalog.apps[app].redirect_origins, context.stripe_or_raise.mode)
    portal = judge_portal(standing.linked, is_returnable=bool(origins))
    return PortalEligibility(
        project=project,
        app=app,
        user_id=user_id,
        available=portal.available,
        reason=portal.reason,
        flows=judge_flows(portal, standing.choices, can_switch=standing.settings.can_switch),
    )


async def open_portal(
    context: Context, configurations: PortalConfigurations, project: str, app: str, wish: PortalWish
) -> OpenedPortal:
    """A portal session in which this user changes what it pays for, and how.

    Raises:
        Unknown: there is no such project or app.
            Or, for a flow, no such subscription.
        Invalid: a return_url that is not allowed, or a flow that names what cannot be; or Stripe refuses it.
        Conflict: why it does not open, by the codes of `find_eligibility`.
        Unavailable: Stripe or Postgres is away; asking again is safe.
    """
    standing = await _read_standing(context, project, app, wish.user_id)
    _refuse_return(standing.catalog, app, wish.return_url, context.stripe_or_raise.mode)
    customer = choose_customer(standing.linked)
    if not isinstance(customer, LinkedCustomer):
        raise refuse_portal(customer)
    customer_id = customer.customer_id
    flow: dict[str, Any] = {}
    if wish.flow is not None:
        customer_id, flow = _flow_params(standing, customer_id, wish.flow)
    params = {"customer": customer_id, "return_url": wish.return_url, **flow}
    async with noting_429(context):
        session = await _create_session(context, configurations, standing, params)
    log.info("portal_opened", session=session["id"], customer=customer_id, app=app)
    return OpenedPortal(id=session["id"], url=session["url"])


async def _create_session(
    context: Context, configurations: PortalConfigurations, standing: _Standing, params: dict[str, Any]
) -> JsonObject:
    project, settings = standing.catalog.project, standing.settings
    configuration_id = await configurations.ensure(project, settings)
    with telling_refusals("to open the portal"):
        try:
            return await _ask_stripe(context, configuration_id, params)
        except StripeRefused:
            # Somebody may have switched the configuration off since it was looked at.
            configurations.forget(project)
            present_id = await configurations.ensure(project, settings)
            if present_id == configuration_id:
                raise
        return await _ask_stripe(context, present_id, params)


async def _ask_stripe(context: Context, configuration_id: str, params: dict[str, Any]) -> JsonObject:
    return await context.stripe_or_raise.create(
        "/v1/billing_portal/sessions",
        {**params, "configuration": configuration_id},
        # Each call is a session of its own; the key is for the SDK's own second try.
        idempotency_key=f"portal:{uuid.uuid4()}",
    )


async def _read_standing(context: Context, project: str, app: str, user_id: str) -> _Standing:
    async with context.database.snapshot() as connection:
        head = await require_head(connection, project)
        refuse_unknown_app(head.catalog, app)
        user = await customers.find_user(connection, project, user_id)
        plans = head.catalog.portal.switch_plans
        prices = await billing.list_head_prices(connection, project, plans) if plans else {}
        linked: Sequence[LinkedCustomer] = ()
        choices: Sequence[Choice] = ()
        if user is not None:
            at = user.clock_at or await context.now(connection)
            linked = await billing.list_linked(connection, project, user.user_key)
            choices = await _list_choices(connection, head.catalog, user.user_key, at)
    return _Standing(
        catalog=head.catalog,
        settings=portal_settings(head.catalog, prices),
        head_prices=prices,
        linked=linked,
        choices=choices,
    )


async def _list_choices(
    connection: Connection, catalog: Catalog, user_key: int, at: datetime
) -> list[Choice]:
    known = await facts.list_subscriptions(connection, catalog.project, user_key)
    running = [one for one in known if is_running(one, at)]
    if not running:
        return []
    billed = {
        one.subscription_id: one for one in await billing.list_billed(connection, catalog.project, user_key)
    }
    return [
        Choice(subscription=one, billed=billed[one.subscription_id], group=group_of(one, catalog))
        for one in running
    ]


def _refuse_return(catalog: Catalog, app: str, url: str, mode: Literal["live", "test"]) -> None:
    fault = find_redirect_fault(url, catalog.apps[app].redirect_origins, mode)
    if fault is None and SESSION_PLACEHOLDER in url:
        fault = f"has {SESSION_PLACEHOLDER}, which only checkouts fill in"
    if fault is not None:
        raise Invalid(
            "The portal cannot send the customer back there.",
            errors=(FieldError("return_url", fault),),
            code="portal_invalid",
        )


def _flow_params(standing: _Standing, customer_id: str, flow: FlowWish) -> tuple[str, dict[str, Any]]:
    """Whose portal it is then, and Stripe's `flow_data`."""
    if flow.kind == "payment_method_update":
        return customer_id, {"flow_data": {"type": flow.kind}}
    choice = _choose(standing.choices, flow.group)
    reason = find_flow_refusal(flow.kind, choice, can_switch=standing.settings.can_switch)
    if reason is not None:
        raise refuse_flow(reason, choice.group)
    details: dict[str, Any] = {"subscription": choice.subscription.subscription_id}
    if flow.kind == "subscription_update_confirm":
        details["items"] = [_switched_item(standing, choice, flow)]
    return choice.billed.customer_id, {"flow_data": {"type": flow.kind, flow.kind: details}}


def _choose(choices: Sequence[Choice], group: str | None) -> Choice:
    found = [choice for choice in choices if group in {None, choice.group}]
    if not found:
        raise refuse_flow("no_subscription", group)
    if len(found) > 1 and group is None:
        raise Invalid(
            "This user has several subscriptions: say which one; one of add-ons alone is in no group, and "
            "reached from the portal's first page (leave `flow` out).",
            errors=(FieldError("flow.group", _said_groups(found)),),
            code="portal_invalid",
        )
    return found[0]


def _said_groups(found: Sequence[Choice]) -> str:
    groups = sorted({choice.group for choice in found if choice.group is not None})
    return f"required here, one of: {', '.join(groups)}" if groups else "none of them is in a group"


def _switched_item(standing: _Standing, choice: Choice, flow: FlowWish) -> dict[str, Any]:
    [item] = choice.subscription.items
    price_id = standing.head_prices.get((flow.plan, flow.price))
    offered = [
        price
        for one in standing.settings.features["subscription_update"]["products"]
        for price in one["prices"]
    ]
    if price_id is None or price_id not in offered:
        plans = ", ".join(standing.catalog.portal.switch_plans)
        raise Invalid(
            "The portal does not offer this price.",
            errors=(FieldError("flow.price", f"a recurring price of the catalog's switch_plans: {plans}"),),
            code="portal_invalid",
        )
    if price_id == item.price_id:
        raise Conflict(f"The subscription is at {flow.plan}/{flow.price} already.", code="nothing_to_change")
    kept = {} if item.quantity is None else {"quantity": item.quantity}
    return {"id": item.item_id, "price": price_id, **kept}
