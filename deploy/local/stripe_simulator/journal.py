"""The simulator's state on disk: one SQLite file, one transaction for each answered call.

A kill -9 loses at most the call that was being answered. A power cut may lose the last second: this
is test data, and waiting for the disk on every call would slow each test run down.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

FILE_NAME = "stripe.sqlite3"
SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
  account_id TEXT PRIMARY KEY, secret_key TEXT NOT NULL, created INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS rows (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL,
  UNIQUE (account_id, kind, id)
);
"""
UPSERT = """
INSERT INTO rows (account_id, kind, id, body) VALUES (?, ?, ?, ?)
ON CONFLICT (account_id, kind, id) DO UPDATE SET body = excluded.body
"""
DELETE = "DELETE FROM rows WHERE account_id = ? AND kind = ? AND id = ?"


class StateUnusable(Exception):
    """The state directory cannot be used."""


class Journal:
    """The open file. One process at a time: SQLite's exclusive lock refuses a second one."""

    def __init__(self, directory: Path) -> None:
        """Open or create the file in `directory`.

        Raises StateUnusable when the file is damaged, or another simulator holds it.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / FILE_NAME
        self._path.touch(mode=0o600)
        self._connection = sqlite3.connect(self._path, isolation_level=None, timeout=1)
        try:
            self._prepare()
        except (sqlite3.Error, StateUnusable) as error:
            self._connection.close()
            raise StateUnusable(explain(self._path, error)) from error

    def read_accounts(self) -> list[tuple[str, str, int]]:
        """(account id, secret key, created) of every account."""
        found = self._connection.execute(
            "SELECT account_id, secret_key, created FROM accounts ORDER BY rowid"
        )
        return [(str(account_id), str(key), int(created)) for account_id, key, created in found]

    def read_rows(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """(account id, kind, row), in the order the rows were made."""
        found = self._connection.execute("SELECT account_id, kind, body FROM rows ORDER BY seq")
        for account_id, kind, body in found:
            yield account_id, kind, msgspec.json.decode(body, type=dict[str, Any])

    def write_account(self, account_id: str, secret_key: str, created: int) -> None:
        self._connection.execute(
            "INSERT INTO accounts VALUES (?, ?, ?) "
            "ON CONFLICT (account_id) DO UPDATE SET secret_key = excluded.secret_key",
            (account_id, secret_key, created),
        )

    def write_rows(self, account_id: str, changes: Sequence[tuple[str, str, dict[str, Any] | None]]) -> None:
        """Write (kind, id, row) in one transaction; a row of None is deleted."""
        gone = [(account_id, kind, row_id) for kind, row_id, row in changes if row is None]
        kept = [
            (account_id, kind, row_id, msgspec.json.encode(row))
            for kind, row_id, row in changes
            if row is not None
        ]
        self._connection.execute("BEGIN")
        self._connection.executemany(DELETE, gone)
        self._connection.executemany(UPSERT, kept)
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()

    def _prepare(self) -> None:
        execute = self._connection.execute
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(SCHEMA)
        verdict = execute("PRAGMA quick_check").fetchone()[0]
        if verdict != "ok":
            raise StateUnusable(verdict)


def explain(path: Path, error: Exception) -> str:
    if "locked" in str(error):
        return f"{path} is in use by another simulator: stop that one, or choose another --state directory"
    return f"{path} cannot be read ({error}): start with --reset to begin with an empty Stripe"
