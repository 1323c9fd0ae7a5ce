"""Customers, and the account itself."""

import secrets

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.errors import missing_object, refused
from deploy.local.stripe_simulator.events import changes, emit
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.payment_methods import attach_method, require_usable
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscriptions import ENDED, cancel_now

#: Stripe's limit of customers on one test clock.
MOST_ON_CLOCK = 3
#: The empty address that Stripe shows, and the fields of one that is given.
ADDRESS = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))


def create_customer(call: Call) -> Json:
    account, asked = call.account, call.params
    if "payment_method" in asked:
        require_usable(account, asked["payment_method"])
    if "test_clock" in asked:
        require_room(account, asked["test_clock"])
    row = new_customer(account)
    row["test_clock"] = asked.get("test_clock")
    apply_changes(call, row)
    emit(account, "customer.created", row, request=call.request)
    return row


def require_room(account: Account, clock_id: str) -> None:
    account.load("test_helpers.test_clock", clock_id, "test_clock")
    if len(account.where("customer", "test_clock", clock_id)) >= MOST_ON_CLOCK:
        raise refused(f"A test clock can have at most {MOST_ON_CLOCK} customers.", "test_clock")


def new_customer(account: Account) -> Json:
    """A stored customer with nothing filled in; the caller fills it and emits."""
    row: Json = {
        "id": new_id("customer"),
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": account.now(),
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": secrets.token_hex(4).upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }
    account.put("customer", row)
    return row


def update_customer(call: Call) -> Json:
    account = call.account
    row = account.load_live("customer", call.id)
    before = snapshot(account, row)
    apply_changes(call, row)
    emit_customer_update(account, before, row, call.request)
    return row


def emit_customer_update(account: Account, before: Json, row: Json, request: Json | None) -> None:
    """customer.updated when something differs, as Stripe stays silent about a change of nothing."""
    if difference := changes(before, snapshot(account, row)):
        emit(account, "customer.updated", row, previous=difference, request=request)


def apply_changes(call: Call, row: Json) -> None:
    account, asked = call.account, call.params
    default = asked.get("invoice_settings", {}).get("default_payment_method")
    if default is not None and default != asked.get("payment_method"):
        require_own_method(account, default, row["id"])
    for name in asked.keys() & PLAIN.keys():
        row[name] = asked[name]
    if row["address"] is not None:
        row["address"] = {**ADDRESS, **row["address"]}
    row["metadata"] = params.changed_metadata(row["metadata"], asked.get("metadata"))
    if "payment_method" in asked:
        attached = attach_method(account, asked["payment_method"], row["id"], call.request)
        default = attached["id"] if default == asked["payment_method"] else default
    if default is not None:
        row["invoice_settings"] = {**row["invoice_settings"], "default_payment_method": default}
    account.put("customer", row)


def require_own_method(account: Account, method_id: str, customer_id: str) -> None:
    param = "invoice_settings[default_payment_method]"
    method = account.load("payment_method", method_id, param)
    if method["customer"] != customer_id:
        raise refused(
            f"The customer does not have a payment method with the ID {method_id}. The payment method "
            "must be attached to the customer.",
            param,
            "resource_missing",
        )


def delete_customer(call: Call) -> Json:
    """Cancels what the customer still pays for, as Stripe does; only a tombstone stays."""
    return remove_customer(call.account, call.account.load_live("customer", call.id), call.request)


def remove_customer(account: Account, row: Json, request: Json | None) -> Json:
    for subscription in account.where("subscription", "customer", row["id"]):
        if subscription["status"] not in ENDED:
            cancel_now(account, subscription, request)
    for invoice in account.where("invoice", "customer", row["id"]):
        invoice |= {"auto_advance": False, "next_payment_attempt": None}
        account.put("invoice", invoice)
    emit(account, "customer.deleted", row, request=request)
    tombstone = {"id": row["id"], "object": "customer", "deleted": True}
    account.put("customer", tombstone)
    return tombstone


def list_customers(call: Call) -> Json:
    rows = call.account.select("customer", call.params, "email", "test_clock")
    return page(call, "customer", (row for row in rows if not row.get("deleted")), "/v1/customers")


def retrieve_customer(call: Call) -> Json:
    """A deleted customer is still answered, as its tombstone."""
    return call.account.load("customer", call.id)


def retrieve_account(call: Call) -> Json:
    account = call.account
    if call.path and call.id != account.account_id:
        raise missing_object("account", call.id)
    return {
        "id": account.account_id,
        "object": "account",
        "business_profile": {"name": "Local Stripe"},
        "business_type": None,
        "charges_enabled": True,
        "country": "US",
        "created": account.created,
        "default_currency": "usd",
        "details_submitted": True,
        "email": None,
        "payouts_enabled": True,
        "settings": {"dashboard": {"display_name": "Local Stripe", "timezone": "Etc/UTC"}},
        "type": "standard",
    }


NULLABLE_TEXT = params.nullable(params.text)
#: Fields that are stored as they are given.
PLAIN: dict[str, params.Reader] = {
    "address": params.nullable(params.hash_of(dict.fromkeys(ADDRESS, NULLABLE_TEXT))),
    "description": NULLABLE_TEXT,
    "email": NULLABLE_TEXT,
    "name": NULLABLE_TEXT,
    "phone": NULLABLE_TEXT,
    "preferred_locales": params.list_of(params.text),
    "tax_exempt": params.one_of("none", "exempt", "reverse"),
}
CHANGEABLE: dict[str, params.Reader] = {
    **PLAIN,
    "metadata": params.metadata,
    "invoice_settings": params.hash_of({"default_payment_method": params.text}),
}
OPERATIONS = (
    Operation("GET", "/v1/account", retrieve_account),
    Operation("GET", "/v1/accounts/{id}", retrieve_account),
    Operation(
        "POST",
        "/v1/customers",
        create_customer,
        {**CHANGEABLE, "payment_method": params.text, "test_clock": params.text},
    ),
    Operation("GET", "/v1/customers", list_customers, list_params(email=params.text, test_clock=params.text)),
    Operation("GET", "/v1/customers/{id}", retrieve_customer),
    Operation("POST", "/v1/customers/{id}", update_customer, CHANGEABLE),
    Operation("DELETE", "/v1/customers/{id}", delete_customer),
)
