"""What a key of the catalog file may hold, as JSON Schema."""

from typing import Any

from domain.rules.catalog.fields import KEY, KEY_LENGTH, MOST
from domain.rules.catalog.values import UNLIMITED

Schema = dict[str, Any]


def table(properties: Schema, *, required: tuple[str, ...] = ()) -> Schema:
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


def keyed(inner: Schema, description: str) -> Schema:
    names = {"pattern": f"^{KEY.pattern}$", "maxLength": KEY_LENGTH}
    return {
        "description": description,
        "type": "object",
        "propertyNames": names,
        "additionalProperties": inner,
    }


def rows(inner: Schema, description: str) -> Schema:
    return {"description": description, "type": "array", "items": inner}


def text(description: str) -> Schema:
    return {"description": description, "type": "string", "minLength": 1}


def texts(description: str) -> Schema:
    return {"description": description, "type": "array", "items": {"type": "string"}, "uniqueItems": True}


def flag(description: str) -> Schema:
    return {"description": description, "type": "boolean"}


def number(description: str, most: int = MOST) -> Schema:
    return {"description": description, "type": "integer", "minimum": 0, "maximum": most}


def choice(description: str, *choices: str) -> Schema:
    return {"description": description, "enum": list(choices)}


def instant(description: str) -> Schema:
    # A TOML time reaches a JSON Schema validator as a text too, whose form differs between tools.
    said = 'A time such as "+7d", "-3d12h", 2026-03-01 or 2026-03-01T00:00:00Z.'
    return {"description": f"{description} {said}".strip(), "type": "string"}


VALUE: Schema = {
    "anyOf": [
        {"type": "boolean"},
        {"type": "integer", "minimum": 0},
        {"type": "string", "description": f'A value of the enum, or "{UNLIMITED}" of an integer.'},
        {"type": "array", "items": {"type": "string"}},
    ]
}
GRANTED: Schema = {
    "anyOf": [
        *VALUE["anyOf"],
        table(
            {"value": number("Of each unit."), "per_unit": flag("Multiplied by the quantity bought.")},
            required=("value",),
        ),
    ]
}
