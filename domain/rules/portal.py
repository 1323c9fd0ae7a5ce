"""Whether Stripe's portal would open for a user, and for whom of its customers. Pure.

Source: docs/api.md, "Portal"; docs.stripe.com/customer-management (limits of what the portal can change).
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from domain.model import LinkedCustomer, Subscription
from domain.money import BilledSubscription
from domain.rules.subscription import known_end

FlowKind = Literal[
    "payment_method_update", "subscription_cancel", "subscription_update", "subscription_update_confirm"
]
#: Why the portal does not open.
PortalReason = Literal["no_customer", "customer_deleted", "no_billing_history", "portal_not_configured"]
#: Why it does not open straight at one action.
FlowReason = Literal[
    PortalReason,
    "no_switch_plans",
    "no_subscription",
    "set_to_cancel",
    "change_scheduled",
    "multiple_items",
]


class PortalVerdict(Struct, frozen=True, kw_only=True):
    available: bool
    #: Null: it is available.
    reason: PortalReason | None


class FlowVerdict(Struct, frozen=True, kw_only=True):
    available: bool
    #: Null: it is available. Of several subscriptions that all refuse, the oldest one's.
    reason: FlowReason | None


class PortalFlows(Struct, frozen=True, kw_only=True):
    payment_method_update: FlowVerdict
    subscription_cancel: FlowVerdict
    subscription_update: FlowVerdict
    subscription_update_confirm: FlowVerdict


class Choice(Struct, frozen=True, kw_only=True):
    """A subscription that runs, with what we know of it beside the facts."""

    subscription: Subscription
    billed: BilledSubscription
    group: str | None


def choose_customer(linked: Sequence[LinkedCustomer]) -> LinkedCustomer | PortalReason:
    """Whose portal is opened: a subscriber's before others, then that of new checkouts, then the oldest."""
    if not linked:
        return "no_customer"
    alive = [one for one in linked if not one.is_deleted]
    if not alive:
        return "customer_deleted"
    billed = [one for one in alive if one.has_history]
    if not billed:
        return "no_billing_history"
    return max(billed, key=lambda one: (one.is_subscribed, one.is_primary))


def judge_portal(linked: Sequence[LinkedCustomer], *, is_returnable: bool) -> PortalVerdict:
    """`is_returnable`: whether the catalog lists any origin to which the portal may send back."""
    chosen = choose_customer(linked)
    reason: PortalReason | None = None if isinstance(chosen, LinkedCustomer) else chosen
    if reason is None and not is_returnable:
        reason = "portal_not_configured"
    return PortalVerdict(available=reason is None, reason=reason)


def judge_flows(portal: PortalVerdict, choices: Sequence[Choice], *, can_switch: bool) -> PortalFlows:
    """`choices` oldest first; `can_switch`: whether the portal offers any plan to switch to."""
    update = _judge_flow("subscription_update", portal, choices, can_switch=can_switch)
    return PortalFlows(
        payment_method_update=FlowVerdict(available=portal.available, reason=portal.reason),
        subscription_cancel=_judge_flow("subscription_cancel", portal, choices, can_switch=can_switch),
        subscription_update=update,
        subscription_update_confirm=update,
    )


def _judge_flow(
    kind: FlowKind, portal: PortalVerdict, choices: Sequence[Choice], *, can_switch: bool
) -> FlowVerdict:
    reasons = [find_flow_refusal(kind, choice, can_switch=can_switch) for choice in choices]
    reason: FlowReason | None = portal.reason or "no_subscription"
    if portal.available and reasons:
        reason = None if None in reasons else reasons[0]
    return FlowVerdict(available=reason is None, reason=reason)


def find_flow_refusal(kind: FlowKind, choice: Choice, *, can_switch: bool) -> FlowReason | None:
    """Why Stripe would not open this action for this subscription; None: it would."""
    if known_end(choice.subscription) is not None:
        return "set_to_cancel"
    if choice.billed.schedule_id is not None:
        return "change_scheduled"
    if kind == "subscription_cancel":
        return None
    if not can_switch:
        return "no_switch_plans"
    return "multiple_items" if len(choice.subscription.items) > 1 else None
