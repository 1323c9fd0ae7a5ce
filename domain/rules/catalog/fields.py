"""Reading the tables of a catalog file: every wrong key is noted with its place, and reading goes on.

A reader that has noted a problem returns something harmless in its place; `parse_catalog_file` throws the
result away whenever there is a problem.
"""

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import TypeGuard, TypeVar

from domain.errors import FieldError, Invalid

Choice = TypeVar("Choice", bound=str)

KEY = re.compile(r"[a-z][a-z0-9_]*")
#: Stripe's ids are at most 255 characters; three keys and their separators must fit into one.
KEY_LENGTH = 60
#: The largest whole number that every JSON reader keeps exact.
MOST = 2**53 - 1
#: How much of a wrong value an error repeats.
SHOWN_LENGTH = 60


class CatalogInvalid(Invalid):
    """The catalog file says something impossible; `errors` name each place by file, table and key."""

    code = "catalog_invalid"

    def __init__(self, file: str, errors: tuple[FieldError, ...]) -> None:
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        super().__init__(f"{file} has {count}", errors=errors)

    def __str__(self) -> str:
        """Every place too, for a traceback; a door shows `detail` and lists `errors` itself."""
        return "\n".join([f"{self.detail}:", *(f"  {one['field']}: {one['detail']}" for one in self.errors)])


class CatalogError(FieldError):
    """One wrong place in the file, also with `file`, `table` and `key` by themselves."""

    def __init__(self, file: str, table: str, key: str, detail: str) -> None:
        place = f"[{table}] {key}".strip() if table else key
        super().__init__(f"{file}: {place}" if place else file, detail)
        self.update(file=file, table=table, key=key)


class Problems:
    """What is wrong with one file so far, in the order in which it was read."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.errors: list[FieldError] = []

    def note(self, table: str, key: str, detail: str) -> None:
        self.errors.append(CatalogError(self.file, table, key, detail))


class Table:
    """One table being read. `close` reports the keys that nobody asked for."""

    def __init__(self, content: dict[str, object], path: str, problems: Problems) -> None:
        self.path = path
        self._content = content
        self._problems = problems
        self._asked: set[str] = set()

    def wrong(self, key: str, detail: str) -> None:
        self._problems.note(self.path, key, detail)

    def has(self, key: str) -> bool:
        self._asked.add(key)
        return key in self._content

    def raw(self, key: str) -> object:
        """The value as TOML has it; None where the key is absent (TOML itself has no null)."""
        self._asked.add(key)
        return self._content.get(key)

    def names(self) -> tuple[str, ...]:
        return tuple(self._content)

    def text(self, key: str, default: str | None) -> str:
        """`default` None: the key is required."""
        value = self.raw(key)
        if isinstance(value, str) and value.strip():
            return value
        self._refuse(key, value, "a text that is not empty", required=default is None)
        return default or ""

    def optional_text(self, key: str) -> str | None:
        return self.text(key, "") if self.has(key) else None

    def boolean(self, key: str, *, default: bool) -> bool:
        value = self.raw(key)
        if isinstance(value, bool):
            return value
        self._refuse(key, value, "true or false")
        return default

    def integer(self, key: str, default: int, *, least: int = 0, most: int = MOST) -> int:
        value = self.raw(key)
        if is_integer(value, least, most):
            return value
        self._refuse(key, value, f"a whole number from {least} to {most}")
        return default

    def optional_integer(self, key: str, *, most: int = MOST) -> int | None:
        return self.integer(key, 0, most=most) if self.has(key) else None

    def choice(self, key: str, choices: tuple[Choice, ...], default: Choice | None) -> Choice:
        """`default` None: the key is required."""
        value = self.raw(key)
        for choice in choices:
            if value == choice:
                return choice
        wanted = "one of " + ", ".join(f'"{choice}"' for choice in choices)
        self._refuse(key, value, wanted, required=default is None)
        return default if default is not None else choices[0]

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of different texts; () where the key is absent."""
        value = self.raw(key)
        if (texts := read_texts(value)) is not None:
            return texts
        self._refuse(key, value, "a list of different texts that are not empty")
        return ()

    def table(self, key: str) -> "Table":
        """The table under `key`, an empty one where it is absent."""
        value = self.raw(key)
        path = f"{self.path}.{key}" if self.path else key
        if isinstance(value, dict):
            return Table(value, path, self._problems)
        self._refuse(key, value, f"a table: [{path}]")
        return Table({}, path, self._problems)

    def tables(self, key: str) -> dict[str, "Table"]:
        """The tables `[….key.NAME]` by their name, sorted; a name that is no key is reported."""
        parent = self.table(key)
        for name in parent.names():
            if not is_key(name):
                parent.wrong(name, f"is no key; use [a-z][a-z0-9_]*, at most {KEY_LENGTH} characters")
        return {name: parent.table(name) for name in sorted(parent.names()) if is_key(name)}

    def rows(self, key: str) -> list["Table"]:
        """The tables of an array `[[….key]]`, in order; their paths count from 1."""
        value = self.raw(key)
        path = f"{self.path}.{key}" if self.path else key
        if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
            self._refuse(key, value, f"a list of tables: [[{path}]]")
            return []
        return [Table(row, f"{path}[{number}]", self._problems) for number, row in enumerate(value, 1)]

    def known(self, key: str, names: Iterable[str], known: Collection[str], what: str) -> tuple[str, ...]:
        """`names` without the ones that are not `known`; each of those is reported under `key`."""
        found = []
        for name in names:
            if name in known:
                found.append(name)
            else:
                self.wrong(key, f'names the unknown {what} "{name}"; {suggest(name, known)}')
        return tuple(found)

    def close(self) -> None:
        for key in self._content:
            if key not in self._asked:
                self.wrong(key, f"is not known here; {suggest(key, self._asked)}")

    def _refuse(self, key: str, value: object, wanted: str, *, required: bool = False) -> None:
        if value is not None:
            self.wrong(key, f"is {show(value)}; it must be {wanted}")
        elif required:
            self.wrong(key, f"is missing; add it as {wanted}")


def is_key(name: str) -> bool:
    return KEY.fullmatch(name) is not None and len(name) <= KEY_LENGTH


def is_integer(value: object, least: int = 0, most: int = MOST) -> TypeGuard[int]:
    """TOML's booleans are Python's integers too, and are none here."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def read_texts(value: object) -> tuple[str, ...] | None:
    """The list's texts; None where it is no list of different texts that are not empty.

    None of them has a NUL: Postgres stores none, so the answer could not be kept.
    """
    if not isinstance(value, list):
        return None
    texts = tuple(text for text in value if isinstance(text, str) and text and "\0" not in text)
    return texts if len(set(texts)) == len(value) else None


def suggest(name: str, known: Collection[str]) -> str:
    """What to do about an unknown name: the nearest known one, else all of them."""
    if nearest := get_close_matches(name, sorted(known), n=1, cutoff=0.6):
        return f'did you mean "{nearest[0]}"?'
    return f"known: {', '.join(sorted(known))}" if known else "none exists yet"


def show(value: object) -> str:
    """A wrong value as its author wrote it, shortened."""
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    shown = shown.lower() if isinstance(value, bool) else shown
    return shown if len(shown) <= SHOWN_LENGTH else f"{shown[:SHOWN_LENGTH]}…"
