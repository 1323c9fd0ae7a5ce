"""What Stripe has beside what the catalogs sell: ours to archive, and others' to be named."""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Literal

from domain.rules.catalog.diff import FieldChange
from domain.rules.catalog.nouns import Catalog
from domain.rules.catalog.stripe_nouns import (
    StripeChange,
    StripeFound,
    StripeNote,
    StripePrice,
    is_ours,
)


def list_archives(
    catalogs: Mapping[str, Catalog], found: StripeFound, kept: AbstractSet[str]
) -> Iterator[StripeChange]:
    """Our prices that are sold no longer, then our products whose plan is gone; `kept`: ids that stay."""
    for price in found.prices.values():
        catalog = catalogs.get(price.metadata.get("tollhouse_project", ""))
        if catalog is not None and price.is_active and _is_left_over(price, catalog, kept):
            yield from _archive_price(price, catalog.project, found)
    for product in found.products.values():
        catalog = catalogs.get(product.metadata.get("tollhouse_project", ""))
        if catalog is None or not product.is_active or not is_ours(product.metadata, catalog.project):
            continue
        if product.id not in catalog.plans_by_product_id:
            key = f"{catalog.project}.{product.metadata.get('tollhouse_plan', '?')}"
            yield _archive("product", key, product.id)


def _is_left_over(price: StripePrice, catalog: Catalog, kept: AbstractSet[str]) -> bool:
    is_named = price.id in kept or price.id in catalog.plans_by_price_id
    return is_ours(price.metadata, catalog.project) and not is_named


def _archive_price(price: StripePrice, project: str, found: StripeFound) -> Iterator[StripeChange]:
    named = [price.metadata.get(f"tollhouse_{noun}", "?") for noun in ("plan", "price")]
    product = found.products.get(price.product)
    if product is not None and product.default_price == price.id and is_ours(product.metadata, project):
        # Stripe refuses to archive a price as long as it is the default.
        yield StripeChange(
            action="update",
            noun="product",
            key=f"{project}.{named[0]}",
            stripe_id=product.id,
            fields=(FieldChange(field="default_price", before=price.id, after=None),),
            params={"default_price": ""},
        )
    yield _archive("price", ".".join((project, *named)), price.id)


def _archive(noun: Literal["product", "price"], key: str, stripe_id: str) -> StripeChange:
    return StripeChange(
        action="archive",
        noun=noun,
        key=key,
        stripe_id=stripe_id,
        fields=(FieldChange(field="active", before=True, after=False),),
        params={"active": False},
    )


def list_unmanaged(catalogs: Mapping[str, Catalog], found: StripeFound) -> Iterator[StripeNote]:
    """Active prices of our plans' products that somebody else made: they grant, and no catalog lists them."""
    for catalog in catalogs.values():
        for price in found.prices.values():
            plan = catalog.plans_by_product_id.get(price.product)
            if plan is None or not price.is_active or is_ours(price.metadata, catalog.project):
                continue
            if price.id not in catalog.plans_by_price_id:
                detail = f"is no price of ours, and gives {catalog.project}.{plan.key} to whoever has it"
                yield StripeNote(noun="price", stripe_id=price.id, detail=detail)
