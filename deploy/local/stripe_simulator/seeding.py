"""Seeding: products and prices under ids that the caller chooses, portal configurations, webhook endpoints.

Repeating a seed changes nothing; a changed one brings the objects up to date.
"""

from typing import Any, Literal

import msgspec

from deploy.local.stripe_simulator.catalog import currency_option, new_price, new_product, recurring_terms
from deploy.local.stripe_simulator.endpoints import new_endpoint, store_endpoint
from deploy.local.stripe_simulator.errors import StripeError
from deploy.local.stripe_simulator.events import changes, emit
from deploy.local.stripe_simulator.portal_configurations import KIND as CONFIGURATION
from deploy.local.stripe_simulator.portal_configurations import apply_changes, new_configuration
from deploy.local.stripe_simulator.portal_features import merged
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.versions import read_version


class EndpointSeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An endpoint, known again by its address."""

    url: str
    secret: str
    enabled_events: list[str] = msgspec.field(default_factory=lambda: ["*"])
    #: As in `versions.NAMED`; None: the account's.
    api_version: str | None = None
    payload: Literal["snapshot", "thin"] = "snapshot"


class Seed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    #: Stripe's fields; `id` and `name` are needed.
    products: list[dict[str, Any]] = []
    #: Stripe's fields; `id`, `product`, `currency` and `unit_amount` are needed.
    prices: list[dict[str, Any]] = []
    #: `features` and `metadata`, by whose `tollhouse_project` and `tollhouse_env` it is known again.
    portal_configurations: list[dict[str, Any]] = []
    webhook_endpoints: list[EndpointSeed] = []
    #: Whether new and changed products and prices emit their events.
    emit: bool = False


def plant(account: Account, seed: Seed) -> Json:
    """Make or update everything; returns how many objects changed, and the endpoints' ids.

    Raises StripeError (400) for a field that the object does not have or a value that is missing.
    """
    products = [(fields, "product") for fields in seed.products]
    prices = [(fields, "price") for fields in seed.prices]
    portals = [(fields, "portal") for fields in seed.portal_configurations]
    for fields, kind in [*products, *prices, *portals]:
        require(fields, kind)
    changed = sum(plant_product(account, fields, emits=seed.emit) for fields in seed.products)
    changed += sum(plant_price(account, fields, emits=seed.emit) for fields in seed.prices)
    changed += sum(plant_configuration(account, fields) for fields in seed.portal_configurations)
    endpoints = [plant_endpoint(account, endpoint) for endpoint in seed.webhook_endpoints]
    return {"ok": True, "changed": changed, "webhook_endpoints": endpoints}


NEEDED = {
    "product": ("id", "name"),
    "price": ("id", "product", "currency", "unit_amount"),
    "portal": ("features", "metadata"),
}
#: Of a portal configuration's metadata: whose it is.
NAMES = ("tollhouse_project", "tollhouse_env")


def require(fields: Json, kind: str) -> None:
    for name in NEEDED[kind]:
        if name not in fields:
            raise StripeError(f"a seeded {kind} needs `{name}`: {fields}")


def plant_product(account: Account, fields: Json, *, emits: bool) -> bool:
    known = account.find("product", fields["id"])
    row = known or new_product(account, fields["id"], fields["name"])
    return overwrite(account, row, fields, is_new=known is None, emits=emits)


def plant_price(account: Account, fields: Json, *, emits: bool) -> bool:
    """A lookup key moves to the price that is seeded with it last."""
    if account.find("product", fields["product"]) is None:
        raise StripeError(f"price {fields['id']}: no product {fields['product']!r}; seed it first")
    shaped = shape_price(fields)
    known = account.find("price", fields["id"])
    row = known or new_price(account, fields["id"], shaped)
    key = fields.get("lookup_key")
    for holder in account.where("price", "lookup_key", key) if key else []:
        if holder["id"] != row["id"]:
            holder["lookup_key"] = None
            account.put("price", holder)
    return overwrite(account, row, shaped, is_new=known is None, emits=emits)


def shape_price(fields: Json) -> Json:
    """The given fields completed to Stripe's shape where they hold hashes."""
    shaped = {**fields}
    amounts = {
        fields["currency"]: {"unit_amount": fields["unit_amount"]},
        **fields.get("currency_options", {}),
    }
    shaped["currency_options"] = {name: currency_option(option) for name, option in amounts.items()}
    shaped["unit_amount_decimal"] = str(fields["unit_amount"])
    if fields.get("recurring"):
        shaped["recurring"] = recurring_terms(fields["recurring"])
    shaped["type"] = "recurring" if fields.get("recurring") else "one_time"
    return shaped


def overwrite(account: Account, row: Json, fields: Json, *, is_new: bool, emits: bool) -> bool:
    """Returns whether anything changed."""
    kind = row["object"]
    if unknown := fields.keys() - row.keys():
        raise StripeError(f"{kind} {row['id']}: Stripe has no field {', '.join(sorted(unknown))}")
    before = snapshot(account, row)
    stored_before = {**row}
    row |= fields
    if row == stored_before and not is_new:
        return False
    account.put(kind, row)
    if emits:
        difference = None if is_new else changes(before, snapshot(account, row))
        emit(account, f"{kind}.{'created' if is_new else 'updated'}", row, previous=difference)
    return True


def plant_configuration(account: Account, fields: Json) -> bool:
    """Returns whether anything changed; what was set in the dashboard beside stays."""
    rows = account.rows.get(CONFIGURATION, {}).values()
    asked = [fields["metadata"].get(name) for name in NAMES]
    known = [row for row in rows if [row["metadata"].get(name) for name in NAMES] == asked]
    if not known:
        new_configuration(account, fields)
        return True
    row = known[0]
    if merged(row["features"], fields["features"]) == row["features"]:
        return False
    apply_changes(account, row, fields)
    return True


def plant_endpoint(account: Account, seed: EndpointSeed) -> str:
    known = [row for row in account.rows.get("webhook_endpoint", {}).values() if row["url"] == seed.url]
    row = known[0] if known else new_endpoint(account, seed.url, seed.enabled_events)
    version = None if seed.api_version is None else read_version(seed.api_version)
    row |= {"api_version": version, "enabled_events": seed.enabled_events, "status": "enabled"}
    store_endpoint(account, row, seed.secret, seed.payload)
    endpoint_id: str = row["id"]
    return endpoint_id
