"""Why the portal does not open, in sentences that say what to do instead; codes are those of eligibility."""

from domain.errors import Conflict, Unknown
from domain.rules.portal import FlowReason, PortalReason

_SENTENCES: dict[FlowReason, str] = {
    "no_customer": "This user has no Stripe customer yet: open a checkout instead.",
    "customer_deleted": "Stripe has deleted this user's customer: a new checkout makes another one.",
    "no_billing_history": (
        "Nothing was ever billed to this user, so the portal would be empty: open a checkout instead."
    ),
    "portal_not_configured": "The catalog lists no redirect_origins of this app: add one and apply it.",
    "no_switch_plans": (
        "The portal offers no plan to switch to: the catalog's [portal] switch_plans lists none that is sold "
        "in Stripe."
    ),
    "no_subscription": "This user has no subscription that runs: open a checkout instead.",
    "set_to_cancel": (
        "The subscription is set to end: take that back first, by POST /api/v1/subscription/resume or on the "
        "portal's first page."
    ),
    "change_scheduled": (
        "A schedule manages the subscription: a change waits for the end of its period, or was made so, "
        "and Stripe's portal changes no such one: POST /api/v1/subscription/change, cancel or resume does."
    ),
    "multiple_items": (
        "The subscription has several items, and Stripe's portal changes no such subscription: "
        "POST /api/v1/subscription/change does."
    ),
}


def refuse_portal(reason: PortalReason) -> Conflict:
    return Conflict(_SENTENCES[reason], code=reason)


def refuse_flow(reason: FlowReason, group: str | None) -> Conflict | Unknown:
    """`group`: of the subscription that was meant; None: none was named, or it is of none."""
    said = _SENTENCES[reason] + (f" (group {group!r})" if group is not None else "")
    return Unknown(said, code=reason) if reason == "no_subscription" else Conflict(said, code=reason)
