"""Products and prices."""

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.endpoints import web_url
from deploy.local.stripe_simulator.errors import missing_object, refused
from deploy.local.stripe_simulator.events import changes, emit
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.rendering import render, snapshot
from deploy.local.stripe_simulator.store import Account, Json

#: Stripe's limit of one `lookup_keys` filter.
MOST_LOOKUP_KEYS = 10


def create_product(call: Call) -> Json:
    account, asked = call.account, call.params
    product_id = asked.get("id") or new_id("product")
    if account.find("product", product_id) is not None:
        raise refused("Product already exists.", "id", "resource_already_exists")
    row = new_product(account, product_id, asked["name"])
    change_product(account, row, asked)
    emit(account, "product.created", row, request=call.request)
    return row


def new_product(account: Account, product_id: str, name: str) -> Json:
    now = account.now()
    return {
        "id": product_id,
        "object": "product",
        "active": True,
        "created": now,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "metadata": {},
        "name": name,
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "unit_label": None,
        "updated": now,
        "url": None,
    }


def change_product(account: Account, row: Json, asked: Json) -> None:
    if asked.get("default_price") is not None:
        price = account.load("price", asked["default_price"], "default_price")
        if price["product"] != row["id"]:
            raise refused(f"The price {price['id']} belongs to another product.", "default_price")
    for name in asked.keys() - {"id", "metadata"}:
        row[name] = asked[name]
    row["metadata"] = params.changed_metadata(row["metadata"], asked.get("metadata"))
    row["updated"] = account.now()
    account.put("product", row)


def update_product(call: Call) -> Json:
    account = call.account
    row = account.load("product", call.id)
    before = snapshot(account, row)
    change_product(account, row, call.params)
    if difference := changes(before, row):
        emit(account, "product.updated", row, previous=difference, request=call.request)
    return row


def delete_product(call: Call) -> Json:
    """Only a product without prices can go; afterwards it is missing."""
    account = call.account
    row = account.load("product", call.id)
    if account.where("price", "product", call.id):
        raise refused("This product cannot be deleted because it has one or more user-created prices.", "id")
    emit(account, "product.deleted", row, request=call.request)
    account.remove("product", call.id)
    return {"id": call.id, "object": "product", "deleted": True}


def list_products(call: Call) -> Json:
    asked = call.params
    rows = call.account.rows.get("product", {}).values()
    chosen = [
        row
        for row in rows
        if asked.get("active", row["active"]) is row["active"] and row["id"] in asked.get("ids", [row["id"]])
    ]
    return page(call, "product", chosen, "/v1/products")


def create_price(call: Call) -> Json:
    account, asked = call.account, call.params
    product = account.find("product", asked["product"])
    if product is None:
        raise missing_object("product", asked["product"], "product")
    row = new_price(account, new_id("price"), asked)
    take_lookup_key(call, row)
    change_price(account, row, asked)
    emit(account, "price.created", row, request=call.request)
    return render(account, row)


def new_price(account: Account, price_id: str, asked: Json) -> Json:
    """A price per unit; `asked` has currency, product, unit_amount and perhaps recurring."""
    recurring = asked.get("recurring")
    return {
        "id": price_id,
        "object": "price",
        "active": True,
        "billing_scheme": "per_unit",
        "created": account.now(),
        "currency": asked["currency"],
        "currency_options": {asked["currency"]: currency_option({"unit_amount": asked["unit_amount"]})},
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": None,
        "metadata": {},
        "nickname": None,
        "product": asked["product"],
        "recurring": recurring_terms(recurring) if recurring else None,
        "tax_behavior": "unspecified",
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring" if recurring else "one_time",
        "unit_amount": asked["unit_amount"],
        "unit_amount_decimal": str(asked["unit_amount"]),
    }


def recurring_terms(asked: Json) -> Json:
    return {
        "interval": asked["interval"],
        "interval_count": asked.get("interval_count", 1),
        "meter": None,
        "usage_type": asked.get("usage_type", "licensed"),
    }


def currency_option(asked: Json) -> Json:
    return {
        "custom_unit_amount": None,
        "tax_behavior": asked.get("tax_behavior", "unspecified"),
        "unit_amount": asked["unit_amount"],
        "unit_amount_decimal": str(asked["unit_amount"]),
    }


def take_lookup_key(call: Call, row: Json) -> None:
    """Refuse a key that another price holds, unless the call asks to transfer it."""
    account, asked = call.account, call.params
    if asked.get("lookup_key") is None:
        return
    for holder in account.where("price", "lookup_key", asked["lookup_key"]):
        if holder["id"] == row["id"]:
            continue
        if not asked.get("transfer_lookup_key"):
            raise refused(f"A price (`{holder['id']}`) already uses that lookup key.", "lookup_key")
        release_lookup_key(account, holder, call.request)


def release_lookup_key(account: Account, holder: Json, request: Json | None) -> None:
    previous = {"lookup_key": holder["lookup_key"]}
    holder["lookup_key"] = None
    account.put("price", holder)
    emit(account, "price.updated", holder, previous=previous, request=request)


def change_price(account: Account, row: Json, asked: Json) -> None:
    for name in asked.keys() & {"active", "lookup_key", "nickname", "tax_behavior"}:
        row[name] = asked[name]
    row["metadata"] = params.changed_metadata(row["metadata"], asked.get("metadata"))
    options = {name: currency_option(option) for name, option in asked.get("currency_options", {}).items()}
    row["currency_options"] = {**row["currency_options"], **options}
    account.put("price", row)


def update_price(call: Call) -> Json:
    account = call.account
    row = account.load("price", call.id)
    before = snapshot(account, row)
    refuse_archiving_default(account, row, call.params)
    take_lookup_key(call, row)
    change_price(account, row, call.params)
    if difference := changes(before, snapshot(account, row)):
        emit(account, "price.updated", row, previous=difference, request=call.request)
    return render(account, row)


def refuse_archiving_default(account: Account, row: Json, asked: Json) -> None:
    if asked.get("active") is False and account.load("product", row["product"])["default_price"] == row["id"]:
        raise refused("This price cannot be archived because it is the default price of its product.")


def list_prices(call: Call) -> Json:
    account, asked = call.account, call.params
    rows = list(account.rows.get("price", {}).values())
    if "lookup_keys" in asked:
        rows = [row for key in asked["lookup_keys"] for row in account.where("price", "lookup_key", key)]
    same = [name for name in ("active", "currency", "product", "type") if name in asked]
    rows = [row for row in rows if all(row[name] == asked[name] for name in same)]
    wanted = asked.get("recurring", {}).get("interval")
    if wanted is not None:
        rows = [row for row in rows if (row["recurring"] or {}).get("interval") == wanted]
    return page(call, "price", rows, "/v1/prices")


def retrieve_product(call: Call) -> Json:
    return call.account.load("product", call.id)


def retrieve_price(call: Call) -> Json:
    return render(call.account, call.account.load("price", call.id))


NULLABLE_TEXT = params.nullable(params.text)
INTERVAL = params.one_of("day", "week", "month", "year")
TAX_BEHAVIOR = params.one_of("exclusive", "inclusive", "unspecified")
PRODUCT: dict[str, params.Reader] = {
    "active": params.boolean,
    "description": NULLABLE_TEXT,
    "images": params.list_of(web_url),
    "marketing_features": params.list_of(params.hash_of({"name": params.text}, required=("name",))),
    "metadata": params.metadata,
    "name": params.text,
    "shippable": params.boolean,
    "statement_descriptor": NULLABLE_TEXT,
    "tax_code": NULLABLE_TEXT,
    "unit_label": NULLABLE_TEXT,
    "url": NULLABLE_TEXT,
}
PRICE: dict[str, params.Reader] = {
    "active": params.boolean,
    "currency_options": params.map_of(
        params.hash_of(
            {"unit_amount": params.amount, "tax_behavior": TAX_BEHAVIOR}, required=("unit_amount",)
        )
    ),
    "lookup_key": NULLABLE_TEXT,
    "metadata": params.metadata,
    "nickname": NULLABLE_TEXT,
    "tax_behavior": TAX_BEHAVIOR,
    "transfer_lookup_key": params.boolean,
}
NEW_PRICE: dict[str, params.Reader] = {
    **PRICE,
    "currency": params.currency,
    "product": params.text,
    "recurring": params.hash_of(
        {
            "interval": INTERVAL,
            "interval_count": params.amount,
            "usage_type": params.one_of("licensed"),
        },
        required=("interval",),
    ),
    "unit_amount": params.amount,
}
OPERATIONS = (
    Operation("POST", "/v1/products", create_product, {**PRODUCT, "id": params.text}, required=("name",)),
    Operation(
        "GET",
        "/v1/products",
        list_products,
        list_params(active=params.boolean, ids=params.list_of(params.text)),
    ),
    Operation("GET", "/v1/products/{id}", retrieve_product),
    Operation("POST", "/v1/products/{id}", update_product, {**PRODUCT, "default_price": NULLABLE_TEXT}),
    Operation("DELETE", "/v1/products/{id}", delete_product),
    Operation("POST", "/v1/prices", create_price, NEW_PRICE, required=("currency", "product", "unit_amount")),
    Operation(
        "GET",
        "/v1/prices",
        list_prices,
        list_params(
            active=params.boolean,
            currency=params.currency,
            lookup_keys=params.list_of(params.text, at_most=MOST_LOOKUP_KEYS),
            product=params.text,
            recurring=params.hash_of({"interval": INTERVAL}),
            type=params.one_of("one_time", "recurring"),
        ),
    ),
    Operation("GET", "/v1/prices/{id}", retrieve_price),
    Operation("POST", "/v1/prices/{id}", update_price, PRICE),
)
