"""What a customer does on the portal page, each as the API calls that Stripe's portal makes.

A portal that is set to cancel at the end of the period sets `cancel_at` to that moment and leaves
`cancel_at_period_end` false, as Stripe's does for subscriptions with flexible billing.
"""

from dataclasses import dataclass

from deploy.local.stripe_simulator.errors import refused
from deploy.local.stripe_simulator.events import NO_REQUEST
from deploy.local.stripe_simulator.operations import Router
from deploy.local.stripe_simulator.params import Raw
from deploy.local.stripe_simulator.portal_features import REASONS, prices_offered
from deploy.local.stripe_simulator.portal_sessions import ENDED, own_subscription, require_updatable
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.wire import run


@dataclass(frozen=True, slots=True)
class Portal:
    """One open portal session."""

    account: Account
    session: Json
    router: Router

    @property
    def configuration(self) -> Json:
        return self.account.load("billing_portal.configuration", self.session["configuration"])

    @property
    def customer(self) -> Json:
        return self.account.load_live("customer", self.session["customer"])

    def call(self, path: str, form: dict[str, Raw], method: str = "POST") -> Json:
        """One call to this Stripe's own API; raises StripeError as the API refuses."""
        found = self.router.match(method, path)
        if found is None:
            raise refused(f"This local Stripe has no {method} {path}.")
        return run(self.account, found, form, base_url="", request=NO_REQUEST)

    def require(self, feature: str) -> Json:
        settings: Json = self.configuration["features"][feature]
        if not settings["enabled"]:
            raise refused(f"This portal does not allow it: the feature `{feature}` is disabled.")
        return settings


def cancel(portal: Portal, form: dict[str, str]) -> None:
    settings = portal.require("subscription_cancel")
    row = own_subscription(portal.account, portal.customer, form.get("subscription", ""), "cancel")
    if row["status"] in ENDED or row["cancel_at"] is not None:
        raise refused(f"The subscription `{row['id']}` is already set to be canceled.")
    details: dict[str, Raw] = {}
    if form.get("feedback") in REASONS:
        details = {"cancellation_details": {"feedback": form["feedback"]}}
    if settings["mode"] == "immediately":
        portal.call(f"/v1/subscriptions/{row['id']}", details, "DELETE")
        return
    items = portal.account.where("subscription_item", "subscription", row["id"])
    ends_at = min(item["current_period_end"] for item in items)
    portal.call(f"/v1/subscriptions/{row['id']}", {"cancel_at": str(ends_at), **details})


def resume(portal: Portal, form: dict[str, str]) -> None:
    """Take a cancellation back that has not happened yet."""
    portal.require("subscription_cancel")
    row = own_subscription(portal.account, portal.customer, form.get("subscription", ""), "resume")
    if row["cancel_at"] is None or row["status"] in ENDED:
        raise refused(f"The subscription `{row['id']}` is not set to be canceled.")
    portal.call(f"/v1/subscriptions/{row['id']}", {"cancel_at": ""})


def switch(portal: Portal, form: dict[str, str]) -> None:
    """Another price, another quantity, or both."""
    settings = portal.require("subscription_update")
    row = own_subscription(portal.account, portal.customer, form.get("subscription", ""), "update")
    require_updatable(portal.account, row, "update")
    (item,) = portal.account.where("subscription_item", "subscription", row["id"])
    wish: dict[str, Raw] = {"id": item["id"]}
    for name in ("price", "quantity"):
        if asked := form.get(name):
            require_allowed(settings, name)
            wish[name] = asked
    if "price" in wish and wish["price"] not in prices_offered(portal.configuration):
        raise refused(f"The price `{wish['price']}` is not offered by this portal.", "price")
    change: dict[str, Raw] = {"items": {"0": wish}, "proration_behavior": settings["proration_behavior"]}
    if row["status"] == "trialing" and settings["trial_update_behavior"] == "end_trial":
        change["trial_end"] = "now"
    portal.call(f"/v1/subscriptions/{row['id']}", change)


def require_allowed(settings: Json, what: str) -> None:
    if what not in settings["default_allowed_updates"]:
        raise refused(f"This portal does not allow to change the {what}.")


def change_method(portal: Portal, form: dict[str, str]) -> None:
    """A new default card, also for the subscriptions that have one of their own."""
    portal.require("payment_method_update")
    customer = portal.customer["id"]
    card = form.get("card", "pm_card_visa")
    attached = portal.call(f"/v1/payment_methods/{card}/attach", {"customer": customer})["id"]
    portal.call(f"/v1/customers/{customer}", {"invoice_settings": {"default_payment_method": attached}})
    for row in portal.account.where("subscription", "customer", customer):
        if row["status"] not in ENDED and row["default_payment_method"] is not None:
            portal.call(f"/v1/subscriptions/{row['id']}", {"default_payment_method": attached})


def pay_invoice(portal: Portal, form: dict[str, str]) -> None:
    portal.require("invoice_history")
    invoice = portal.account.find("invoice", form.get("invoice", ""))
    if invoice is None or invoice["customer"] != portal.customer["id"]:
        raise refused("This invoice is not yours.", "invoice")
    portal.call(f"/v1/invoices/{invoice['id']}/pay", {})


#: The last part of a form's address → what it does.
ACTIONS = {
    "cancel": cancel,
    "pay": pay_invoice,
    "payment-method": change_method,
    "resume": resume,
    "switch": switch,
}
