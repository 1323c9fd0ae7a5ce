"""Who says which user a customer is: a file, or a key of the customers' metadata. Named again on resuming."""

import hashlib
from collections.abc import Mapping as Mapped
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from domain.errors import FieldError, Invalid
from domain.flows.reconcile.look import Answer
from domain.rules.customer_map import MOST_FAULTS, Fault, MapLine, read_map, user_of_metadata

METADATA = "metadata."
NO_MAP = "nothing was imported"

_encode = msgspec.json.Encoder().encode


class ByMap(Struct, frozen=True, kw_only=True):
    """A file that was read and found right."""

    lines: tuple[MapLine, ...]

    @property
    def name(self) -> str:
        """The same for the same customers and users, in whatever order and beside whatever columns."""
        pairs = sorted((one.customer_id, one.user_id) for one in self.lines)
        return hashlib.sha256(_encode(pairs)).hexdigest()


class ByMetadata(Struct, frozen=True, kw_only=True):
    #: The key of a customer's metadata that holds our user's id.
    key: str

    @property
    def name(self) -> str:
        return f"{METADATA}{self.key}"


Mapping = ByMap | ByMetadata


def read_mapping(lines: Sequence[str]) -> ByMap:
    """Raises: Invalid, with every wrong line by its number."""
    read = read_map(lines)
    refuse_lines(read.faults, NO_MAP)
    return ByMap(lines=read.lines)


def refuse_lines(faults: Sequence[Fault], said: str) -> None:
    """Raises: Invalid, with the first of them; `said` is what did not happen."""
    if not faults:
        return
    shown = [FieldError(f"line {one.line}" if one.line else "file", one.said) for one in faults[:MOST_FAULTS]]
    if len(faults) > len(shown):
        shown.append(FieldError("…", f"{len(faults) - len(shown)} more"))
    raise Invalid(
        f"{len(faults)} wrong lines: {said}. Correct them and send the file again.",
        code="lines_invalid",
        errors=tuple(shown),
    )


def user_named(mapping: str, answer: Answer, waiting: Mapped[str, str]) -> tuple[str | None, str | None]:
    """(the user that a customer is mapped to, why it is to none); `waiting`: customer → user of a map."""
    if mapping.startswith(METADATA):
        return user_of_metadata(answer.get("metadata"), mapping.removeprefix(METADATA))
    user_id = waiting.get(str(answer["id"]))
    return user_id, None if user_id is not None else "nothing maps it"
