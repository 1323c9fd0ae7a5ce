"""Checkout sessions: made by the API, paid on the hosted page (`pages.py`, `purchase.py`)."""

import secrets
from copy import deepcopy
from typing import NoReturn

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.checkout_rules import (
    check_combination,
    check_customer_update,
    check_prices,
)
from deploy.local.stripe_simulator.discounts import Charged, Taker, take_off
from deploy.local.stripe_simulator.errors import malformed, refused
from deploy.local.stripe_simulator.events import emit
from deploy.local.stripe_simulator.ids import PREFIX_OF, new_id
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.promotions import DISCOUNTS, coupon_of, discounts_of
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscriptions import (
    MOST_ITEMS,
    load_price,
    require_currency,
    unit_amount,
)

DAY_S, HALF_HOUR_S = 24 * 3600, 1800

#: A session's fields before anything happens; the varying ones are filled in by `session_row`.
NEW_SESSION: Json = {
    "object": "checkout.session",
    "adaptive_pricing": {"enabled": False},
    "after_expiration": None,
    "collected_information": None,
    "consent": None,
    "consent_collection": None,
    "currency_conversion": None,
    "custom_fields": [],
    "custom_text": {
        "after_submit": None,
        "shipping_address": None,
        "submit": None,
        "terms_of_service_acceptance": None,
    },
    "customer_details": None,
    "discounts": [],
    "integration_identifier": None,
    "invoice": None,
    "invoice_creation": None,
    "livemode": False,
    "origin_context": None,
    "payment_intent": None,
    "payment_link": None,
    "payment_method_configuration_details": None,
    "payment_method_options": {},
    "permissions": None,
    "phone_number_collection": {"enabled": False},
    "recovered_from": None,
    "saved_payment_method_options": None,
    "setup_intent": None,
    "shipping_address_collection": None,
    "shipping_cost": None,
    "shipping_options": [],
    "status": "open",
    "subscription": None,
    "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
    "wallet_options": None,
}


def create_session(call: Call) -> Json:
    account, asked = call.account, call.params
    check_combination(asked)
    check_expiry(account, asked)
    customer = None
    if "customer" in asked:
        customer = account.load_live("customer", asked["customer"], "customer")
        check_customer_update(customer, asked)
    lines = [load_line(account, line, n) for n, line in enumerate(asked["line_items"])]
    check_prices(lines, asked["mode"])
    currency = asked.get("currency") or lines[0]["price"]["currency"]
    for number, line in enumerate(lines):
        require_currency(line["price"], currency, f"line_items[{number}][price]")
    is_trial = has_trial(asked)
    discounts = discounts_of(account, asked, currency)
    items = [new_item(account, line, currency, is_trial=is_trial) for line in lines]
    discount_items(account, items, discounts)
    row = session_row(call, currency, items, discounts)
    account.put("checkout.session", row)
    draft = {
        "id": row["id"],
        "line_items": [item["id"] for item in items],
        "payment_intent": None,
        "payment_intent_data": asked.get("payment_intent_data", {}),
        "subscription_data": asked.get("subscription_data", {}),
    }
    account.put("checkout_draft", draft)
    return row


def check_expiry(account: Account, asked: Json) -> None:
    """Between 30 minutes and 24 hours from now; a minute of slack is for the caller's clock."""
    now = account.now()
    value = asked.get("expires_at", now + DAY_S)
    if not now + HALF_HOUR_S - 60 <= value <= now + DAY_S + 60:
        raise malformed(
            "The `expires_at` timestamp must be less than 24 hours and at least 30 minutes from Checkout "
            "Session creation.",
            "expires_at",
        )


def load_line(account: Account, line: Json, number: int) -> Json:
    return {**line, "price": load_price(account, line["price"], f"line_items[{number}][price]")}


def has_trial(asked: Json) -> bool:
    data = asked.get("subscription_data", {})
    return bool(data.get("trial_period_days") or data.get("trial_end"))


def new_item(account: Account, line: Json, currency: str, *, is_trial: bool) -> Json:
    """A line item; its amounts are what is due today, so a recurring one costs nothing in a trial."""
    price, quantity = line["price"], line.get("quantity", 1)
    total = unit_amount(price, currency) * quantity
    due = 0 if is_trial and price["recurring"] else total
    row = {
        "id": new_id("item"),
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": due,
        "amount_tax": 0,
        "amount_total": due,
        "currency": currency,
        "description": account.load("product", price["product"])["name"],
        "metadata": params.changed_metadata({}, line.get("metadata")),
        "price": price["id"],
        "quantity": quantity,
    }
    account.put("item", row)
    return row


def discount_items(account: Account, items: list[Json], discounts: list[Json]) -> None:
    takers = [Taker(str(number), coupon_of(account, one)) for number, one in enumerate(discounts)]
    products = [account.load("price", item["price"])["product"] for item in items]
    lines = [Charged(product, item["amount_total"]) for product, item in zip(products, items, strict=True)]
    for item, taken in zip(items, take_off(takers, lines), strict=True):
        off = sum(taken.values())
        account.put("item", {**item, "amount_discount": off, "amount_total": item["amount_total"] - off})


def session_row(call: Call, currency: str, items: list[Json], discounts: list[Json]) -> Json:
    account, asked = call.account, call.params
    mode, now = asked["mode"], account.now()
    session_id = PREFIX_OF["checkout.session"] + secrets.token_hex(29)
    is_hosted = asked.get("ui_mode", "hosted_page") == "hosted_page"
    if "customer" in asked:
        creation = None
    else:
        creation = "always" if mode == "subscription" else asked.get("customer_creation", "if_required")
    rows = [account.load("item", item["id"]) for item in items]
    total, off = (sum(row[name] for row in rows) for name in ("amount_total", "amount_discount"))
    collection = "always" if mode == "subscription" else "if_required"
    return {
        **deepcopy(NEW_SESSION),
        "id": session_id,
        "allow_promotion_codes": asked.get("allow_promotion_codes"),
        "amount_subtotal": total + off,
        "amount_total": total,
        "automatic_tax": {
            "enabled": asked.get("automatic_tax", {}).get("enabled", False),
            "liability": None,
            "provider": None,
            "status": None,
        },
        "billing_address_collection": asked.get("billing_address_collection"),
        "cancel_url": asked.get("cancel_url"),
        "client_reference_id": asked.get("client_reference_id"),
        "client_secret": None if is_hosted else f"{session_id}_secret_{secrets.token_hex(12)}",
        "created": now,
        "currency": currency,
        "customer": asked.get("customer"),
        "discounts": discounts,
        "customer_account": None,
        "customer_creation": creation,
        "customer_email": asked.get("customer_email"),
        "expires_at": asked.get("expires_at", now + DAY_S),
        "locale": asked.get("locale"),
        "metadata": params.changed_metadata({}, asked.get("metadata")),
        "mode": mode,
        "payment_method_collection": asked.get("payment_method_collection", collection),
        "payment_method_types": asked.get("payment_method_types", ["card", "us_bank_account"]),
        "payment_status": "unpaid" if total else "no_payment_required",
        "submit_type": asked.get("submit_type"),
        "success_url": asked.get("success_url"),
        "total_details": {**NEW_SESSION["total_details"], "amount_discount": off},
        "tax_id_collection": {"enabled": False, "required": "never", **asked.get("tax_id_collection", {})},
        "ui_mode": asked.get("ui_mode", "hosted_page"),
        "url": f"{call.base_url}/c/pay/{session_id}" if is_hosted else None,
        **({} if is_hosted else {"return_url": asked["return_url"]}),
    }


def expire_session(call: Call) -> Json:
    account = call.account
    row = load_session(account, call.id)
    if row["status"] != "open":
        raise refused(
            "Only Checkout Sessions with a status in [`open`] can be expired. This Checkout Session has a "
            f"status of `{row['status']}`.",
        )
    expire(account, row, call.request)
    return row


def expire(account: Account, row: Json, request: Json | None = None) -> None:
    row |= {"status": "expired", "url": None}
    account.put("checkout.session", row)
    emit(account, "checkout.session.expired", row, request=request)


def expires_at(_account: Account, row: Json) -> int | None:
    return int(row["expires_at"]) if row["status"] == "open" else None


def load_session(account: Account, session_id: str) -> Json:
    return account.load("checkout.session", session_id)


def retrieve_session(call: Call) -> Json:
    return load_session(call.account, call.id)


def list_sessions(call: Call) -> Json:
    names = ("subscription", "payment_intent", "customer", "status")
    rows = call.account.select("checkout.session", call.params, *names)
    return page(call, "checkout.session", rows, "/v1/checkout/sessions")


def list_line_items(call: Call) -> Json:
    account = call.account
    row = load_session(account, call.id)
    url = f"/v1/checkout/sessions/{row['id']}/line_items"
    return page(call, "item", items_of_session(account, row), url, oldest_first=True)


def items_of_session(account: Account, row: Json) -> list[Json]:
    draft = account.load("checkout_draft", row["id"])
    return [account.load("item", item_id) for item_id in draft["line_items"]]


def refuse_method_types(raw: params.Raw, name: str) -> NoReturn:  # noqa: ARG001 (a Reader's signature)
    raise malformed(
        "`payment_method_types` is no longer accepted at this API version: payment methods are managed in "
        "the Dashboard, or limited by `allowed_payment_method_types`.",
        name,
        "parameter_unknown",
    )


TRIAL_SETTINGS = params.hash_of(
    {
        "end_behavior": params.hash_of(
            {"missing_payment_method": params.one_of("cancel", "create_invoice", "pause")},
            required=("missing_payment_method",),
        )
    },
    required=("end_behavior",),
)
ENABLED = params.hash_of({"enabled": params.boolean}, required=("enabled",))
UPDATE = params.one_of("auto", "never")
CREATE: dict[str, params.Reader] = {
    "allow_promotion_codes": params.boolean,
    "automatic_tax": ENABLED,
    "billing_address_collection": params.one_of("auto", "required"),
    "cancel_url": params.text,
    "client_reference_id": params.text,
    "currency": params.currency,
    "customer": params.text,
    "customer_creation": params.one_of("always", "if_required"),
    "customer_email": params.text,
    "customer_update": params.hash_of({"address": UPDATE, "name": UPDATE, "shipping": UPDATE}),
    "discounts": DISCOUNTS,
    "expires_at": params.integer,
    "line_items": params.list_of(
        params.hash_of(
            {"metadata": params.metadata, "price": params.text, "quantity": params.amount},
            required=("price",),
        ),
        at_most=MOST_ITEMS,
    ),
    "locale": params.text,
    "metadata": params.metadata,
    "mode": params.one_of("payment", "subscription"),
    "payment_intent_data": params.hash_of(
        {
            "description": params.text,
            "metadata": params.metadata,
            "setup_future_usage": params.one_of("off_session", "on_session"),
            "shipping": params.SHIPPING,
        }
    ),
    "payment_method_collection": params.one_of("always", "if_required"),
    "payment_method_types": refuse_method_types,
    "return_url": params.text,
    "submit_type": params.one_of("auto", "book", "donate", "pay"),
    "subscription_data": params.hash_of(
        {
            "description": params.text,
            "metadata": params.metadata,
            "trial_end": params.integer,
            "trial_period_days": params.amount,
            "trial_settings": TRIAL_SETTINGS,
        }
    ),
    "success_url": params.text,
    "tax_id_collection": ENABLED,
    "ui_mode": params.one_of("elements", "embedded_page", "hosted_page"),
}
OPERATIONS = (
    Operation(
        "POST",
        "/v1/checkout/sessions",
        create_session,
        CREATE,
        required=("line_items", "mode"),
        older={"payment_method_types": params.list_of(params.text)},
    ),
    Operation(
        "GET",
        "/v1/checkout/sessions",
        list_sessions,
        list_params(
            customer=params.text,
            payment_intent=params.text,
            status=params.one_of("complete", "expired", "open"),
            subscription=params.text,
        ),
    ),
    Operation("GET", "/v1/checkout/sessions/{id}", retrieve_session),
    Operation("POST", "/v1/checkout/sessions/{id}/expire", expire_session),
    Operation("GET", "/v1/checkout/sessions/{id}/line_items", list_line_items, list_params()),
)
