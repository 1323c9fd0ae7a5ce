"""Products and prices as Stripe has them now, as far as some catalogs are concerned."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from domain.context import Context
from domain.errors import ObjectMissing
from domain.flows.read_budget import patient_budget
from domain.rules.catalog import Catalog, StripeFound, StripePrice, StripeProduct, lookup_key
from domain.store import catalogs as store
from domain.stripe_gateway import JsonObject, Reserve

#: How long the reads of one command wait for their share of the budget, in seconds, before they give up.
PATIENCE_S = 300.0
#: Stripe's limit of one `lookup_keys` filter.
MOST_LOOKUP_KEYS = 10
#: Stripe shows the other currencies of a price only when it is asked to.
EXPAND_LISTED, EXPAND_ONE = ["data.currency_options"], ["currency_options"]


async def read_stripe_catalog(context: Context, catalogs: Mapping[str, Catalog]) -> StripeFound:
    """Products of the catalogs' plans or with their metadata, all their prices, and prices named or sold.

    Every product of the account is listed: ours are known by metadata, which no filter of Stripe's asks for.

    Raises:
        Throttled: the read budget has no slot for minutes.
        Unavailable: Stripe or Postgres is away.
    """
    reserve = patient_budget(context, PATIENCE_S)
    listed = {one.id: one async for one in _products(context, reserve)}
    products = {name: one for name, one in listed.items() if _is_concerned(one, catalogs)}
    prices: dict[str, StripePrice] = {}
    for product in products:
        async for one in _prices(context, reserve, product=product):
            prices[one.id] = one
    keys = _lookup_keys(catalogs)
    for begin in range(0, len(keys), MOST_LOOKUP_KEYS):
        async for one in _prices(context, reserve, lookup_keys=keys[begin : begin + MOST_LOOKUP_KEYS]):
            prices[one.id] = one
    for price_id in sorted(await _list_named(context, catalogs) - prices.keys()):
        if (found := await _find_price(context, reserve, price_id)) is not None:
            prices[price_id] = found
    # A price of ours that is left on somebody else's product may be its default.
    products |= {one.product: listed[one.product] for one in prices.values() if one.product in listed}
    return StripeFound(products=products, prices=prices)


async def read_whole_account(context: Context) -> StripeFound:
    """Every product and price there is, archived ones too; errors as `read_stripe_catalog`."""
    reserve = patient_budget(context, PATIENCE_S)
    products = {one.id: one async for one in _products(context, reserve)}
    return StripeFound(products=products, prices={one.id: one async for one in _prices(context, reserve)})


async def _products(context: Context, reserve: Reserve) -> AsyncIterator[StripeProduct]:
    async for row in context.stripe_or_raise.read_list("/v1/products", reserve):
        yield StripeProduct(
            id=row["id"],
            name=row["name"],
            is_active=row["active"],
            metadata=row["metadata"],
            default_price=row["default_price"],
        )


def _is_concerned(product: StripeProduct, catalogs: Mapping[str, Catalog]) -> bool:
    is_of_a_plan = any(product.id in catalog.plans_by_product_id for catalog in catalogs.values())
    return is_of_a_plan or product.metadata.get("tollhouse_project") in catalogs


async def _prices(context: Context, reserve: Reserve, **chosen: Any) -> AsyncIterator[StripePrice]:
    pages = context.stripe_or_raise.read_list("/v1/prices", reserve, expand=EXPAND_LISTED, **chosen)
    async for row in pages:
        yield _price(row)


async def _list_named(context: Context, catalogs: Mapping[str, Catalog]) -> set[str]:
    """What the files list, and what was sold: ours may be left on a product that no plan names any more."""
    async with context.database.connection() as connection:
        sold = await store.list_price_ids(connection, sorted(catalogs))
    return {*sold, *(price_id for catalog in catalogs.values() for price_id in catalog.plans_by_price_id)}


async def _find_price(context: Context, reserve: Reserve, price_id: str) -> StripePrice | None:
    try:
        return _price(
            await context.stripe_or_raise.read(f"/v1/prices/{price_id}", reserve, expand=EXPAND_ONE)
        )
    except ObjectMissing:
        return None


def _lookup_keys(catalogs: Mapping[str, Catalog]) -> list[str]:
    return [
        lookup_key(catalog.project, plan.key, price)
        for catalog in catalogs.values()
        for plan in catalog.plans.values()
        for price in plan.prices
    ]


def _price(row: JsonObject) -> StripePrice:
    terms = row["recurring"]
    options = {name: one["unit_amount"] for name, one in (row.get("currency_options") or {}).items()}
    return StripePrice(
        id=row["id"],
        product=row["product"],
        is_active=row["active"],
        currency=row["currency"],
        amounts={**options, row["currency"]: row["unit_amount"]},
        recurring=None if terms is None else (terms["interval"], terms["interval_count"]),
        is_plain=_is_plain(row),
        lookup_key=row["lookup_key"],
        metadata=row["metadata"],
        created=row["created"],
    )


def _is_plain(row: JsonObject) -> bool:
    """An amount per unit, and the quantity is what was bought."""
    usage = (row["recurring"] or {}).get("usage_type", "licensed")
    is_scaled = row["transform_quantity"] is not None or row["custom_unit_amount"] is not None
    return row["billing_scheme"] == "per_unit" and usage == "licensed" and not is_scaled
