"""Payment methods: cards that do what Stripe's test cards do, and bank accounts whose payments settle later.

A card's last four digits decide what it does, as at Stripe: see `TEST_CARDS`.
"""

import secrets

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.errors import card_declined, malformed, missing_object, refused
from deploy.local.stripe_simulator.events import changes, emit
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.store import Account, Json

#: Stripe's names of test cards → brand and last four digits.
TEST_CARDS = {
    "pm_card_visa": ("visa", "4242"),
    "pm_card_mastercard": ("mastercard", "4444"),
    "pm_card_us": ("visa", "4242"),
    # Declined by every charge, and already when it is attached.
    "pm_card_chargeDeclined": ("visa", "0002"),
    # Attaches, and every charge of it is declined.
    "pm_card_chargeCustomerFail": ("visa", "0341"),
    "pm_card_visa_chargeDeclined": ("visa", "0002"),
    "pm_card_bypassPending": ("visa", "0077"),
    # Every charge asks for authentication, which nobody gives off session.
    "pm_card_authenticationRequired": ("visa", "3184"),
    "pm_card_threeDSecure2Required": ("visa", "3220"),
    # Charges are disputed at once: as fraud, as not received, or by an inquiry.
    "pm_card_createDispute": ("visa", "0259"),
    "pm_card_createDisputeProductNotReceived": ("visa", "2685"),
    "pm_card_createDisputeInquiry": ("visa", "1976"),
    # Refunds begin as pending; `/_sim/refunds/{id}` ends them.
    "pm_card_pendingRefund": ("visa", "7726"),
    # Refunds fail later; `/_sim/refunds/{id}` says when.
    "pm_card_refundFail": ("visa", "5126"),
}
DECLINED_TEST_CARD = "pm_card_chargeDeclined"
#: Stripe's tokens of test cards are named like the cards.
TOKEN, CARD = "tok_", "pm_card_"
NO_ADDRESS = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
CHECKS = {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"}


def card(brand: str = "visa", last4: str = "4242") -> Json:
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
        "last4": last4,
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


def sepa_debit(iban: str) -> Json:
    """The `sepa_debit` hash: a method whose payment settles later."""
    return {
        "bank_code": iban[4:9],
        "branch_code": "",
        "country": iban[:2],
        "fingerprint": secrets.token_hex(8),
        "generated_from": {"charge": None, "setup_attempt": None},
        "last4": iban[-4:],
    }


def create_method(call: Call) -> Json:
    account, asked = call.account, call.params
    kind = asked["type"]
    if kind not in asked:
        raise malformed(f"Missing required param: {kind}.", kind, "parameter_missing")
    details = sepa_debit(asked[kind]["iban"]) if kind == "sepa_debit" else card_of_token(asked[kind]["token"])
    row = new_method(account, kind, details)
    describe(row, asked)
    account.put("payment_method", row)
    return row


def card_of_token(token: str) -> Json:
    name = f"{CARD}{token.removeprefix(TOKEN)}"
    if not token.startswith(TOKEN) or name not in TEST_CARDS:
        known = ", ".join(card_name.replace(CARD, TOKEN) for card_name in TEST_CARDS)
        raise refused(f"No such token: '{token}' (this local Stripe knows: {known})", "card[token]")
    return card(*TEST_CARDS[name])


def describe(row: Json, asked: Json) -> None:
    row["billing_details"] = {**row["billing_details"], **asked.get("billing_details", {})}
    row["metadata"] = params.changed_metadata(row["metadata"], asked.get("metadata"))


def update_method(call: Call) -> Json:
    account = call.account
    row = account.load("payment_method", call.id)
    before = snapshot(account, row)
    describe(row, call.params)
    account.put("payment_method", row)
    if difference := changes(before, snapshot(account, row)):
        emit(account, "payment_method.updated", row, previous=difference, request=call.request)
    return row


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


def last4_of(method: Json) -> str | None:
    """What decides a card's behaviour; None for other methods."""
    return method["card"]["last4"] if method["type"] == "card" else None


def billing_details(email: str | None) -> Json:
    return {"address": NO_ADDRESS, "email": email, "name": None, "phone": None, "tax_id": None}


def attach_method(account: Account, method_id: str, customer_id: str, request: Json | None) -> Json:
    """Attach a stored method, or a new one for the name of a test card; refuses like `require_usable`."""
    require_usable(account, method_id, customer_id)
    row = usable_method(account, method_id, customer_id)
    row["customer"] = customer_id
    account.put("payment_method", row)
    emit(account, "payment_method.attached", row, request=request)
    return row


def usable_method(account: Account, method_id: str, customer_id: str | None) -> Json:
    """A stored method, or a new one for the name of a test card; refuses another customer's."""
    if method_id in TEST_CARDS:
        return new_method(account, "card", card(*TEST_CARDS[method_id]))
    row = account.load("payment_method", method_id, "payment_method")
    require_own(row, customer_id)
    return row


def require_usable(account: Account, method_id: str, customer_id: str | None = None) -> None:
    """Raises a card error for the test card that is always declined, refuses another customer's method."""
    if method_id == DECLINED_TEST_CARD:
        raise card_declined()
    if method_id not in TEST_CARDS:
        require_own(account.load("payment_method", method_id, "payment_method"), customer_id)


def require_own(row: Json, customer_id: str | None) -> None:
    if row["customer"] not in {None, customer_id}:
        raise refused(
            "The payment method you provided has already been attached to a customer.", "payment_method"
        )


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


def retrieve_method(call: Call) -> Json:
    return call.account.load("payment_method", call.id)


DESCRIPTION: dict[str, params.Reader] = {
    "billing_details": params.hash_of(
        {"address": params.ADDRESS, "email": params.text, "name": params.text, "phone": params.text}
    ),
    "metadata": params.metadata,
}
OPERATIONS = (
    Operation(
        "POST",
        "/v1/payment_methods",
        create_method,
        {
            **DESCRIPTION,
            "card": params.hash_of({"token": params.text}, required=("token",)),
            "sepa_debit": params.hash_of({"iban": params.text}, required=("iban",)),
            "type": params.one_of("card", "sepa_debit"),
        },
        required=("type",),
    ),
    Operation("POST", "/v1/payment_methods/{id}", update_method, DESCRIPTION),
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
)
