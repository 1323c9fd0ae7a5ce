"""Payment intents: paid, declined, waiting for the customer or for a bank transfer.

`attempt` lets the method decide, as Stripe's test cards do; the others are the outcomes by themselves.
The calls of the API are in `payment_calls.py`.
"""

import secrets
from copy import deepcopy

from deploy.local.stripe_simulator import disputes
from deploy.local.stripe_simulator.charges import new_charge, outcome
from deploy.local.stripe_simulator.events import emit
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.payment_methods import last4_of
from deploy.local.stripe_simulator.store import Account, Json

#: Last digits of test cards whose charges are declined, or ask the customer first; see `payment_methods`.
DECLINING, AUTHENTICATING = {"0002", "0341"}, {"3184", "3220"}

#: An intent's fields before anything happens; the varying ones are filled in by `new_intent`.
NEW_INTENT: Json = {
    "object": "payment_intent",
    "amount_capturable": 0,
    "amount_details": {"tip": {}},
    "amount_received": 0,
    "application": None,
    "application_fee_amount": None,
    "automatic_payment_methods": None,
    "canceled_at": None,
    "cancellation_reason": None,
    "capture_method": "automatic_async",
    "confirmation_method": "automatic",
    "customer_account": None,
    "description": None,
    "excluded_payment_method_types": None,
    "last_payment_error": None,
    "latest_charge": None,
    "livemode": False,
    "next_action": None,
    "on_behalf_of": None,
    "payment_method": None,
    "payment_method_configuration_details": None,
    "payment_method_options": {},
    "payment_method_types": ["card"],
    "processing": None,
    "receipt_email": None,
    "review": None,
    "setup_future_usage": None,
    "shipping": None,
    "statement_descriptor": None,
    "statement_descriptor_suffix": None,
    "status": "requires_payment_method",
    "transfer_data": None,
    "transfer_group": None,
}
DECLINED: Json = {
    "code": "card_declined",
    "decline_code": "generic_decline",
    "message": "Your card was declined.",
    "type": "card_error",
}


def new_intent(
    account: Account, amount: int, currency: str, *, customer: str | None, metadata: dict[str, str]
) -> Json:
    """An intent that waits for a payment method; `amount` in minor units of `currency`."""
    intent_id = new_id("payment_intent")
    row: Json = {
        **deepcopy(NEW_INTENT),
        "id": intent_id,
        "amount": amount,
        "client_secret": f"{intent_id}_secret_{secrets.token_hex(12)}",
        "created": account.now(),
        "currency": currency,
        "customer": customer,
        "metadata": metadata,
    }
    account.put("payment_intent", row)
    emit(account, "payment_intent.created", row)
    return row


def attempt(account: Account, intent: Json, method: Json) -> str:
    """Confirm the intent with this method; returns the status that the intent has then.

    `succeeded`, `processing` (a bank transfer), `requires_payment_method` (declined), `requires_action`, or
    `requires_capture` (only authorized).
    """
    if method["type"] != "card":
        begin_delayed(account, intent, method)
    elif last4_of(method) in DECLINING:
        decline(account, intent, method)
    elif last4_of(method) in AUTHENTICATING:
        require_action(account, intent, method)
    elif intent["capture_method"] == "manual":
        authorize(account, intent, method)
    else:
        succeed(account, intent, method)
    status: str = intent["status"]
    return status


def succeed(account: Account, intent: Json, method: Json) -> Json:
    """The money arrives: by a new charge, or by the pending one of a delayed method."""
    pending = pending_charge(account, intent)
    charge = pending or new_charge(account, intent, method)
    charge |= {
        "amount_captured": charge["amount"],
        "captured": True,
        "outcome": outcome("authorized", None, "Payment complete."),
        "paid": True,
        "status": "succeeded",
    }
    account.put("charge", charge)
    intent |= {
        "amount_received": intent["amount"],
        "last_payment_error": None,
        "latest_charge": charge["id"],
        "next_action": None,
        "payment_method": method["id"],
        "payment_method_types": [method["type"]],
        "status": "succeeded",
    }
    account.put("payment_intent", intent)
    emit(account, "charge.succeeded", charge)
    emit(account, "payment_intent.succeeded", intent)
    disputes.open_by_test_card(account, charge, last4_of(method))
    return charge


def authorize(account: Account, intent: Json, method: Json) -> None:
    """The bank sets the money aside; `capture` takes it."""
    charge = new_charge(account, intent, method)
    charge |= {
        "outcome": outcome("authorized", None, "Payment complete."),
        "paid": True,
        "status": "succeeded",
    }
    account.put("charge", charge)
    intent |= {
        "amount_capturable": intent["amount"],
        "latest_charge": charge["id"],
        "payment_method": method["id"],
        "status": "requires_capture",
    }
    account.put("payment_intent", intent)
    emit(account, "charge.succeeded", charge)
    emit(account, "payment_intent.amount_capturable_updated", intent)


def capture(account: Account, intent: Json, amount: int, request: Json | None) -> None:
    """Take what was authorized, or a part of it: the rest is let go, which is no refund."""
    charge = account.load("charge", intent["latest_charge"])
    charge |= {"amount_captured": amount, "captured": True}
    account.put("charge", charge)
    intent |= {"amount_capturable": 0, "amount_received": amount, "status": "succeeded"}
    account.put("payment_intent", intent)
    emit(account, "charge.captured", charge, request=request)
    emit(account, "payment_intent.succeeded", intent, request=request)


def decline(account: Account, intent: Json, method: Json) -> Json:
    """The payment is refused; the intent waits for another method."""
    charge = pending_charge(account, intent) or new_charge(account, intent, method)
    charge |= {
        "failure_code": DECLINED["code"],
        "failure_message": DECLINED["message"],
        "outcome": outcome("issuer_declined", "generic_decline", "The bank did not approve this payment."),
        "status": "failed",
    }
    account.put("charge", charge)
    intent |= {
        "last_payment_error": {**DECLINED, "charge": charge["id"], "payment_method": method},
        "latest_charge": charge["id"],
        "next_action": None,
        "payment_method": None,
        "status": "requires_payment_method",
    }
    account.put("payment_intent", intent)
    emit(account, "charge.failed", charge)
    emit(account, "payment_intent.payment_failed", intent)
    return charge


def begin_delayed(account: Account, intent: Json, method: Json) -> Json:
    """A delayed method is accepted: the charge is pending until it is settled."""
    charge = new_charge(account, intent, method)
    intent |= {
        "latest_charge": charge["id"],
        "payment_method": method["id"],
        "payment_method_types": [method["type"]],
        "status": "processing",
    }
    account.put("payment_intent", intent)
    emit(account, "charge.pending", charge)
    emit(account, "payment_intent.processing", intent)
    return charge


def require_action(account: Account, intent: Json, method: Json) -> None:
    """The bank wants to see the customer; `succeed` or `decline` follows."""
    intent |= {
        "next_action": {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}},
        "payment_method": method["id"],
        "payment_method_types": [method["type"]],
        "status": "requires_action",
    }
    account.put("payment_intent", intent)
    emit(account, "payment_intent.requires_action", intent)


def cancel(account: Account, intent: Json, reason: str | None = None, request: Json | None = None) -> None:
    """Nobody can pay it any more; emits payment_intent.canceled."""
    intent |= {
        "canceled_at": account.now(),
        "cancellation_reason": reason,
        "next_action": None,
        "status": "canceled",
    }
    account.put("payment_intent", intent)
    emit(account, "payment_intent.canceled", intent, request=request)


def pending_charge(account: Account, intent: Json) -> Json | None:
    if intent["latest_charge"] is None:
        return None
    charge = account.load("charge", intent["latest_charge"])
    return charge if charge["status"] == "pending" else None
