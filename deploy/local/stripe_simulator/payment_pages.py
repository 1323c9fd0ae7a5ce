"""The calls that Stripe's own hosted page makes, so that the Stripe CLI can finish a checkout by itself.

They are no part of Stripe's public API; `stripe trigger checkout.session.completed` uses them.
"""

from deploy.local.stripe_simulator import params, payments, purchase
from deploy.local.stripe_simulator.checkout import load_session
from deploy.local.stripe_simulator.errors import card_declined, refused
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.payment_methods import last4_of, usable_method
from deploy.local.stripe_simulator.store import Json

#: Last digits of test bank accounts whose transfer ends at once → whether it brings the money.
ENDING_AT_ONCE = {"3201": True, "3204": True, "3202": False, "3456": False}


def show_page(call: Call) -> Json:
    return load_session(call.account, call.id)


def confirm(call: Call) -> Json:
    """The customer presses Pay with this method."""
    account, asked = call.account, call.params
    session = load_session(account, call.id)
    purchase.require_open(session)
    expected = asked.get("expected_amount", session["amount_total"])
    if expected != session["amount_total"]:
        raise refused(
            f"The amount has changed: the page expected {expected}, the session is about "
            f"{session['amount_total']}.",
            "expected_amount",
        )
    method = usable_method(account, asked["payment_method"], session["customer"])
    if session["amount_total"] and last4_of(method) in payments.DECLINING:
        intent = purchase.intent_of(account, session)
        payments.decline(account, intent, method)
        raise card_declined(intent)
    if session["amount_total"] and last4_of(method) in payments.AUTHENTICATING:
        payments.require_action(account, purchase.intent_of(account, session), method)
        return session
    purchase.complete(account, session, method=method)
    ends_well = ENDING_AT_ONCE.get(method[method["type"]]["last4"])
    if session["payment_status"] == "unpaid" and ends_well is not None:
        purchase.settle(account, session, succeeded=ends_well)
    return session


OPERATIONS = (
    Operation("GET", "/v1/payment_pages/{id}", show_page),
    Operation(
        "POST",
        "/v1/payment_pages/{id}/confirm",
        confirm,
        {"expected_amount": params.amount, "payment_method": params.text, "return_url": params.text},
        required=("payment_method",),
    ),
)
