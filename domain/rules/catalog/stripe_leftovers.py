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
    StripeProduct,
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
    if (product := _product_of_default(price, found)) is not None:
        if not is_ours(product.metadata, project):
            return
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


def _product_of_default(price: StripePrice, found: StripeFound) -> StripeProduct | None:
    """The product whose default price it is; None: of none."""
    product = found.products.get(price.product)
    return product if product is not None and product.default_price == price.id else None


def _archive(noun: Literal["product", "price"], key: str, stripe_id: str) -> StripeChange:
    return StripeChange(
        action="archive",
        noun=noun,
        key=key,
        stripe_id=stripe_id,
        fields=(FieldChange(field="active", before=True, after=False),),
        params={"active": False},
    )


def list_unmanaged(
    catalogs: Mapping[str, Catalog], found: StripeFound, kept: AbstractSet[str]
) -> Iterator[StripeNote]:
    """What stays as it is: prices of somebody else's that grant, and ours that only they can archive."""
    for catalog in catalogs.values():
        yield from _foreign_prices(catalog, found)
        yield from _foreign_defaults(catalog, found, kept)


def _foreign_prices(catalog: Catalog, found: StripeFound) -> Iterator[StripeNote]:
    """Active prices of our plans' products that no catalog lists."""
    for price in found.prices.values():
        plan = catalog.plans_by_product_id.get(price.product)
        if plan is None or not price.is_active or is_ours(price.metadata, catalog.project):
            continue
        if price.id not in catalog.plans_by_price_id:
            detail = f"is no price of ours, and gives {catalog.project}.{plan.key} to whoever has it"
            yield StripeNote(noun="price", stripe_id=price.id, detail=detail)


def _foreign_defaults(catalog: Catalog, found: StripeFound, kept: AbstractSet[str]) -> Iterator[StripeNote]:
    """Ours that are sold no longer, and the default of a product that is not ours to change."""
    for price in found.prices.values():
        product = _product_of_default(price, found)
        if product is None or not price.is_active or is_ours(product.metadata, catalog.project):
            continue
        if _is_left_over(price, catalog, kept):
            detail = (
                f"is sold no longer and stays active: it is the default price of {product.id}, which is not "
                "ours. Choose another default there, and apply again"
            )
            yield StripeNote(noun="price", stripe_id=price.id, detail=detail)
