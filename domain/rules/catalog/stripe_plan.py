"""Catalogs against what Stripe has: what is missing, what differs, what is left to archive. Pure.

Nothing is remembered between runs: products are known by their id, prices by lookup key and metadata. What
does not carry our metadata is not ours: it is named, and never part of a change.

Source: docs.stripe.com/products-prices/manage-prices (lookup keys, what of a price can change).
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from domain.rules.catalog.diff import FieldChange
from domain.rules.catalog.lookups import lookup_key
from domain.rules.catalog.nouns import Catalog, Plan, Price
from domain.rules.catalog.stripe_leftovers import list_archives, list_unmanaged
from domain.rules.catalog.stripe_nouns import (
    SoldPrice,
    StripeChange,
    StripeFound,
    StripeNote,
    StripePlan,
    StripePrice,
    StripeProduct,
    is_ours,
)
from domain.rules.catalog.stripe_shape import currencies_of, price_params, product_params

_encoder = msgspec.json.Encoder(order="deterministic")


def compare_stripe(catalogs: Mapping[str, Catalog], found: StripeFound) -> StripePlan:
    """What makes Stripe's objects those of the catalogs; of projects that are not given nothing is said."""
    draft = _Draft()
    for _, catalog in sorted(catalogs.items()):
        for plan in catalog.plans.values():
            _compare_product(draft, catalog.project, plan, found)
            for price in plan.prices.values():
                _compare_price(draft, catalog.project, plan, price, found)
    archives = list(list_archives(catalogs, found, draft.kept))
    return StripePlan(
        changes=tuple(draft.changes),
        archives=tuple(archives),
        sold=tuple(draft.sold),
        unmanaged=(*draft.unmanaged, *list_unmanaged(catalogs, found, draft.kept)),
        obstacles=tuple(draft.obstacles),
    )


class _Draft:
    def __init__(self) -> None:
        self.changes: list[StripeChange] = []
        self.sold: list[SoldPrice] = []
        self.unmanaged: list[StripeNote] = []
        self.obstacles: list[StripeNote] = []
        #: Existing prices that are, or are about to be, what is sold.
        self.kept: set[str] = set()


# ── products ────────────────────────────────────────────────────────────────────────────────────────


def _compare_product(draft: _Draft, project: str, plan: Plan, found: StripeFound) -> None:
    product = found.products.get(plan.product_id)
    if product is None:
        _create_product(draft, project, plan)
    elif is_ours(product.metadata, project):
        _update_product(draft, project, plan, product)
    else:
        state = "" if product.is_active else "; it is archived, so nothing of it can be sold"
        detail = f"the product of {project}.{plan.key} carries no metadata of ours: it stays as it is{state}"
        draft.unmanaged.append(StripeNote(noun="product", stripe_id=product.id, detail=detail))


def _create_product(draft: _Draft, project: str, plan: Plan) -> None:
    if plan.product_id.startswith("prod_"):
        # An id that Stripe has made up belongs to a product that exists, or the key is another account's.
        detail = f"Stripe does not have this stripe_product of {project}.{plan.key}: correct it, or remove it"
        draft.obstacles.append(StripeNote(noun="product", stripe_id=plan.product_id, detail=detail))
        return
    params = product_params(project, plan)
    draft.changes.append(
        StripeChange(
            action="create",
            noun="product",
            key=f"{project}.{plan.key}",
            stripe_id=plan.product_id,
            params=params,
            content_key=f"catalog:product:{plan.product_id}:{_digest(params)}",
        )
    )


def _update_product(draft: _Draft, project: str, plan: Plan, product: StripeProduct) -> None:
    wanted = product_params(project, plan)
    before = {"name": product.name, "active": product.is_active}
    fields = [_field(name, before[name], wanted[name]) for name in before if before[name] != wanted[name]]
    fields += [
        _field(f"metadata.{name}", product.metadata.get(name), value)
        for name, value in wanted["metadata"].items()
        if product.metadata.get(name) != value
    ]
    if fields:
        draft.changes.append(
            StripeChange(
                action="update",
                noun="product",
                key=f"{project}.{plan.key}",
                stripe_id=product.id,
                fields=tuple(fields),
                params={name: value for name, value in wanted.items() if name != "id"},
            )
        )


# ── prices ──────────────────────────────────────────────────────────────────────────────────────────


def _compare_price(draft: _Draft, project: str, plan: Plan, price: Price, found: StripeFound) -> None:
    key = lookup_key(project, plan.key, price.key)
    holder = next((one for one in found.prices.values() if one.lookup_key == key), None)
    revisions = _revisions(project, plan, price, found)
    fitting = [one for one in revisions if has_terms(one, plan, price)]
    if holder is not None and holder in fitting:
        _keep(draft, project, plan, price, holder)
    elif imported := find_imported(plan, price, found):
        draft.kept.add(imported.id)
        draft.sold.append(_sold(project, plan, price, imported.id))
    elif holder is not None and not is_ours(holder.metadata, project):
        detail = f"holds the lookup key {key} and is not ours: remove the key from it in Stripe"
        draft.obstacles.append(StripeNote(noun="price", stripe_id=holder.id, detail=detail))
    elif active := [one for one in fitting if one.is_active]:
        _take_key(draft, project, plan, price, active[-1])
    else:
        _create_price(draft, project, plan, price, holder, len(revisions) + 1)


def _revisions(project: str, plan: Plan, price: Price, found: StripeFound) -> list[StripePrice]:
    """Ours of this catalog price, oldest first."""
    ours = [
        one
        for one in found.prices.values()
        if is_ours(one.metadata, project)
        and (one.metadata.get("tollhouse_plan"), one.metadata.get("tollhouse_price")) == (plan.key, price.key)
    ]
    return sorted(ours, key=lambda one: (one.created, one.id))


def has_terms(one: StripePrice, plan: Plan, price: Price) -> bool:
    """Whether it asks for what the catalog says: Stripe's prices never change their amount."""
    recurring = None if price.interval is None else (price.interval, price.interval_count)
    asked = (plan.product_id, price.currency, price.amounts, recurring)
    return one.is_plain and (one.product, one.currency, one.amounts, one.recurring) == asked


def find_imported(plan: Plan, price: Price, found: StripeFound) -> StripePrice | None:
    """A listed legacy price that asks for the same: it is sold, as it is."""
    listed = (found.prices.get(price_id) for price_id in price.stripe_ids)
    return next((one for one in listed if one and one.is_active and has_terms(one, plan, price)), None)


def _keep(draft: _Draft, project: str, plan: Plan, price: Price, holder: StripePrice) -> None:
    draft.kept.add(holder.id)
    if holder.is_active:
        draft.sold.append(_sold(project, plan, price, holder.id))
        return
    draft.changes.append(
        StripeChange(
            action="update",
            noun="price",
            key=f"{project}.{plan.key}.{price.key}",
            stripe_id=holder.id,
            fields=(_field("active", before=False, after=True),),
            params={"active": True},
        )
    )


def _take_key(draft: _Draft, project: str, plan: Plan, price: Price, chosen: StripePrice) -> None:
    key = lookup_key(project, plan.key, price.key)
    draft.kept.add(chosen.id)
    draft.changes.append(
        StripeChange(
            action="update",
            noun="price",
            key=f"{project}.{plan.key}.{price.key}",
            stripe_id=chosen.id,
            fields=(_field("lookup_key", chosen.lookup_key, key),),
            params={"lookup_key": key, "transfer_lookup_key": True},
        )
    )


def _create_price(
    draft: _Draft, project: str, plan: Plan, price: Price, holder: StripePrice | None, revision: int
) -> None:
    params = {**price_params(project, plan, price), "transfer_lookup_key": True}
    draft.changes.append(
        StripeChange(
            action="create",
            noun="price",
            key=f"{project}.{plan.key}.{price.key}",
            stripe_id=None,
            fields=tuple(_term_fields(holder, plan, price)),
            params=params,
            # With the revision: back to an earlier amount within a day is another price, not the same again.
            content_key=f"catalog:price:{params['lookup_key']}:{revision}:{_digest(params)}",
        )
    )


def _term_fields(before: StripePrice | None, plan: Plan, price: Price) -> Iterator[FieldChange]:
    old = before.amounts if before is not None else {}
    for currency in sorted(old.keys() | price.amounts.keys()):
        if old.get(currency) != price.amounts.get(currency):
            yield _field(f"amounts.{currency}", old.get(currency), price.amounts.get(currency))
    if before is not None:
        recurring = None if price.interval is None else (price.interval, price.interval_count)
        terms = (
            ("product", before.product, plan.product_id),
            ("currency", before.currency, price.currency),
            ("interval", _shown(before.recurring), _shown(recurring)),
        )
        yield from (_field(name, was, wanted) for name, was, wanted in terms if was != wanted)


def _sold(project: str, plan: Plan, price: Price, price_id: str) -> SoldPrice:
    return SoldPrice(
        project=project, plan=plan.key, price=price.key, price_id=price_id, currencies=currencies_of(price)
    )


def _field(name: str, before: object, after: object) -> FieldChange:
    return FieldChange(field=name, before=before, after=after)


def _shown(recurring: Sequence[object] | None) -> str | None:
    return None if recurring is None else " x ".join(map(str, reversed(recurring)))


def _digest(params: Mapping[str, Any]) -> str:
    return sha256(_encoder.encode(params)).hexdigest()[:32]
