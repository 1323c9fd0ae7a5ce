"""Charges: one attempt each to take the money of a payment intent."""

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.store import Account, Json


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
        "sepa_debit": ("bank_code", "branch_code", "country", "fingerprint", "last4"),
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


def list_charges(call: Call) -> Json:
    rows = call.account.select("charge", call.params, "payment_intent", "customer")
    return page(call, "charge", rows, "/v1/charges")


def retrieve_charge(call: Call) -> Json:
    return call.account.load("charge", call.id)


OPERATIONS = (
    Operation(
        "GET", "/v1/charges", list_charges, list_params(customer=params.text, payment_intent=params.text)
    ),
    Operation("GET", "/v1/charges/{id}", retrieve_charge),
)
