"""What another catalog would mean for somebody: two entitlement sets of one user at one instant, compared."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from domain.model import Entitlement, EntitlementSet
from domain.rules.catalog import Catalog


class Effect(StrEnum):
    """What becomes of an access. Answers whose reason alone differs are no effect."""

    GAIN = "gain"
    LOSE = "lose"
    #: Granted before and after: a larger value or a later end.
    MORE = "more"
    #: The same downwards.
    LESS = "less"
    #: Neither: another set of strings, more but for a shorter time, another type.
    OTHER = "other"


class Shown(Struct, frozen=True, kw_only=True):
    """An answer in short."""

    #: "unlimited" for an integer without a limit; false for what is not granted.
    value: object
    #: None: the app has no such feature.
    reason: str | None
    ends_at: datetime | None


class FeatureEffect(Struct, frozen=True, kw_only=True):
    app: str
    feature: str
    effect: Effect
    before: Shown
    after: Shown


def compare_sets(
    app: str, old: EntitlementSet, new: EntitlementSet, catalog: Catalog
) -> Iterator[FeatureEffect]:
    """By feature. `catalog` is the new one: it ranks the values of enums. A set may be empty: no such app."""
    for feature in sorted(old.keys() | new.keys()):
        before, after = old.get(feature), new.get(feature)
        effect = _effect(feature, before, after, catalog)
        if effect is not None:
            yield FeatureEffect(
                app=app, feature=feature, effect=effect, before=_shown(before), after=_shown(after)
            )


def _effect(
    feature: str, before: Entitlement | None, after: Entitlement | None, catalog: Catalog
) -> Effect | None:
    had = before if before is not None and before.granted else None
    has = after if after is not None and after.granted else None
    if had is None or has is None:
        return Effect.GAIN if has is not None else Effect.LOSE if had is not None else None
    steps = {_step_of_value(feature, had, has, catalog), _step_of_end(had.ends_at, has.ends_at)} - {None}
    return steps.pop() if len(steps) == 1 else Effect.OTHER if steps else None


def _step_of_end(before: datetime | None, after: datetime | None) -> Effect | None:
    """None, no known end, is later than every end."""
    if before == after:
        return None
    return Effect.MORE if after is None or (before is not None and after > before) else Effect.LESS


def _step_of_value(feature: str, before: Entitlement, after: Entitlement, catalog: Catalog) -> Effect | None:
    if before.value == after.value and before.type == after.type:
        return None
    if before.type != after.type:
        return Effect.OTHER
    match after.type:
        case "integer":
            return _step_of_number(before.value, after.value)
        case "set":
            return _step_of_set(before.value, after.value)
        case "enum":
            return _step_of_rank(catalog.features[feature].values, before.value, after.value)
        case "boolean":
            return Effect.OTHER


def _step_of_number(before: object, after: object) -> Effect:
    """None is unlimited."""
    is_more = after is None or (isinstance(before, int) and isinstance(after, int) and after > before)
    return Effect.MORE if is_more else Effect.LESS


def _step_of_set(before: object, after: object) -> Effect | None:
    if not isinstance(before, list) or not isinstance(after, list):
        return Effect.OTHER
    if set(before) == set(after):
        return None
    if set(before) < set(after):
        return Effect.MORE
    return Effect.LESS if set(after) < set(before) else Effect.OTHER


def _step_of_rank(values: tuple[str, ...], before: object, after: object) -> Effect:
    if before not in values or after not in values:
        return Effect.OTHER
    ranks = {value: rank for rank, value in enumerate(values)}
    return Effect.MORE if ranks[str(after)] > ranks[str(before)] else Effect.LESS


def _shown(answer: Entitlement | None) -> Shown:
    if answer is None:
        return Shown(value=False, reason=None, ends_at=None)
    value = "unlimited" if answer.unlimited is True else answer.value
    return Shown(value=value if answer.granted else False, reason=answer.reason.value, ends_at=answer.ends_at)
