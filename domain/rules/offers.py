"""What a pricing page shows: the plans an app may offer, and how each stands to what a user has. Pure.

Source: docs/api.md, "Catalog".
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from domain.model import FeatureValue
from domain.money import PriceTerms
from domain.rules.catalog import Catalog, Feature, GrantValue, Plan, Price, plan_of
from domain.rules.catalog.nouns import FeatureType, OnUnavailable, PlanKind
from domain.rules.holdings import is_plan_seen

#: scheduled: a change to it is waiting; available: nothing the user has stands in its way.
Relation = Literal["current", "upgrade", "downgrade", "scheduled", "available"]


class OfferedValue(Struct, frozen=True, kw_only=True):
    #: Null: unlimited.
    value: FeatureValue
    #: Integers only.
    unlimited: bool | UnsetType = UNSET
    #: Integers of plans only: multiplied by the quantity.
    per_unit: bool | UnsetType = UNSET


class OfferedPrice(Struct, frozen=True, kw_only=True):
    key: str
    #: Null: a one-time price.
    interval: str | None
    interval_count: int
    #: One-time prices: days of access; null: for a lifetime.
    duration_days: int | None
    #: The one that a checkout takes when nothing else decides.
    currency: str
    #: Minor units by currency.
    amounts: dict[str, int]
    #: Only of the user's own price: it is sold no more.
    removed: bool | UnsetType = UNSET


class OfferedPlan(Struct, frozen=True, kw_only=True):
    key: str
    name: str
    kind: PlanKind
    #: Add-ons: the plan without which it gives nothing.
    requires: str | None
    #: A user has at most one live subscription of each; null: an add-on's.
    group: str | None
    rank: int
    #: 0: none.
    trial_days: int
    #: Of the features that the app sees, what it gives.
    features: dict[str, OfferedValue]
    prices: tuple[OfferedPrice, ...]
    #: Only where a user was named.
    relation: Relation | UnsetType = UNSET
    #: Only of the user's own plan: it is sold no more.
    removed: bool | UnsetType = UNSET


class OfferedFeature(Struct, frozen=True, kw_only=True):
    key: str
    type: FeatureType
    #: Enums only: lowest first.
    values: tuple[str, ...] | UnsetType = UNSET
    #: What everybody has; null: nothing.
    default: OfferedValue | None
    #: What a client answers when it cannot reach us.
    on_unavailable: OnUnavailable
    max_stale_s: int


class Held(Struct, frozen=True, kw_only=True):
    """What a user has, as far as offers go by it."""

    #: Plans subscribed to or bought, by key.
    current: frozenset[str] = frozenset()
    #: Rank of the plan subscribed to, by group.
    ranks: Mapping[str, int] = {}
    #: Plans that a waiting change leads to.
    scheduled: frozenset[str] = frozenset()
    #: What is subscribed to at which terms.
    terms: Sequence[PriceTerms] = ()


def hold(
    catalog: Catalog,
    *,
    subscribed: Sequence[Plan],
    purchased: Sequence[Plan],
    scheduled: Sequence[PriceTerms],
    terms: Sequence[PriceTerms],
) -> Held:
    coming = [plan_of(catalog, one.price_id, one.product_id) for one in scheduled]
    return Held(
        current=frozenset(plan.key for plan in (*subscribed, *purchased)),
        ranks={plan.group: plan.rank for plan in subscribed if plan.group is not None},
        scheduled=frozenset(plan.key for plan in coming if plan is not None),
        terms=terms,
    )


def offer_plans(catalog: Catalog, app: str, held: Held | None) -> tuple[OfferedPlan, ...]:
    """The plans that give something the app sees, lowest rank first; `held` None: nobody was named."""
    offered = [
        _offer(plan, catalog, app, held)
        for plan in catalog.plans.values()
        if is_plan_seen(plan, catalog, app)
    ]
    removed = _removed_plans(catalog, held) if held is not None else []
    return tuple(sorted([*offered, *removed], key=lambda plan: (plan.rank, plan.key)))


def offer_features(catalog: Catalog, app: str) -> tuple[OfferedFeature, ...]:
    return tuple(
        OfferedFeature(
            key=feature.key,
            type=feature.type,
            values=feature.values if feature.type == "enum" else UNSET,
            default=_value(feature, feature.default) if feature.default is not None else None,
            on_unavailable=feature.on_unavailable,
            max_stale_s=feature.max_stale_s,
        )
        for feature in catalog.features_by_app[app]
    )


def relation_of(plan: Plan, held: Held) -> Relation:
    """How a plan stands to what its user has; of one rank with it counts as an upgrade."""
    if plan.key in held.current:
        return "current"
    if plan.key in held.scheduled:
        return "scheduled"
    rank = held.ranks.get(plan.group or "")
    if rank is None or all(price.is_one_time for price in plan.prices.values()):
        return "available"
    return "upgrade" if plan.rank >= rank else "downgrade"


def _offer(plan: Plan, catalog: Catalog, app: str, held: Held | None) -> OfferedPlan:
    prices = [_price(price) for _, price in sorted(plan.prices.items())]
    if held is not None:
        own = [one for one in held.terms if _is_of(one, plan, catalog) and one.price not in plan.prices]
        prices.extend(_removed_prices(own))
    return OfferedPlan(
        key=plan.key,
        name=plan.name,
        kind=plan.kind,
        requires=plan.requires,
        group=plan.group,
        rank=plan.rank,
        trial_days=plan.trial_days,
        features={
            feature.key: _value(feature, plan.grants[feature.key])
            for feature in catalog.features_by_app[app]
            if plan.gives(feature.key)
        },
        prices=tuple(prices),
        relation=relation_of(plan, held) if held is not None else UNSET,
    )


def _value(feature: Feature, given: GrantValue) -> OfferedValue:
    is_number = feature.type == "integer"
    return OfferedValue(
        value=given.value,
        unlimited=given.value is None if is_number else UNSET,
        per_unit=True if given.per_unit else UNSET,
    )


def _price(price: Price) -> OfferedPrice:
    return OfferedPrice(
        key=price.key,
        interval=price.interval,
        interval_count=price.interval_count,
        duration_days=price.duration_days,
        currency=price.currency,
        amounts=price.amounts,
    )


# ── what is sold no more ────────────────────────────────────────────────────────────────────────────


def _is_of(terms: PriceTerms, plan: Plan, catalog: Catalog) -> bool:
    return plan_of(catalog, terms.price_id, terms.product_id) is plan


def _removed_plans(catalog: Catalog, held: Held) -> list[OfferedPlan]:
    """Plans of the user's subscriptions that the catalog has no more: they give nothing, and still cost."""
    by_plan: dict[str, list[PriceTerms]] = {}
    for terms in held.terms:
        if terms.plan is not None and plan_of(catalog, terms.price_id, terms.product_id) is None:
            by_plan.setdefault(terms.plan, []).append(terms)
    return [_removed_plan(key, own) for key, own in by_plan.items()]


def _removed_plan(key: str, own: Sequence[PriceTerms]) -> OfferedPlan:
    return OfferedPlan(
        key=key,
        name=own[0].product_name or key,
        kind="base",
        requires=None,
        group=None,
        rank=0,
        trial_days=0,
        features={},
        prices=tuple(_removed_prices(own)),
        relation="current",
        removed=True,
    )


def _removed_prices(own: Sequence[PriceTerms]) -> list[OfferedPrice]:
    """Prices that were the catalog's once; those made in the dashboard have no key to name them by."""
    return [
        OfferedPrice(
            key=terms.price,
            interval=terms.interval,
            interval_count=terms.interval_count or 1,
            duration_days=None,
            currency=terms.currency,
            amounts={terms.currency: terms.unit_amount_minor} if terms.unit_amount_minor is not None else {},
            removed=True,
        )
        for terms in own
        if terms.price is not None and terms.currency is not None
    ]
