"""Payment methods, payment intents and charges. Every attached card pays, until a page declines it."""

import secrets

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.errors import card_declined, missing_object, refused
from deploy.local.stripe_simulator.events import emit
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.store import Account, Json

#: Stripe's names of test cards → the brand they attach as. The declined one fails when attached.
TEST_CARDS = {"pm_card_visa": "visa", "pm_card_mastercard": "mastercard"}
DECLINED_TEST_CARD = "pm_card_chargeDeclined"
DECLINED: Json = {
    "code": "card_declined",
    "decline_code": "generic_decline",
    "message": "Your card was declined.",
    "type": "card_error",
}
NO_ADDRESS = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
CHECKS = {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"}


def card(brand: str = "visa") -> Json:
    """The `card` hash of a payment method."""
    return {
        "brand": brand,
        "checks": CHECKS,
        "country": "US",
        "display_brand": brand,
        "exp_month": 12,
        "exp_year": 2040,
        "fingerprint": secrets.token_hex(8),
        "funding": "credit",
        "generated_from": None,
        "last4": "4242",
        "networks": {"available": [brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def bank_account() -> Json:
    """The `us_bank_account` hash: a method whose payment settles later."""
    return {
        "account_holder_type": "individual",
        "account_type": "checking",
        "bank_name": "Local Test Bank",
        "financial_connections_account": None,
        "fingerprint": secrets.token_hex(8),
        "last4": "6789",
        "networks": None,
        "routing_number": "110000000",
        "status_details": None,
    }


def new_method(account: Account, method_type: str, details: Json, email: str | None = None) -> Json:
    row: Json = {
        "id": new_id("payment_method"),
        "object": "payment_method",
        "allow_redisplay": "limited",
        "billing_details": billing_details(email),
        "created": account.now(),
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": method_type,
        method_type: details,
    }
    account.put("payment_method", row)
    return row


def billing_details(email: str | None) -> Json:
    return {"address": NO_ADDRESS, "email": email, "name": None, "phone": None, "tax_id": None}


def attach_method(account: Account, method_id: str, customer_id: str, request: Json | None) -> Json:
    """Attach a stored method, or a new one for the name of a test card; refuses like `require_usable`."""
    require_usable(account, method_id, customer_id)
    if method_id in TEST_CARDS:
        row = new_method(account, "card", card(TEST_CARDS[method_id]))
    else:
        row = account.load("payment_method", method_id)
    row["customer"] = customer_id
    account.put("payment_method", row)
    emit(account, "payment_method.attached", row, request=request)
    return row


def require_usable(account: Account, method_id: str, customer_id: str | None = None) -> None:
    """Raises a card error for the test card that is always declined, refuses another customer's method."""
    if method_id == DECLINED_TEST_CARD:
        raise card_declined()
    if method_id in TEST_CARDS:
        return
    row = account.load("payment_method", method_id, "payment_method")
    if row["customer"] not in {None, customer_id}:
        raise refused(
            "The payment method you provided has already been attached to a customer.", "payment_method"
        )


def new_intent(
    account: Account, amount: int, currency: str, *, customer: str | None, metadata: dict[str, str]
) -> Json:
    """An intent that waits for a payment method; `amount` in minor units of `currency`."""
    intent_id = new_id("payment_intent")
    row: Json = {
        "id": intent_id,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{intent_id}_secret_{secrets.token_hex(12)}",
        "confirmation_method": "automatic",
        "created": account.now(),
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": metadata,
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
    account.put("payment_intent", row)
    emit(account, "payment_intent.created", row)
    return row


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
        "payment_method": method["id"],
        "payment_method_types": [method["type"]],
        "status": "succeeded",
    }
    account.put("payment_intent", intent)
    emit(account, "charge.succeeded", charge)
    emit(account, "payment_intent.succeeded", intent)
    return charge


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


def pending_charge(account: Account, intent: Json) -> Json | None:
    if intent["latest_charge"] is None:
        return None
    charge = account.load("charge", intent["latest_charge"])
    return charge if charge["status"] == "pending" else None


def new_charge(account: Account, intent: Json, method: Json) -> Json:
    """A pending charge of the whole amount."""
    row: Json = {
        "id": new_id("charge"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": "LOCAL STRIPE",
        "captured": False,
        "created": account.now(),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": False,
        "metadata": intent["metadata"],
        "on_behalf_of": None,
        "outcome": None,
        "paid": False,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": method_details(method),
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "review": None,
        "shipping": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "pending",
        "transfer_data": None,
        "transfer_group": None,
    }
    account.put("charge", row)
    return row


def method_details(method: Json) -> Json:
    """`payment_method_details` of a charge: what the method said when it was used."""
    kind = method["type"]
    shown = {
        "card": ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4"),
        "us_bank_account": ("account_holder_type", "account_type", "bank_name", "last4", "routing_number"),
    }[kind]
    return {"type": kind, kind: {name: method[kind][name] for name in shown}}


def outcome(kind: str, reason: str | None, message: str) -> Json:
    network = "approved_by_network" if kind == "authorized" else "declined_by_network"
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": network,
        "reason": reason,
        "risk_level": "normal",
        "seller_message": message,
        "type": kind,
    }


def attach(call: Call) -> Json:
    customer = call.account.load_live("customer", call.params["customer"], "customer")
    return attach_method(call.account, call.id, customer["id"], call.request)


def detach(call: Call) -> Json:
    account = call.account
    row = account.load("payment_method", call.id)
    if row["customer"] is None:
        raise refused("The payment method you provided is not attached to a customer.", "payment_method")
    previous = {"customer": row["customer"]}
    row["customer"] = None
    account.put("payment_method", row)
    emit(account, "payment_method.detached", row, previous=previous, request=call.request)
    return row


def list_methods(call: Call) -> Json:
    account, asked = call.account, call.params
    if account.find("customer", asked["customer"]) is None:
        raise missing_object("customer", asked["customer"], "customer")
    rows = account.where("payment_method", "customer", asked["customer"])
    chosen = [row for row in rows if asked.get("type", row["type"]) == row["type"]]
    return page(call, "payment_method", chosen, "/v1/payment_methods")


def list_intents(call: Call) -> Json:
    rows = call.account.select("payment_intent", call.params, "customer")
    return page(call, "payment_intent", rows, "/v1/payment_intents")


def list_charges(call: Call) -> Json:
    rows = call.account.select("charge", call.params, "payment_intent", "customer")
    return page(call, "charge", rows, "/v1/charges")


def retrieve_method(call: Call) -> Json:
    return call.account.load("payment_method", call.id)


def retrieve_intent(call: Call) -> Json:
    return call.account.load("payment_intent", call.id)


def retrieve_charge(call: Call) -> Json:
    return call.account.load("charge", call.id)


OPERATIONS = (
    Operation(
        "GET",
        "/v1/payment_methods",
        list_methods,
        list_params(customer=params.text, type=params.text),
        required=("customer",),
    ),
    Operation("GET", "/v1/payment_methods/{id}", retrieve_method),
    Operation(
        "POST",
        "/v1/payment_methods/{id}/attach",
        attach,
        {"customer": params.text},
        required=("customer",),
    ),
    Operation("POST", "/v1/payment_methods/{id}/detach", detach),
    Operation("GET", "/v1/payment_intents", list_intents, list_params(customer=params.text)),
    Operation("GET", "/v1/payment_intents/{id}", retrieve_intent),
    Operation(
        "GET", "/v1/charges", list_charges, list_params(customer=params.text, payment_intent=params.text)
    ),
    Operation("GET", "/v1/charges/{id}", retrieve_charge),
)
