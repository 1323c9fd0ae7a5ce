"""What a scenario expects of a feature: its value alone, or any of value, granted, reason and end."""

from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec import UNSET, Struct, UnsetType

from domain.model import FeatureValue, Reason
from domain.rules.catalog.fields import Table, show
from domain.rules.catalog.nouns import Catalog, Feature
from domain.rules.catalog.values import read_value

NEVER = "never"
REASONS: tuple[str, ...] = tuple(reason.value for reason in Reason)

ReadTime = Callable[[object], datetime | None]


class Expected(Struct, frozen=True, kw_only=True):
    """What is unset is not looked at."""

    granted: bool | UnsetType = UNSET
    #: None is unlimited.
    value: FeatureValue | UnsetType = UNSET
    reason: Reason | UnsetType = UNSET
    #: None: no end is known.
    ends_at: datetime | UnsetType | None = UNSET


def read_expected(
    table: Table, catalog: Catalog, apps: tuple[str, ...], read_time: ReadTime
) -> dict[str, Expected]:
    """By feature: each one is seen by at least one of the apps that ask."""
    expected = {}
    for key in sorted(table.names()):
        written = table.raw(key)
        if not table.known(key, [key], catalog.features, "feature"):
            continue
        feature = catalog.features[key]
        if apps and not set(apps) & set(feature.apps):
            seen = ", ".join(feature.apps) or "no app"
            table.wrong(key, f'is not seen by app "{apps[0]}", only by {seen}')
        elif isinstance(written, Mapping):
            expected[key] = _read_parts(table.table(key), feature, read_time)
        else:
            expected[key] = _read_short(table, feature, written)
    return expected


def _read_short(table: Table, feature: Feature, written: object) -> Expected:
    """`true` and `false` say granted or not of a feature of any type; anything else is the value."""
    if isinstance(written, bool):
        return Expected(granted=written)
    return Expected(value=_read_value(table, feature.key, feature, written))


def _read_parts(table: Table, feature: Feature, read_time: ReadTime) -> Expected:
    granted = table.boolean("granted", default=False) if table.has("granted") else UNSET
    value: FeatureValue | UnsetType = UNSET
    if table.has("value"):
        value = _read_value(table, "value", feature, table.raw("value"))
    reason = Reason(table.choice("reason", REASONS, None)) if table.has("reason") else UNSET
    expected = Expected(granted=granted, value=value, reason=reason, ends_at=_read_end(table, read_time))
    if expected == Expected():
        table.wrong("", "expects nothing; say value, granted, reason or ends_at")
    table.close()
    return expected


def _read_value(table: Table, key: str, feature: Feature, written: object) -> FeatureValue:
    value = read_value(feature, written)
    if isinstance(value, str):
        table.wrong(key, value)
        return None
    if value.per_unit:
        table.wrong(key, "has per_unit; an answer has no quantity, write the number itself")
    return value.value


def _read_end(table: Table, read_time: ReadTime) -> datetime | UnsetType | None:
    if not table.has("ends_at"):
        return UNSET
    written = table.raw("ends_at")
    ends_at = None if written == NEVER else read_time(written)
    if ends_at is None and written != NEVER:
        table.wrong(
            "ends_at", f'is {show(written)}; it must be "never", a time such as "+7d" or an absolute one'
        )
    return ends_at
