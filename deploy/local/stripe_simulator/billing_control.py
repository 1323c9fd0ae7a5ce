"""The part of the control plane about time and unpaid invoices: the account's settings, test clocks, and
payments that wait for their customer or bank.
"""

from deploy.local.stripe_simulator import collection, payments, test_clocks
from deploy.local.stripe_simulator.billing_settings import BillingSettings, change_settings, settings_of
from deploy.local.stripe_simulator.customers import emit_customer_update
from deploy.local.stripe_simulator.errors import StripeError
from deploy.local.stripe_simulator.payment_methods import attach_method
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.simulator import Simulator
from deploy.local.stripe_simulator.store import Json
from deploy.local.stripe_simulator.subscriptions import ENDED, set_fields
from deploy.local.stripe_simulator.wishes import Wish, find_account

#: An intent that waits for its customer or its bank.
WAITING = {"processing", "requires_action"}


class BillingWish(Wish, frozen=True, kw_only=True):
    """Settings to change; those not given go back to their defaults, see `BillingSettings`."""

    settings: BillingSettings


class CardWish(Wish, frozen=True, kw_only=True):
    """A test card by Stripe's name, for instance `pm_card_chargeCustomerFail`, or a method's id."""

    card: str


class IntentWish(Wish, frozen=True, kw_only=True):
    """What the customer's authentication or the bank transfer came to: succeeded or failed."""

    outcome: str = "succeeded"


class AdvanceWish(Wish, frozen=True, kw_only=True):
    #: Seconds since 1970: later than where the clock stands, and any distance ahead.
    to: int


def advance_clock(simulator: Simulator, wish: AdvanceWish, path: Json) -> Json:
    """Like Stripe's own call, without its limit of two intervals: a year is one step."""
    account = find_account(simulator, wish.account)
    clock = account.load(test_clocks.KIND, path["id"])
    if wish.to <= clock["frozen_time"]:
        raise StripeError(f"`to` must be after the current frozen time of {clock['frozen_time']}")
    test_clocks.move(account, clock, wish.to, None)
    return clock


def set_billing(simulator: Simulator, wish: BillingWish, _path: Json) -> Json:
    account = find_account(simulator, wish.account)
    change_settings(account, wish.settings)
    return {"ok": True, "settings": settings_of(account)}


def change_card(simulator: Simulator, wish: CardWish, path: Json) -> Json:
    """The customer and all its running subscriptions are charged to this card from now on."""
    account = find_account(simulator, wish.account)
    customer = account.load_live("customer", path["id"])
    before = snapshot(account, customer)
    method = attach_method(account, wish.card, customer["id"], None)
    settings = {**customer["invoice_settings"], "default_payment_method": method["id"]}
    customer["invoice_settings"] = settings
    account.put("customer", customer)
    emit_customer_update(account, before, customer, None)
    for subscription in account.where("subscription", "customer", customer["id"]):
        if subscription["status"] not in ENDED and subscription["default_payment_method"] is not None:
            set_fields(account, subscription, default_payment_method=method["id"])
    return method


def end_intent(simulator: Simulator, wish: IntentWish, path: Json) -> Json:
    if wish.outcome not in {"succeeded", "failed"}:
        raise StripeError(f"outcome is {wish.outcome!r}: use 'succeeded' or 'failed'")
    account = find_account(simulator, wish.account)
    intent = account.load("payment_intent", path["id"])
    if intent["status"] not in WAITING:
        raise StripeError(f"{intent['id']} is {intent['status']}: it waits neither for a customer nor a bank")
    method = account.load("payment_method", intent["payment_method"])
    act = payments.succeed if wish.outcome == "succeeded" else payments.decline
    act(account, intent, method)
    collection.intent_ended(account, intent)
    return intent


WRITES = (
    ("/_sim/customers/{id}/card", CardWish, change_card),
    ("/_sim/billing", BillingWish, set_billing),
    ("/_sim/payment_intents/{id}/settle", IntentWish, end_intent),
    ("/_sim/test_clocks/{id}/advance", AdvanceWish, advance_clock),
)
