"""From an answer of Stripe's to a struct of the pinned version, its instants and its references."""

from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from domain.errors import Broken

T = TypeVar("T")


class Referred(Struct):
    """An object where Stripe shows it instead of its id."""

    id: str


#: A reference of Stripe's: an id, or the object where it was expanded.
Reference = str | Referred | None


def convert(answer: dict[str, Any], shape: type[T]) -> T:
    """Raises: Broken, where the answer has not the shape of the pinned version."""
    try:
        return msgspec.convert(answer, shape)
    except msgspec.ValidationError as error:
        raise Broken(f"{answer.get('object', 'object')} {answer.get('id', '?')}: {error}") from error


def when(unix_s: int) -> datetime:
    """Raises: Broken, for a number that is no time."""
    try:
        return datetime.fromtimestamp(unix_s, tz=UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise Broken(f"{unix_s} is no time in seconds") from error


def instant(unix_s: int | None) -> datetime | None:
    return None if unix_s is None else when(unix_s)


def id_of(reference: Reference) -> str | None:
    return reference.id if isinstance(reference, Referred) else reference
