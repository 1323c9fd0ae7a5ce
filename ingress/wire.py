"""What comes in, turned into something typed or refused: bodies, query parameters, user ids.

A wrong request is told every name that is wrong and what would be right. What is refused here never
reaches a flow.
"""

import re
from collections.abc import Collection, Hashable, Iterable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cache
from typing import Annotated, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request

from domain.errors import FieldError, Invalid, Rejected, Unauthorized, UnsupportedMedia

Wire = TypeVar("Wire")

#: Fields of one query string; ours have at most a dozen.
MAX_PARAMETERS = 32
#: Features of one request: more than any catalog has, and a bound for the work.
MAX_FEATURES = 100
USER_ID_LENGTH = 255
#: Rows of one page of a list, at most and where nobody says how many.
MAX_LIMIT = 100

#: A user as its project names it: opaque. Postgres cannot store NUL.
UserId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=USER_ID_LENGTH,
        pattern=r"^[^\x00]*\Z",
        description=f"1 to {USER_ID_LENGTH} characters, without NUL",
    ),
]
#: Rows of one page of a list.
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT, description=f"1 to {MAX_LIMIT}")]

_is_user_id = re.compile(rf"[^\x00]{{1,{USER_ID_LENGTH}}}").fullmatch

_is_integer = re.compile(r"-?[0-9]{1,18}").fullmatch

_NO_KEY = "Send an API key as `Authorization: Bearer th_…`; `tollhouse keys create` makes one."
_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
#: How msgspec says that a text has a NUL in it: the pattern of user ids and keys.
_NUL_PATTERN = r"^[^\\x00]*\\Z"
_FIELD = re.compile(r"(?:unknown field|required field) `(?P<name>[^`]*)`")


class WireStruct(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What callers send: a field we do not know is refused by name instead of being ignored."""


class QueryStruct(Struct, frozen=True, kw_only=True):
    """The query parameters of one operation; a description in a field's `Meta` says what would be right."""


class NoQuery(QueryStruct, frozen=True):
    """None, but for those that say whom the request concerns."""


class PageQuery(QueryStruct, frozen=True):
    """Which page of a list."""

    limit: Limit = MAX_LIMIT
    cursor: Annotated[str, Meta(description="the next_cursor of the page before")] | None = None


async def read_body(request: Request, type_: type[Wire]) -> Wire:
    """The JSON body as `type_`.

    Raises:
        UnsupportedMedia: it is not declared as plain JSON.
        Rejected: it is no JSON.
        Invalid: it is JSON of another shape; `errors` name the first wrong field.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMedia("Send the body as JSON, with `Content-Type: application/json`.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("Send the body as it is, without Content-Encoding.")
    return decode_body(await request.body(), type_)


def find_key(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The text of the request's API key.

    Raises:
        Unauthorized: there is none, more than one, or another scheme than Bearer.
    """
    given = [value for name, value in headers if name == b"authorization"]
    if len(given) != 1 or given[0][:7].lower() != b"bearer ":
        raise Unauthorized(_NO_KEY)
    return given[0][7:].decode("latin-1").strip(" ")


def decode_body(data: bytes, type_: type[Wire]) -> Wire:
    """`data` as `type_`; errors as `read_body`."""
    try:
        body = msgspec.json.decode(data, type=type_)
    except msgspec.ValidationError as error:
        raise Invalid(
            "The body does not have the shape this path takes.", errors=(_field_error(str(error)),)
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected("The body is no valid JSON.", code="malformed_json") from error
    _refuse_instants_without_utc(body)
    return body


def parse_query(query: bytes, known: Collection[str]) -> dict[str, str]:
    """The query parameters, each at most once.

    Raises:
        Invalid: a parameter that is not `known`, given twice, or not UTF-8.
    """
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(query),
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError as error:
        raise Invalid(
            "The query string cannot be read: write it as name=value&name=value in UTF-8."
        ) from error
    names = [name for name, _ in pairs]
    errors = [
        *(_unknown_parameter(name, known) for name in dict.fromkeys(names) if name not in known),
        *(FieldError(name, "given more than once") for name in known if names.count(name) > 1),
        *(FieldError(name, "must not contain a NUL character") for name, value in pairs if "\0" in value),
    ]
    if errors:
        raise Invalid("The query string has parameters this path does not take.", errors=tuple(errors))
    return dict(pairs)


def require_user_id(parameters: dict[str, str]) -> str:
    """Raises: Invalid, where `user_id` is missing or cannot be one."""
    user_id = parameters.get("user_id")
    if user_id is None:
        raise Invalid("Say whose answer you want.", errors=(FieldError("user_id", "required"),))
    if not _is_user_id(user_id):
        what = f"1 to {USER_ID_LENGTH} characters, without NUL"
        raise Invalid("This cannot be a user's id.", errors=(FieldError("user_id", what),))
    return user_id


def parse_features(text: str) -> list[str]:
    """The keys of `features=a,b`, each once. Raises: Invalid, where one is empty or there are too many."""
    features = list(dict.fromkeys(text.split(",")))
    if "" in features or len(features) > MAX_FEATURES:
        what = f"1 to {MAX_FEATURES} feature keys, separated by commas"
        raise Invalid("This is no list of features.", errors=(FieldError("features", what),))
    return features


def parse_query_struct(parameters: Mapping[str, str], type_: type[Wire]) -> Wire:
    """Parameters, all known, as `type_`. Raises: Invalid, naming the first wrong one and what is right."""
    shapes = _shapes(cast("Hashable", type_))
    values = {name: _read_value(text, shapes[name]) for name, text in parameters.items()}
    try:
        query = msgspec.convert(values, type_)
    except msgspec.ValidationError as error:
        wrong = _field_error(str(error))
        name = wrong["field"]
        what = "required" if name not in parameters else shapes[name].says or wrong["detail"]
        raise Invalid(
            "The query string does not say what this path takes.", errors=(FieldError(name, what),)
        ) from error
    _refuse_instants_without_utc(query)
    return query


def _refuse_instants_without_utc(read: object) -> None:
    """Near the years 1 and 9999 an offset may make an instant that UTC, and so Postgres, cannot write."""
    names = read.__struct_fields__ if isinstance(read, Struct) else ()
    for name in names:
        if isinstance(value := getattr(read, name), datetime):
            try:
                value.astimezone(UTC)
            except OverflowError as error:
                said = FieldError(name, "an instant (RFC 3339) that lies in the years 1 to 9999 in UTC")
                raise Invalid("There is no such instant.", errors=(said,)) from error


class _Shape(Struct, frozen=True):
    """What a parameter can be."""

    #: Of JSON Schema.
    types: frozenset[str]
    #: What would be right; None: msgspec says it well enough.
    says: str | None


@cache
def _shapes(type_: Hashable) -> dict[str, _Shape]:
    shapes = {}
    for field in msgspec.structs.fields(cast("type[Struct]", type_)):
        schema = msgspec.json.schema(field.type)
        cases = [schema, *schema.get("anyOf", ())]
        said = next((case["description"] for case in cases if "description" in case), None)
        values = [value for case in cases for value in case.get("enum", ())]
        types = frozenset(case["type"] for case in cases if "type" in case)
        shapes[field.encode_name] = _Shape(types, said or ", ".join(map(str, values)) or None)
    return shapes


def _read_value(text: str, shape: _Shape) -> str | int | bool:
    """A number or a truth where one is asked for; everything else stays text, to be judged as such."""
    if "integer" in shape.types and _is_integer(text):
        return int(text)
    if "boolean" in shape.types and text in {"true", "false"}:
        return text == "true"
    return text


def _unknown_parameter(name: str, known: Collection[str]) -> FieldError:
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
    return FieldError(name[:100], f"unknown parameter; {hint}")


def _field_error(message: str) -> FieldError:
    place = _AT.search(message)
    said = message[: place.start()] if place else message
    path = place["path"] if place else ""
    named = _FIELD.search(said)
    if named:
        path = f"{path}.{named['name']}" if path else named["name"]
    return FieldError(path, "must not contain a NUL character" if _NUL_PATTERN in said else said)
