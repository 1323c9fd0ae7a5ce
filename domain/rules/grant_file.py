"""Grants in bulk: a CSV file of an operator, read into wishes; every wrong line is named by its number.

    user_id,target_kind,target,effect,value,starts_at,expires_at,reason
    u_17,feature,export,,,,2026-12-31,workshop of May
    u_18,feature,seats,add,5,,2026-12-31T18:00:00Z,workshop of May

One row of names first, in any order; columns that are not REQUIRED may be left out, and so may their cells.
"""

import csv
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal, TypeVar, cast, get_args

import msgspec
from msgspec import UNSET, Struct, UnsetType

from domain.errors import FieldError
from domain.model import FeatureValue, GrantEffect, GrantTarget
from domain.rules.catalog.fields import suggest
from domain.rules.new_grant import GrantWish

REQUIRED = ("user_id", "target_kind", "target")
COLUMNS = (*REQUIRED, "effect", "value", "starts_at", "expires_at", "reason")
#: A file is held in memory, and its faults on a screen; more people than this are a plan of the catalog.
MOST_LINES = 100_000

Word = TypeVar("Word", bound=str)


class WishedLine(Struct, frozen=True, kw_only=True):
    #: As editors count; of a row over several lines, the first.
    line: int
    user_id: str
    wish: GrantWish


class GrantFile(Struct, frozen=True, kw_only=True):
    lines: tuple[WishedLine, ...]
    #: What could not be read, by line; the others are in `lines`.
    faults: tuple[FieldError, ...]
    #: Rows below the names, wrong ones too.
    rows: int


def read_grant_file(data: bytes, *, reason: str | None = None, most: int = MOST_LINES) -> GrantFile:
    """`reason`: of every line that has none of its own; `most`: lines. What is wrong is in `faults`."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return _nothing(fault(line, "", "is no UTF-8: save the file as CSV in UTF-8"))
    rows = _rows(text)
    try:
        first = next(rows, None)
        if first is None:
            return _nothing(fault(1, "", f"is empty: begin with the names {','.join(COLUMNS)}"))
        if faults := _header_faults(*first):
            return _nothing(*faults)
        return _read_rows(first[1], rows, reason, most)
    except csv.Error as error:
        return _nothing(FieldError("file", f"is no CSV at {error}"))


def read_value(text: str | None) -> FeatureValue | UnsetType:
    """JSON where it is some, `unlimited`, else the word itself; None: nothing was said."""
    if text is None:
        return UNSET
    if text in {"unlimited", "null"}:
        # Refusals name `null`, as the API takes it.
        return None
    try:
        return msgspec.json.decode(text, type=bool | int | str | list[str])
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text


def fault(line: int, column: str, what: str) -> FieldError:
    return FieldError(f"line {line}, {column}" if column else f"line {line}", what)


def _nothing(*faults: FieldError) -> GrantFile:
    return GrantFile(lines=(), faults=faults, rows=0)


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every row that is not blank. Raises: csv.Error."""
    reader = csv.reader([f"{one}\n" for one in text.removesuffix("\n").split("\n")], strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, [cell.strip() for cell in cells]
            line = reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(f"line {line}: {error}") from error


def _header_faults(line: int, names: list[str]) -> list[FieldError]:
    if len(names) == 1 and ";" in names[0]:
        return [fault(line, "", "separates columns by semicolons: save the file with commas")]
    missing = [name for name in REQUIRED if name not in names]
    unknown = [name for name in names if name not in COLUMNS]
    return [
        *(fault(line, "", f"names no column {name}") for name in missing),
        *(fault(line, name, f"unknown column; {suggest(name, list(COLUMNS))}") for name in unknown),
        *(fault(line, name, "is named twice") for name in COLUMNS if names.count(name) > 1),
    ]


def _read_rows(
    names: list[str], rows: Iterator[tuple[int, list[str]]], reason: str | None, most: int
) -> GrantFile:
    read: dict[tuple[str, bytes], WishedLine] = {}
    faults: list[FieldError] = []
    count = 0
    for line, cells in rows:
        count += 1
        if count > most:
            faults.append(fault(line, "", f"is one too many: a file has at most {most} grants"))
            break
        found = _read_row(line, names, cells, reason)
        if not isinstance(found, WishedLine):
            faults.extend(found)
            continue
        twin = read.setdefault((found.user_id, msgspec.json.encode(found.wish)), found)
        if twin is not found:
            faults.append(fault(line, "", f"is the same as line {twin.line}: leave one of them out"))
    return GrantFile(lines=tuple(read.values()), faults=tuple(faults), rows=count)


def _read_row(
    line: int, names: list[str], cells: list[str], reason: str | None
) -> WishedLine | list[FieldError]:
    if len(cells) != len(names):
        what = (
            f"has {len(cells)} columns, and the first line names {len(names)}: quote cells that hold a comma"
        )
        return [fault(line, "", what)]
    said = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
    faults = [fault(line, name, "is empty") for name in REQUIRED if name not in said]
    kind = _choice("target_kind", get_args(GrantTarget), said, "feature", line, faults)
    effect = _choice("effect", get_args(GrantEffect), said, "allow", line, faults)
    starts_at, expires_at = (_instant(name, said, line, faults) for name in ("starts_at", "expires_at"))
    why = said.get("reason", reason)
    if why is None:
        faults.append(fault(line, "reason", "is empty: say why, or give --reason for every line"))
    if faults or why is None:
        return faults
    wish = GrantWish(
        effect=cast("GrantEffect", effect),
        target_kind=cast("GrantTarget", kind),
        target=said["target"],
        value=read_value(said.get("value")),
        starts_at=starts_at,
        expires_at=expires_at,
        reason=why,
    )
    return WishedLine(line=line, user_id=said["user_id"], wish=wish)


def _choice(
    name: Literal["target_kind", "effect"],
    known: tuple[str, ...],
    said: Mapping[str, str],
    default: str,
    line: int,
    faults: list[FieldError],
) -> str:
    chosen = said.get(name, default)
    if chosen not in known:
        faults.append(fault(line, name, f"is {chosen!r}; {suggest(chosen, list(known))}"))
    return chosen


def _instant(name: str, said: Mapping[str, str], line: int, faults: list[FieldError]) -> datetime | None:
    """A time or a day, in UTC where it names no zone. A span would be another time at each import."""
    text = said.get(name)
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        faults.append(
            fault(line, name, f"is {text!r}: write a day such as 2026-12-31, or 2026-12-31T18:00:00Z")
        )
        return None
