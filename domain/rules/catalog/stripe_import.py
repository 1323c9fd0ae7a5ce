"""Products that are not ours as plans of a catalog: under their own ids, so that they are never changed."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from domain.rules.catalog.fields import is_key
from domain.rules.catalog.nouns import Catalog, Plan, Price
from domain.rules.catalog.stripe_nouns import StripeFound, StripePrice, StripeProduct
from domain.rules.catalog.stripe_terms import choose_key, choose_price_key, find_fault, price_of, show_terms

Remarks = Mapping[str, list[str]]


def add_foreign_plans(
    catalogs: dict[str, Catalog], remarks: Remarks, found: StripeFound, project: str | None
) -> None:
    """Plans of `project` for every product that no plan of `catalogs` names; `project` None: remarks.

    `remarks` gives a list for every path.
    """
    for foreign in _foreign(catalogs, found):
        product = foreign.product
        if not foreign.prices and foreign.listed:
            continue
        if project is None:
            remarks[""].append(
                f"{product.id} ({product.name}, {len(foreign.prices)} prices) is not ours and not in this "
                "file: export --project KEY makes a plan of it."
            )
        else:
            catalogs[project] = _add_plan(catalogs[project], remarks, foreign)


class _Foreign(NamedTuple):
    product: StripeProduct
    #: Those that no catalog lists: the product's default first, then the oldest.
    prices: Sequence[StripePrice]
    #: Ids of those that one does list.
    listed: Sequence[str]


def _foreign(catalogs: Mapping[str, Catalog], found: StripeFound) -> Iterator[_Foreign]:
    named = {plan.product_id for catalog in catalogs.values() for plan in catalog.plans.values()}
    listed = {price_id for catalog in catalogs.values() for price_id in catalog.plans_by_price_id}
    for product in sorted(found.products.values(), key=lambda one: (not one.is_active, one.name, one.id)):
        if product.id in named or _is_of_a_project(product):
            continue
        prices = [one for one in found.prices.values() if one.product == product.id]
        prices.sort(key=partial(_rank, product))
        yield _Foreign(
            product=product,
            prices=[one for one in prices if one.id not in listed],
            listed=[one.id for one in prices if one.id in listed],
        )


def _rank(product: StripeProduct, price: StripePrice) -> tuple[bool, int, str]:
    return (price.id != product.default_price, price.created, price.id)


def _is_of_a_project(product: StripeProduct) -> bool:
    """Ours, of a project that could be exported: it was said there already."""
    return "tollhouse_v" in product.metadata and is_key(product.metadata.get("tollhouse_project", ""))


def _add_plan(catalog: Catalog, remarks: Remarks, foreign: _Foreign) -> Catalog:
    product = foreign.product
    key = choose_key(product.name, catalog.plans)
    said = remarks[f"projects.{catalog.project}.plans.{key}"]
    said.append(
        "Not ours, so its name and prices are never changed. Write what it gives, its group and rank."
    )
    if foreign.listed:
        said.append(f"Another plan lists these of its prices: {', '.join(foreign.listed)}.")
    prices: dict[str, Price] = {}
    if product.is_active:
        prices = _prices(remarks, f"projects.{catalog.project}.plans.{key}", foreign)
    else:
        said.append("It is archived, so nothing of it is sold. Who has it gets what this plan gives.")
    if archived := [one.id for one in foreign.prices if not one.is_active or not product.is_active]:
        said.append(f"Prices that are sold no longer go on giving it: {', '.join(archived)}.")
    name = product.name if product.name.strip() else key
    plan = Plan(key=key, name=name, group="main", product_id=product.id, prices=dict(sorted(prices.items())))
    return replace(catalog, plans=dict(sorted({**catalog.plans, key: plan}.items())))


def _prices(remarks: Remarks, path: str, foreign: _Foreign) -> dict[str, Price]:
    prices: dict[str, Price] = {}
    for one in foreign.prices:
        if not one.is_active:
            continue
        if (fault := find_fault(one)) is not None:
            remarks[path].append(f"{one.id} {fault}: no checkout can sell it; who has it gets this plan.")
            continue
        key = choose_price_key(one, prices)
        prices[key] = price_of(one, key, stripe_ids=(one.id,))
        if one.recurring is None:
            remarks[f"{path}.prices.{key}"].append(
                f"{show_terms(one)}: Stripe does not know for how long; a lifetime is assumed."
            )
    return prices
