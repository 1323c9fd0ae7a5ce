"""Form parameters with brackets, read by tables that say which names a call takes and what they mean.

A reader takes the raw value (text, or a dict for `name[...]`) and the parameter's name as Stripe writes
it in messages, and returns the value or raises the error Stripe would answer.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qsl

from deploy.local.stripe_simulator.errors import StripeError, malformed

Raw = str | dict[str, Any]
#: Stripe's limits for metadata: pairs, letters of a key, letters of a value.
METADATA_PAIRS, METADATA_KEY, METADATA_VALUE = 50, 40, 500


class Reader(Protocol):
    """Reads one raw value; `name` is the parameter as messages write it, for instance `items[0][price]`."""

    def __call__(self, raw: Raw, name: str) -> Any: ...


def decode_form(body: str) -> dict[str, Raw]:
    """Nest `a[b][0]=c` into dicts; an empty bracket takes the next number.

    Raises StripeError (400) when one name is both a value and a hash.
    """
    form: dict[str, Raw] = {}
    for name, value in parse_qsl(body, keep_blank_values=True):
        place(form, name, value)
    return form


def place(form: dict[str, Raw], name: str, value: str) -> None:
    head, *rest = name.replace("]", "").split("[")
    here: dict[str, Any] = form
    step = head
    for following in rest:
        inner = here.setdefault(step, {})
        if not isinstance(inner, dict):
            raise malformed(f"Invalid object: {name}", name)
        here, step = inner, following or str(len(inner))
    if isinstance(here.get(step), dict):
        raise malformed(f"Invalid string: {name}", name)
    here[step] = value


def text(raw: Raw, name: str) -> str:
    if not isinstance(raw, str):
        raise malformed(f"Invalid string: {name}", name)
    if not raw:
        raise malformed(
            f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a "
            f"field; however '{name}' cannot be unset. You should remove '{name}' from your request or "
            "supply a non-empty value.",
            name,
            "parameter_invalid_empty",
        )
    return raw


def integer(raw: Raw, name: str) -> int:
    value = text(raw, name)
    if not value.removeprefix("-").isdecimal() or not value.isascii():
        raise malformed(f"Invalid integer: {value}", name, "parameter_invalid_integer")
    return int(value)


def amount(raw: Raw, name: str) -> int:
    """A non-negative integer: minor units of a currency, a quantity, a number of days."""
    value = integer(raw, name)
    if value < 0:
        raise malformed("This value must be greater than or equal to 0.", name, "parameter_invalid_integer")
    return value


def percent(raw: Raw, name: str) -> float:
    """More than 0 and at most 100, with up to two decimals."""
    value = text(raw, name)
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,2})?", value) or not 0 < float(value) <= 100:  # noqa: PLR2004  the whole
        raise malformed(f"Invalid percentage: {value}", name)
    return float(value)


def boolean(raw: Raw, name: str) -> bool:
    value = text(raw, name)
    if value not in {"true", "false"}:
        raise malformed(f"Invalid boolean: {value}", name)
    return value == "true"


def currency(raw: Raw, name: str) -> str:
    value = text(raw, name).lower()
    if not (len(value) == len("usd") and value.isascii() and value.isalpha()):
        raise malformed(f"Invalid currency: {value}", name)
    return value


def one_of(*allowed: str) -> Reader:
    def read(raw: Raw, name: str) -> str:
        value = text(raw, name)
        if value in allowed:
            return value
        choices = " or ".join(filter(None, [", ".join(allowed[:-1]), allowed[-1]]))
        raise malformed(f"Invalid {name}: must be one of {choices}", name)

    return read


def nullable(reader: Reader) -> Reader:
    """An empty value unsets the field: None."""

    def read(raw: Raw, name: str) -> Any:
        return None if raw == "" else reader(raw, name)

    return read


def list_of(reader: Reader, at_most: int = 100) -> Reader:
    """`name[0]`, `name[1]`, … or `name[]`, in the order of their numbers."""

    def read(raw: Raw, name: str) -> list[Any]:
        if isinstance(raw, str) or not all(number.isdecimal() for number in raw):
            raise malformed("Invalid array", name)
        if len(raw) > at_most:
            raise malformed(f"Array {name} exceeded maximum {at_most} allowed elements.", name)
        numbers = sorted(raw, key=int)
        return [reader(raw[number], f"{name}[{number}]") for number in numbers]

    return read


def map_of(reader: Reader) -> Reader:
    """A hash whose keys are data, for instance currencies."""

    def read(raw: Raw, name: str) -> dict[str, Any]:
        if isinstance(raw, str):
            raise malformed("Invalid object", name)
        return {key: reader(value, f"{name}[{key}]") for key, value in raw.items()}

    return read


def hash_of(fields: Mapping[str, Reader], required: tuple[str, ...] = ()) -> Reader:
    def read(raw: Raw, name: str) -> dict[str, Any]:
        if isinstance(raw, str):
            raise malformed("Invalid object", name)
        return read_fields(raw, fields, required, lambda field: f"{name}[{field}]")

    return read


ADDRESS = hash_of(dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), text))
SHIPPING = hash_of({"address": ADDRESS, "name": text, "phone": text})


def metadata(raw: Raw, name: str) -> dict[str, str | None]:
    """Changes by key: None removes one. An empty value for the whole is `{"": None}`: remove all."""
    if raw == "":
        return {"": None}
    pairs: dict[str, str | None] = map_of(nullable(text))(raw, name)
    if len(pairs) > METADATA_PAIRS:
        raise malformed(f"You can have at most {METADATA_PAIRS} metadata keys.", name)
    for key, value in pairs.items():
        if len(key) > METADATA_KEY:
            raise malformed(f"Metadata keys can have up to {METADATA_KEY} characters: {key}", name)
        if value is not None and len(value) > METADATA_VALUE:
            raise malformed(
                f"Metadata values can have up to {METADATA_VALUE} characters, but you passed in a value "
                f"that is {len(value)} characters. Invalid value: {value[:40]}…",
                f"{name}[{key}]",
            )
    return pairs


def changed_metadata(now: dict[str, str], change: dict[str, str | None] | None) -> dict[str, str]:
    """What an object's metadata is after a change as `metadata` read it."""
    if change is None:
        return now
    kept = {} if "" in change else now
    return {key: value for key, value in {**kept, **change}.items() if value is not None}


def moment_range(raw: Raw, name: str) -> Callable[[int], bool]:
    """A `created` filter: one moment, or a hash of gt, gte, lt, lte; read into a test of a moment."""
    if isinstance(raw, str):
        exact = integer(raw, name)
        return lambda moment: moment == exact
    limits = hash_of(dict.fromkeys(("gt", "gte", "lt", "lte"), integer))(raw, name)
    low = max(limits.get("gte", 0), limits.get("gt", -1) + 1)
    above = min(limits.get("lt", 2**53), limits.get("lte", 2**53) + 1)
    return lambda moment: low <= moment < above


def read_fields(
    raw: Mapping[str, Raw],
    fields: Mapping[str, Reader],
    required: tuple[str, ...],
    name_of: Callable[[str], str],
) -> dict[str, Any]:
    """Read a hash by its table: unknown and missing names are errors, absent ones stay absent."""
    for field in raw:
        if field not in fields:
            raise unknown(name_of(field), fields)
    for field in required:
        if field not in raw:
            name = name_of(field)
            raise malformed(f"Missing required param: {name}.", name, "parameter_missing")
    return {field: fields[field](value, name_of(field)) for field, value in raw.items()}


def unknown(name: str, fields: Mapping[str, Reader]) -> StripeError:
    known = ", ".join(sorted(fields)) or "none"
    return malformed(
        f"Received unknown parameter: {name} (this local Stripe knows here: {known})",
        name,
        "parameter_unknown",
    )
