"""What a feature of each type can be given: reading and judging values, in plans, defaults and grants."""

from domain.model import FeatureValue
from domain.rules.catalog.fields import is_integer, read_texts, show, suggest
from domain.rules.catalog.nouns import Feature, FeatureType, GrantValue

UNLIMITED = "unlimited"

_WANTED: dict[FeatureType, str] = {
    "boolean": "true or false",
    "integer": 'a whole number from 0, "unlimited", or { value = 5, per_unit = true }',
    "enum": "one of its values",
    "set": "a list of different texts",
}


def read_value(feature: Feature, written: object) -> GrantValue | str:
    """The value as the catalog keeps it, or a sentence saying what is wrong with it."""
    if feature.type == "integer":
        return _read_integer(written)
    value = list(written) if isinstance(written, list) else written
    if fits(feature, value):
        return GrantValue(value=value)  # type: ignore[arg-type]  # `fits` has just shown that it is a FeatureValue
    if feature.type == "enum" and isinstance(written, str):
        return f'is "{written}", no value of "{feature.key}"; {suggest(written, feature.values)}'
    return _refusal(feature.type, written)


def fits(feature: Feature, value: object) -> bool:
    """Whether a feature of this type can have this value. None is unlimited: integers only."""
    match feature.type:
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return value is None or is_integer(value)
        case "enum":
            return isinstance(value, str) and value in feature.values
        case "set":
            return read_texts(value) is not None


def is_nothing(value: FeatureValue) -> bool:
    """Whether giving this value gives nothing: false, 0, no strings. None is unlimited, so it is much."""
    return value is not None and not value


def _read_integer(written: object) -> GrantValue | str:
    if written == UNLIMITED:
        return GrantValue(value=None)
    if is_integer(written):
        return GrantValue(value=written)
    if not isinstance(written, dict):
        return _refusal("integer", written)
    value, per_unit = written.get("value"), written.get("per_unit", False)
    if unknown := sorted(written.keys() - {"value", "per_unit"}):
        return f'has the unknown key "{unknown[0]}"; {suggest(unknown[0], ("value", "per_unit"))}'
    if not is_integer(value) or not isinstance(per_unit, bool):
        return _refusal("integer", written)
    return GrantValue(value=value, per_unit=per_unit)


def _refusal(kind: FeatureType, written: object) -> str:
    return f"is {show(written)}; a feature of type {kind} takes {_WANTED[kind]}"
