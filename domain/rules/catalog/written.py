"""Catalogs as the TOML file that says the same: reading it gives them back.

Every key is written, defaults too, so that a later release with other defaults reads the same. Scenarios are
no content of a catalog: they are not in it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from domain.rules.catalog.nouns import App, Catalog, Feature, GrantValue, Plan, Policy, Price
from domain.rules.catalog.values import UNLIMITED

#: Remarks by the path of the table under whose header they stand; "": at the head of the file.
Remarks = Mapping[str, Sequence[str]]

#: What is written of a table: key and value, as TOML.
Lines = Iterator[tuple[str, str]]


def write_catalogs(catalogs: Mapping[str, Catalog], remarks: Remarks) -> str:
    """The text of a catalog file; `older_grants` are history and not part of it."""
    written = [f"# {_one_line(said)}" for said in remarks.get("", ())]
    for project, catalog in sorted(catalogs.items()):
        for path, lines in _tables(f"projects.{project}", catalog):
            written += ["", f"[{path}]", *(f"# {_one_line(said)}" for said in remarks.get(path, ()))]
            written += [f"{key} = {value}" for key, value in lines]
    return "\n".join(written).lstrip("\n") + "\n"


def _tables(path: str, catalog: Catalog) -> Iterator[tuple[str, Lines]]:
    yield path, iter((("name", _text(catalog.name)), ("timezone", _text(catalog.timezone))))
    yield f"{path}.policy", _policy(catalog.policy)
    options = {name: getattr(catalog.checkout, name) for name in catalog.checkout.__struct_fields__}
    yield f"{path}.checkout", ((name, _switch(on)) for name, on in options.items())
    yield f"{path}.portal", iter((("switch_plans", _texts(catalog.portal.switch_plans)),))
    for app in catalog.apps.values():
        yield f"{path}.apps.{app.key}", _app(app)
    for feature in catalog.features.values():
        yield f"{path}.features.{feature.key}", _feature(feature)
    for plan in catalog.plans.values():
        yield f"{path}.plans.{plan.key}", _plan(catalog.project, plan)
        for price in plan.prices.values():
            yield f"{path}.plans.{plan.key}.prices.{price.key}", _price(price)


def _policy(policy: Policy) -> Lines:
    yield "grace_days", str(policy.grace_days)
    if policy.grace_days_after_trial is not None:
        yield "grace_days_after_trial", str(policy.grace_days_after_trial)
    yield "settle_hours", str(policy.settle_hours)
    yield "refund", _refund(policy.refund_revoke_from)
    yield "dispute", _text(policy.dispute)
    yield "pause_void", _text(policy.pause_void)


def _refund(share: Decimal | None) -> str:
    if share is None:
        return _text("keep")
    return _text("revoke_full") if share == 1 else f"{{ revoke_from = {share:f} }}"


def _app(app: App) -> Lines:
    yield "redirect_origins", _texts(app.redirect_origins)


def _feature(feature: Feature) -> Lines:
    yield "type", _text(feature.type)
    yield "apps", _texts(feature.apps)
    if feature.values:
        yield "values", _texts(feature.values)
    if feature.merge is not None:
        yield "merge", _text(feature.merge)
    if feature.default is not None:
        yield "default", _value(feature.default)
    yield "on_unavailable", _text(feature.on_unavailable)
    yield "max_stale_s", str(feature.max_stale_s)


def _plan(project: str, plan: Plan) -> Lines:
    yield "name", _text(plan.name)
    yield "kind", _text(plan.kind)
    for name in ("requires", "group"):
        if (key := getattr(plan, name)) is not None:
            yield name, _text(key)
    yield "rank", str(plan.rank)
    yield "trial_days", str(plan.trial_days)
    yield "grants", _table({key: _value(grant) for key, grant in plan.grants.items()})
    if plan.weights:
        yield "weights", _table({key: str(weight) for key, weight in plan.weights.items()})
    yield "grandfather", _switch(plan.grandfather)
    for name in ("grace_days", "grace_days_after_trial"):
        if (days := getattr(plan, name)) is not None:
            yield name, str(days)
    if plan.product_id != f"{project}_{plan.key}":
        yield "stripe_product", _text(plan.product_id)


def _price(price: Price) -> Lines:
    if price.interval is None:
        days = price.duration_days
        yield "duration", _text("lifetime" if days is None else f"P{days}D")
    else:
        yield "interval", _text(price.interval)
        yield "interval_count", str(price.interval_count)
    # The first currency is the price's own.
    currencies = [price.currency, *(one for one in price.amounts if one != price.currency)]
    yield "amounts", _table({currency: str(price.amounts[currency]) for currency in currencies})
    if price.stripe_ids:
        yield "stripe_ids", _texts(price.stripe_ids)


def _value(grant: GrantValue) -> str:
    value = grant.value
    if value is None:
        return _text(UNLIMITED)
    if isinstance(value, bool):
        return _switch(value)
    if isinstance(value, int):
        return f"{{ value = {value}, per_unit = true }}" if grant.per_unit else str(value)
    return _text(value) if isinstance(value, str) else _texts(value)


def _table(entries: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f"{key} = {value}" for key, value in entries.items()) + " }" if entries else "{}"


def _switch(on: bool) -> str:  # noqa: FBT001 - a value to be written, not a way to do it
    return "true" if on else "false"


def _texts(texts: Sequence[str]) -> str:
    return "[" + ", ".join(map(_text, texts)) + "]"


def _text(text: str) -> str:
    """A basic string of TOML is JSON's, except for the one control character that JSON does not escape."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _one_line(said: str) -> str:
    """A comment ends with its line, and holds no control character: names are chosen in the dashboard."""
    return "".join(one if one.isprintable() else " " for one in said)
