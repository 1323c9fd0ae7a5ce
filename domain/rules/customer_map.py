"""The map of an import: which user of ours each customer of an existing Stripe account is. Pure.

A CSV file with the columns `stripe_customer_id` and `user_id`; others are passed over, so that a file of
unmapped customers can be completed and given back. Every wrong line is named by its number.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

CUSTOMER, USER = "stripe_customer_id", "user_id"
#: As at the doors (docs/api.md).
USER_ID_LENGTH = 255
#: Wrong lines that are named; a file of another kind has as many as it has lines.
MOST_FAULTS = 50

_is_customer_id = re.compile(r"[A-Za-z0-9_-]{1,255}").fullmatch


class MapLine(Struct, frozen=True, kw_only=True):
    #: In the file, the header is 1.
    line: int
    customer_id: str
    user_id: str


class Fault(Struct, frozen=True, kw_only=True):
    """One wrong line; line 0 is the file as a whole."""

    line: int
    said: str


class CustomerMap(Struct, frozen=True, kw_only=True):
    lines: tuple[MapLine, ...]
    faults: tuple[Fault, ...]


def read_map(lines: Iterable[str]) -> CustomerMap:
    """Every line of the file, and what is wrong with it; with a fault nothing of it may be used."""
    reader = csv.reader(lines)
    header = [name.strip() for name in next(reader, [])]
    if missing := [name for name in (CUSTOMER, USER) if header.count(name) != 1]:
        said = f"the first line has to name the column {' and '.join(missing)}, once"
        return CustomerMap(lines=(), faults=(Fault(line=1, said=said),))
    places = (header.index(CUSTOMER), header.index(USER))
    read: list[MapLine] = []
    faults: list[Fault] = []
    for line, cells in _filled(reader):
        if max(places) >= len(cells):
            faults.append(Fault(line=line, said=f"has {len(cells)} columns, the first line {len(header)}"))
            continue
        one = MapLine(line=line, customer_id=cells[places[0]].strip(), user_id=cells[places[1]].strip())
        faults += [Fault(line=line, said=said) for said in _wrong(one)]
        read.append(one)
    faults += _repeated(read)
    if not read and not faults:
        faults = [Fault(line=0, said="the file maps no customer")]
    return CustomerMap(lines=tuple(read), faults=tuple(sorted(faults, key=lambda fault: fault.line)))


def user_of_metadata(metadata: object, key: str) -> tuple[str | None, str | None]:
    """(the user that a customer's metadata names, why it names none)."""
    named = metadata.get(key) if isinstance(metadata, dict) else None
    if not isinstance(named, str) or not named.strip():
        return None, f"its metadata has no {key}"
    user_id = named.strip()
    if (said := wrong_user_id(user_id)) is not None:
        return None, f"metadata {key}: {said}"
    return user_id, None


def wrong_user_id(user_id: str) -> str | None:
    """Why this cannot be a user's id; None: it can."""
    if not user_id:
        return "names no user"
    if len(user_id) > USER_ID_LENGTH or "\0" in user_id:
        return f"a user_id has at most {USER_ID_LENGTH} characters, and no NUL"
    return None


def _filled(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Lines that are not empty, with their numbers; a quoted cell may hold several lines: the last counts."""
    while (cells := next(reader, None)) is not None:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, cells  # type: ignore[attr-defined] # csv.reader's, which has no public name


def _wrong(one: MapLine) -> list[str]:
    said = []
    if not _is_customer_id(one.customer_id):
        said.append(f"{one.customer_id[:60]!r} cannot be a Stripe customer's id: cus_…")
    wrong = wrong_user_id(one.user_id)
    return [*said, wrong] if wrong is not None else said


def _repeated(lines: Sequence[MapLine]) -> list[Fault]:
    first: dict[str, MapLine] = {}
    faults = []
    for one in lines:
        known = first.setdefault(one.customer_id, one)
        if known is one or not one.customer_id:
            continue
        said = "the same as" if known.user_id == one.user_id else f"{one.customer_id} is another user's in"
        faults.append(Fault(line=one.line, said=f"{said} line {known.line}: a customer is named once"))
    return faults
