"""What bodies and answers look like, as JSON Schema: from the structs that read and write them."""

from collections.abc import Iterable
from typing import Any

import msgspec
import msgspec.inspect

from domain.errors import FieldError
from ingress.operation import Operation, cases_of
from ingress.problems import Problem


def describe_types(
    operations: Iterable[Operation],
) -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
    """(type → its schema, name → what such a schema refers to) of bodies and answers."""
    asked = [type_ for said in operations for type_ in (said.body, *said.answers.values())]
    types = dict.fromkeys(
        [Problem, *(case for type_ in asked if type_ is not None for case in cases_of(type_))]
    )
    described, components = msgspec.json.schema_components(
        types, schema_hook=_describe_custom, ref_template="#/components/schemas/{name}"
    )
    schemas = dict(zip(types, described, strict=True))
    _name_instants(msgspec.inspect.multi_type_info(types), components)
    return (
        {type_: _either([schemas[case] for case in cases_of(type_)]) for type_ in asked if type_ is not None},
        {name: portable(schema) for name, schema in components.items()},
    )


def _name_instants(shapes: Iterable[msgspec.inspect.Type], components: dict[str, Any]) -> None:
    """Say of each instant that it is one; msgspec does so only where it demands an offset."""
    left, seen = list(shapes), set()
    while left:
        shape = left.pop()
        if isinstance(shape, msgspec.inspect.StructType) and shape.cls not in seen:
            seen.add(shape.cls)
            properties = components[shape.cls.__name__]["properties"]
            for field in shape.fields:
                left.append(field.type)
                _name_instant(field.type, properties[field.encode_name])
        left += _parts(shape)


def _parts(shape: msgspec.inspect.Type) -> list[msgspec.inspect.Type]:
    """The types that a union, a list, a tuple or a mapping is made of."""
    found: list[msgspec.inspect.Type] = []
    for name in ("types", "item_type", "item_types", "value_type", "type"):
        part = getattr(shape, name, ())
        found += part if isinstance(part, tuple) else [part]
    return found


def _name_instant(shape: msgspec.inspect.Type, schema: dict[str, Any]) -> None:
    cases = shape.types if isinstance(shape, msgspec.inspect.UnionType) else (shape,)
    if any(isinstance(case, msgspec.inspect.DateTimeType) for case in cases):
        for case in schema.get("anyOf", [schema]):
            if case.get("type") == "string":
                case["format"] = "date-time"


def _either(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _describe_custom(type_: type[Any]) -> dict[str, Any]:
    if type_ is FieldError:
        text = {"type": "string"}
        return {
            "type": "object",
            "properties": {"field": text, "detail": text},
            "required": ["field", "detail"],
        }
    if type_ is object:
        return {"description": "Any JSON value."}
    raise NotImplementedError


def portable(schema: Any) -> Any:
    """Patterns as every language reads them, without words that only Python knows."""
    if isinstance(schema, dict):
        return {
            name: _pattern(value) if name == "pattern" and isinstance(value, str) else portable(value)
            for name, value in schema.items()
        }
    return [portable(part) for part in schema] if isinstance(schema, list) else schema


def _pattern(pattern: str) -> str:
    return pattern.replace(r"\Z", "$").replace(r"\x00", r"\u0000")
