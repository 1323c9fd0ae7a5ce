"""What one version of a catalog says differently from another: plans, features, prices, policy."""

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from domain.rules.catalog.nouns import Catalog, GrantValue, Plan, Price
from domain.rules.catalog.values import UNLIMITED


class FieldChange(Struct, frozen=True, kw_only=True):
    #: Dotted, as in the file, such as `grants.seats`.
    field: str
    #: As the file would write it; None: absent.
    before: object
    after: object


class NounChange(Struct, frozen=True, kw_only=True):
    noun: Literal["project", "app", "feature", "plan", "price"]
    #: Of the noun; a price's with its plan's, such as `pro.month`.
    key: str
    change: Literal["added", "removed", "changed"]
    #: What is different; () where the noun is new or gone.
    fields: tuple[FieldChange, ...] = ()


def diff_catalogs(old: Catalog | None, new: Catalog) -> tuple[NounChange, ...]:
    """Everything that differs, in the order of the file; `old` None: everything is new."""
    if old is None:
        return (NounChange(noun="project", key=new.project, change="added"), *_nouns(None, new))
    fields = _fields(_settings(old), _settings(new))
    project = NounChange(noun="project", key=new.project, change="changed", fields=fields)
    return (*((project,) if fields else ()), *_nouns(old, new))


def _nouns(old: Catalog | None, new: Catalog) -> Iterator[NounChange]:
    yield from _diff("app", old.apps if old is not None else {}, new.apps)
    yield from _diff("feature", old.features if old is not None else {}, new.features)
    yield from _diff("plan", old.plans if old is not None else {}, new.plans)
    yield from _diff("price", _prices(old) if old is not None else {}, _prices(new))


def _diff(
    noun: Literal["app", "feature", "plan", "price"], old: Mapping[str, Struct], new: Mapping[str, Struct]
) -> Iterator[NounChange]:
    for key in sorted(old.keys() | new.keys()):
        if key not in old:
            yield NounChange(noun=noun, key=key, change="added")
        elif key not in new:
            yield NounChange(noun=noun, key=key, change="removed")
        elif fields := _fields(_written(old[key]), _written(new[key])):
            yield NounChange(noun=noun, key=key, change="changed", fields=fields)


def _fields(old: Mapping[str, object], new: Mapping[str, object]) -> tuple[FieldChange, ...]:
    return tuple(
        FieldChange(field=field, before=old.get(field), after=new.get(field))
        for field in sorted(old.keys() | new.keys())
        if old.get(field) != new.get(field)
    )


def _settings(catalog: Catalog) -> dict[str, object]:
    parts = {"policy": catalog.policy, "checkout": catalog.checkout, "portal": catalog.portal}
    flat: dict[str, object] = {"name": catalog.name, "timezone": catalog.timezone}
    for name, part in parts.items():
        flat.update({f"{name}.{field}": value for field, value in _written(part).items()})
    return flat


def _prices(catalog: Catalog) -> dict[str, Price]:
    return {
        f"{plan.key}.{price.key}": price for plan in catalog.plans.values() for price in plan.prices.values()
    }


def _written(noun: Struct) -> dict[str, object]:
    """The fields of a noun, dotted and as plain values; a plan's prices are nouns of their own."""
    flat: dict[str, object] = {}
    for field, value in msgspec.structs.asdict(noun).items():
        if isinstance(noun, Plan) and field == "prices":
            continue
        if isinstance(value, Mapping):
            flat.update({f"{field}.{key}": _plain(inner) for key, inner in value.items()})
        else:
            flat[field] = _plain(value)
    return flat


def _plain(value: object) -> object:
    if not isinstance(value, GrantValue):
        return msgspec.to_builtins(value)
    shown = UNLIMITED if value.value is None else value.value
    return {"value": shown, "per_unit": True} if value.per_unit else shown
