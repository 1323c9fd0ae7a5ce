"""The apps, features, plans and prices of one project's tables."""

import re
from collections.abc import Mapping
from typing import get_args

from msgspec.structs import replace

from domain.rules.catalog.fields import Table, is_key, show
from domain.rules.catalog.nouns import (
    App,
    Feature,
    FeatureType,
    GrantValue,
    Interval,
    MergeRule,
    OnUnavailable,
    Plan,
    PlanKind,
    Price,
)
from domain.rules.catalog.places import origin_refusal
from domain.rules.catalog.values import read_value

#: They are paths of the API under /entitlements.
RESERVED_FEATURES = frozenset({"query", "changes", "stream", "snapshot"})
DEFAULT_GROUP = "main"
#: Stripe takes no longer trial.
MOST_TRIAL_DAYS = 730
MOST_GRACE_DAYS = 365
#: A hundred years: further is what `lifetime` is for, and dates must stay dates.
MOST_DURATION_DAYS = 36_500
MOST_AMOUNT_MINOR = 999_999_999_999

_TYPES: tuple[FeatureType, ...] = get_args(FeatureType)
_MERGES: tuple[MergeRule, ...] = get_args(MergeRule)
_UNAVAILABLE: tuple[OnUnavailable, ...] = get_args(OnUnavailable)
_KINDS: tuple[PlanKind, ...] = get_args(PlanKind)
_INTERVALS: tuple[Interval, ...] = get_args(Interval)
_DURATION = re.compile(r"P([1-9][0-9]{0,5})D")
_CURRENCY = re.compile(r"[a-z]{3}")


def read_apps(project: Table) -> dict[str, App]:
    apps = {key: _read_app(key, table) for key, table in project.tables("apps").items()}
    if not apps:
        project.wrong("apps", f"is missing; add a table [{project.path}.apps.<app>] for each app that asks")
    return apps


def read_features(project: Table, apps: Mapping[str, App]) -> dict[str, Feature]:
    tables = project.tables("features")
    for key in RESERVED_FEATURES & tables.keys():
        tables[key].wrong("", f'"{key}" is reserved for a path of the API; choose another key')
    return {key: _read_feature(key, table, apps) for key, table in tables.items()}


def read_plans(
    project: Table, project_key: str, apps: Mapping[str, App], features: Mapping[str, Feature]
) -> dict[str, Plan]:
    tables = project.tables("plans")
    plans = {key: _read_plan(project_key, key, table, apps, features) for key, table in tables.items()}
    for key, plan in plans.items():
        _refuse_requirement(tables[key], plan, plans)
    return plans


def _read_app(key: str, table: Table) -> App:
    origins = table.texts("redirect_origins")
    for origin in origins:
        if refusal := origin_refusal(origin):
            table.wrong("redirect_origins", f'"{origin}" {refusal}')
    table.close()
    return App(key=key, redirect_origins=origins)


def _read_feature(key: str, table: Table, apps: Mapping[str, App]) -> Feature:
    feature_type = table.choice("type", _TYPES, None)
    listed = table.known("apps", table.texts("apps"), apps, "app")
    feature = Feature(
        key=key,
        type=feature_type,
        apps=tuple(sorted(listed if table.has("apps") else apps)),
        values=_read_enum_values(table, feature_type),
        merge=_read_merge(table, feature_type),
        on_unavailable=table.choice("on_unavailable", _UNAVAILABLE, "last_known"),
        max_stale_s=table.integer("max_stale_s", 86_400),
    )
    feature = replace(feature, default=_read_default(table, feature))
    table.close()
    return feature


def _read_enum_values(table: Table, feature_type: FeatureType) -> tuple[str, ...]:
    values = table.texts("values")
    if feature_type == "enum" and not values:
        table.wrong("values", 'is missing; list the values in rank order, lowest first: ["basic", "full"]')
    if feature_type != "enum" and table.has("values"):
        table.wrong("values", f"is for enums only; this feature is of type {feature_type}")
    return values


def _read_merge(table: Table, feature_type: FeatureType) -> MergeRule | None:
    if not table.has("merge"):
        return None
    if feature_type != "integer":
        table.wrong("merge", f"is for integers only; this feature is of type {feature_type}")
    return table.choice("merge", _MERGES, "max")


def _read_default(table: Table, feature: Feature) -> GrantValue | None:
    if not table.has("default"):
        return None
    value = read_value(feature, table.raw("default"))
    if isinstance(value, str):
        table.wrong("default", value)
        return None
    if value.per_unit:
        table.wrong("default", "has per_unit; a default has no quantity, write the number itself")
    return value


def _read_plan(
    project: str, key: str, table: Table, apps: Mapping[str, App], features: Mapping[str, Feature]
) -> Plan:
    kind = table.choice("kind", _KINDS, "base")
    prices = {name: _read_price(name, price) for name, price in table.tables("prices").items()}
    plan = Plan(
        key=key,
        name=table.text("name", key),
        kind=kind,
        requires=table.optional_text("requires"),
        group=_read_group(table, kind),
        rank=table.integer("rank", 0),
        trial_days=table.integer("trial_days", 0, most=MOST_TRIAL_DAYS),
        grants=_read_grants(table.table("grants"), features),
        weights=_read_weights(table.table("weights"), apps),
        grandfather=table.boolean("grandfather", default=False),
        grace_days=table.optional_integer("grace_days", most=MOST_GRACE_DAYS),
        grace_days_after_trial=table.optional_integer("grace_days_after_trial", most=MOST_GRACE_DAYS),
        product_id=table.text("stripe_product", f"{project}_{key}"),
        prices=prices,
    )
    table.close()
    return plan


def _read_group(table: Table, kind: PlanKind) -> str | None:
    group = table.optional_text("group")
    if group and not is_key(group):
        table.wrong("group", f"is {show(group)}, no key; use [a-z][a-z0-9_]*")
    return group or (DEFAULT_GROUP if kind == "base" else None)


def _read_grants(table: Table, features: Mapping[str, Feature]) -> dict[str, GrantValue]:
    grants = {}
    for key in sorted(table.names()):
        written = table.raw(key)
        if not table.known(key, [key], features, "feature"):
            continue
        value = read_value(features[key], written)
        if isinstance(value, str):
            table.wrong(key, value)
        else:
            grants[key] = value
    return grants


def _read_weights(table: Table, apps: Mapping[str, App]) -> dict[str, int]:
    weights = {
        key: table.integer(key, 1) for key in sorted(table.names()) if table.known(key, [key], apps, "app")
    }
    if weights and not any(weights.values()):
        table.wrong("", "has no weight above 0; give each app its share of the revenue")
    return weights


def _refuse_requirement(table: Table, plan: Plan, plans: Mapping[str, Plan]) -> None:
    if plan.requires is None:
        return
    if plan.kind != "addon":
        table.wrong("requires", 'is for add-ons only; set kind = "addon" or remove it')
    known = table.known("requires", [plan.requires], plans, "plan")
    if known and plans[plan.requires].kind != "base":
        table.wrong(
            "requires", f'names the add-on "{plan.requires}"; an add-on requires a plan of kind "base"'
        )


def _read_price(key: str, table: Table) -> Price:
    interval = table.choice("interval", _INTERVALS, "month") if table.has("interval") else None
    amounts = _read_amounts(table)
    price = Price(
        key=key,
        interval=interval,
        interval_count=table.integer("interval_count", 1, least=1, most=1095),
        duration_days=_read_duration(table, interval),
        currency=next(iter(amounts), ""),
        amounts=dict(sorted(amounts.items())),
        stripe_ids=table.texts("stripe_ids"),
    )
    if interval is None and table.has("interval_count"):
        table.wrong("interval_count", "needs an interval; remove it from a one-time price")
    table.close()
    return price


def _read_amounts(table: Table) -> dict[str, int]:
    """By currency, in the order of the file: the first currency is the price's own."""
    amounts = table.table("amounts")
    if not amounts.names():
        table.wrong("amounts", "is missing; write minor units by currency: { usd = 1900, eur = 1900 }")
    for currency in amounts.names():
        if not _CURRENCY.fullmatch(currency):
            amounts.wrong(currency, 'is no currency; write its three small letters, like "usd"')
    return {currency: amounts.integer(currency, 0, most=MOST_AMOUNT_MINOR) for currency in amounts.names()}


def _read_duration(table: Table, interval: Interval | None) -> int | None:
    if interval is not None:
        if table.has("duration"):
            table.wrong("duration", "is for one-time prices; remove it, or remove interval")
        return None
    duration = table.raw("duration")
    if duration == "lifetime":
        return None
    found = _DURATION.fullmatch(duration) if isinstance(duration, str) else None
    if found and int(found[1]) <= MOST_DURATION_DAYS:
        return int(found[1])
    what = "is missing" if duration is None else f"is {show(duration)}"
    wanted = f'"P30D" (1 to {MOST_DURATION_DAYS} days) or "lifetime"; or give the price an interval'
    table.wrong("duration", f"{what}; a one-time price needs {wanted}")
    return None
