"""The part of the control plane that plays the dashboard: the portal's default configuration."""

from typing import Any

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.params import Raw
from deploy.local.stripe_simulator.portal_configurations import CREATE, save_default
from deploy.local.stripe_simulator.simulator import Simulator
from deploy.local.stripe_simulator.store import Json
from deploy.local.stripe_simulator.wishes import Wish, find_account

#: What a fresh default allows; switching plans needs products, so it is asked for.
COMMON: Json = {
    "customer_update": {"enabled": True, "allowed_updates": ["email", "address"]},
    "invoice_history": {"enabled": True},
    "payment_method_update": {"enabled": True},
    "subscription_cancel": {"enabled": True},
}


class PortalWish(Wish, frozen=True, kw_only=True):
    """Fields as in Stripe's API, in JSON; features that are not named keep what they are."""

    #: None: `COMMON`.
    features: dict[str, Any] | None = None
    business_profile: dict[str, Any] | None = None
    default_return_url: str | None = None


def save_portal(simulator: Simulator, wish: PortalWish, _path: Json) -> Json:
    """Save the portal's settings: the default configuration changes, or is made."""
    asked = {
        "features": COMMON if wish.features is None else wish.features,
        "business_profile": wish.business_profile,
        "default_return_url": wish.default_return_url,
    }
    form = as_form({name: value for name, value in asked.items() if value is not None})
    read = params.read_fields(form, CREATE, (), lambda name: name)
    return save_default(find_account(simulator, wish.account), read)


def as_form(value: Json) -> dict[str, Raw]:
    """JSON as the form that says the same."""
    return {name: as_raw(inner) for name, inner in value.items()}


def as_raw(value: Any) -> Raw:
    if isinstance(value, dict):
        return as_form(value)
    if isinstance(value, list):
        return as_form({str(number): inner for number, inner in enumerate(value)}) if value else ""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


WRITES = (("/_sim/portal", PortalWish, save_portal),)
