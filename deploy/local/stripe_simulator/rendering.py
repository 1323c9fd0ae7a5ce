"""From a row to the object that Stripe shows, and `expand[]`.

Rows keep ids where Stripe shows ids; only what Stripe always nests (a subscription's items, an
invoice's lines, an item's price) is put together here, fresh at each read.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from deploy.local.stripe_simulator.errors import refused
from deploy.local.stripe_simulator.store import Account, Json

#: Stripe nests this many items or lines; the rest is paged by their own list call.
NESTED = 10
DEEPEST_EXPANSION = 4

#: object → field that holds an id → kind of what it names. Dots lead into plain hashes.
REFERENCES: dict[str, dict[str, str]] = {
    # Hashes in a list that say no object: the items of a schedule's phases.
    "": {"price": "price"},
    "billing_portal.session": {"configuration": "billing_portal.configuration"},
    "charge": {
        "customer": "customer",
        "payment_intent": "payment_intent",
    },
    "checkout.session": {
        "customer": "customer",
        "invoice": "invoice",
        "payment_intent": "payment_intent",
        "subscription": "subscription",
    },
    "customer": {
        "invoice_settings.default_payment_method": "payment_method",
        "test_clock": "test_helpers.test_clock",
    },
    "discount": {"customer": "customer", "promotion_code": "promotion_code", "source.coupon": "coupon"},
    "dispute": {"charge": "charge", "payment_intent": "payment_intent"},
    "invoice": {
        "customer": "customer",
        "default_payment_method": "payment_method",
        "discounts": "discount",
        "parent.subscription_details.subscription": "subscription",
    },
    "invoice_payment": {
        "invoice": "invoice",
        "payment.payment_intent": "payment_intent",
    },
    "invoiceitem": {"customer": "customer", "invoice": "invoice"},
    "line_item": {
        "discounts": "discount",
        "pricing.price_details.price": "price",
        "subscription": "subscription",
    },
    "payment_intent": {
        "customer": "customer",
        "latest_charge": "charge",
        "payment_method": "payment_method",
    },
    "payment_method": {"customer": "customer"},
    "price": {"product": "product"},
    "product": {"default_price": "price"},
    "promotion_code": {"customer": "customer", "promotion.coupon": "coupon"},
    "refund": {
        "charge": "charge",
        "customer": "customer",
        "payment_intent": "payment_intent",
        "payment_method": "payment_method",
    },
    "subscription": {
        "customer": "customer",
        "default_payment_method": "payment_method",
        "discounts": "discount",
        "latest_invoice": "invoice",
        "schedule": "subscription_schedule",
        "test_clock": "test_helpers.test_clock",
    },
    "subscription_item": {"discounts": "discount"},
    "subscription_schedule": {"customer": "customer", "subscription": "subscription"},
}


def render(account: Account, row: Json) -> Json:
    """The object as an API call answers it; the caller must not change what is nested in it."""
    nest = NESTING.get(row["object"])
    return nest(account, row) if nest and not row.get("deleted") else row


def snapshot(account: Account, row: Json) -> Json:
    """A copy that later changes do not reach, for an event's payload."""
    return msgspec.json.decode(msgspec.json.encode(render(account, row)), type=Json)


def nested_list(account: Account, rows: list[Json], url: str) -> Json:
    shown = [render(account, row) for row in rows[:NESTED]]
    return {"object": "list", "data": shown, "has_more": len(rows) > NESTED, "url": url}


def subscription_with_items(account: Account, row: Json) -> Json:
    items = account.where("subscription_item", "subscription", row["id"])
    url = f"/v1/subscription_items?subscription={row['id']}"
    return {**row, "items": nested_list(account, items, url)}


def item_with_price(account: Account, row: Json) -> Json:
    return {**row, "price": render(account, account.load("price", row["price"]))}


def invoice_with_lines(account: Account, row: Json) -> Json:
    lines = account.where("line_item", "invoice", row["id"])
    return {**row, "lines": nested_list(account, lines, f"/v1/invoices/{row['id']}/lines")}


def price_without_options(_account: Account, row: Json) -> Json:
    return {name: value for name, value in row.items() if name != "currency_options"}


def configuration_without_products(_account: Account, row: Json) -> Json:
    features = row["features"]
    update = {name: value for name, value in features["subscription_update"].items() if name != "products"}
    return {**row, "features": {**features, "subscription_update": update}}


def coupon_without_products(account: Account, row: Json) -> Json:
    shown = {name: value for name, value in row.items() if name != "applies_to"}
    return {**shown, "times_redeemed": len(account.where("discount", "coupon", row["id"]))}


def code_with_uses(account: Account, row: Json) -> Json:
    return {**row, "times_redeemed": len(account.where("discount", "promotion_code", row["id"]))}


NESTING: dict[str, Callable[[Account, Json], Json]] = {
    "billing_portal.configuration": configuration_without_products,
    "coupon": coupon_without_products,
    "invoice": invoice_with_lines,
    "item": item_with_price,
    "price": price_without_options,
    "promotion_code": code_with_uses,
    "subscription": subscription_with_items,
    "subscription_item": item_with_price,
}


def session_line_items(account: Account, session: Json) -> Json:
    draft = account.load("checkout_draft", session["id"])
    items = [account.load("item", item_id) for item_id in draft["line_items"]]
    return nested_list(account, items, f"/v1/checkout/sessions/{session['id']}/line_items")


def invoice_payments(account: Account, invoice: Json) -> Json:
    payments = account.where("invoice_payment", "invoice", invoice["id"])
    return nested_list(account, payments, f"/v1/invoice_payments?invoice={invoice['id']}")


def confirmation_secret(account: Account, invoice: Json) -> Json | None:
    """What the customer's browser confirms the payment of an open invoice with; None: nothing waits."""
    for payment in account.where("invoice_payment", "invoice", invoice["id"]):
        if payment["status"] == "open":
            intent = account.load("payment_intent", payment["payment"]["payment_intent"])
            return {"client_secret": intent["client_secret"], "type": "payment_intent"}
    return None


def customer_subscriptions(account: Account, customer: Json) -> Json:
    mine = account.where("subscription", "customer", customer["id"])
    live = [row for row in mine if row["status"] != "canceled"]
    live.reverse()
    return nested_list(account, live, f"/v1/customers/{customer['id']}/subscriptions")


def charge_refunds(account: Account, charge: Json) -> Json:
    rows = account.where("refund", "charge", charge["id"])
    rows.reverse()
    return nested_list(account, rows, f"/v1/charges/{charge['id']}/refunds")


def price_currency_options(account: Account, price: Json) -> Json:
    options: Json = account.load("price", price["id"])["currency_options"]
    return options


def coupon_products(account: Account, coupon: Json) -> Json | None:
    applies_to: Json | None = account.load("coupon", coupon["id"])["applies_to"]
    return applies_to


def portal_products(account: Account, configuration: Json) -> list[Json]:
    row = account.load("billing_portal.configuration", configuration["id"])
    products: list[Json] = row["features"]["subscription_update"]["products"]
    return products


#: What only `expand[]` shows: (object, field) → how it is made. Dots lead into plain hashes.
INCLUDABLE: dict[tuple[str, str], Callable[[Account, Json], Any]] = {
    ("billing_portal.configuration", "features.subscription_update.products"): portal_products,
    ("charge", "refunds"): charge_refunds,
    ("checkout.session", "line_items"): session_line_items,
    ("coupon", "applies_to"): coupon_products,
    ("customer", "subscriptions"): customer_subscriptions,
    ("invoice", "confirmation_secret"): confirmation_secret,
    ("invoice", "payments"): invoice_payments,
    ("price", "currency_options"): price_currency_options,
}


def expand(account: Account, answer: Json, paths: list[str]) -> Json:
    """The answer with each path expanded, in a copy. Raises refused for what cannot be expanded."""
    for path in paths:
        steps = path.split(".")
        if len(steps) > DEEPEST_EXPANSION + (steps[0] == "data"):
            raise refused(f"You cannot expand more than {DEEPEST_EXPANSION} levels of a property.", "expand")
        answer = expand_one(account, answer, steps, path)
    return answer


def expand_one(account: Account, here: Json, steps: list[str], path: str) -> Json:
    """Expand the first steps of a path in `here`, then go on inside of what came out."""
    kind = here.get("object", "")
    for length in range(1, len(steps) + 1):
        name, rest = ".".join(steps[:length]), steps[length:]
        target = REFERENCES.get(kind, {}).get(name)
        if target is not None:
            return expand_reference(account, here, steps[:length], target, (rest, path))
        if include := INCLUDABLE.get((kind, name)):
            known = value_at(here, steps[:length])
            made = include(account, here) if known is None else known
            return placed(here, steps[:length], expand_one(account, made, rest, path) if rest else made)
    first, rest = steps[0], steps[1:]
    inner = here.get(first)
    if isinstance(inner, list) and rest:
        return {**here, first: [expand_one(account, each, rest, path) for each in inner]}
    if isinstance(inner, dict) and rest:
        return {**here, first: expand_one(account, inner, rest, path)}
    raise refused(f"This property cannot be expanded ({path}).", "expand")


def value_at(here: Json, steps: list[str]) -> Any:
    for step in steps:
        here = here.get(step) or {}
    return here or None


def placed(here: Json, steps: list[str], value: Any) -> Json:
    """A copy with the value at the end of `steps`."""
    first, rest = steps[0], steps[1:]
    return {**here, first: placed(here[first], rest, value) if rest else value}


def expand_reference(
    account: Account, here: Json, steps: list[str], kind: str, remaining: tuple[list[str], str]
) -> Json:
    """Put the object in the place of its id at the end of `steps`; nothing there stays nothing."""
    first, inner_steps = steps[0], steps[1:]
    value = here.get(first)
    if value is None:
        return here
    if inner_steps:
        return {**here, first: expand_reference(account, value, inner_steps, kind, remaining)}
    if isinstance(value, list):
        return {**here, first: [expanded(account, one, kind, remaining) for one in value]}
    return {**here, first: expanded(account, value, kind, remaining)}


def expanded(account: Account, value: str | Json, kind: str, remaining: tuple[list[str], str]) -> Json:
    found = render(account, account.load(kind, value)) if isinstance(value, str) else value
    rest, path = remaining
    return expand_one(account, found, rest, path) if rest else found
