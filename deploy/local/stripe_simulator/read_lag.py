"""Reads that are behind: Stripe may answer the state of a moment ago, and nothing says which objects.

While it is on, every commit keeps what its rows were before. A reader who is behind gets an account in
which the rows that have changed since are as they were; writes always work on the present.
"""

import random
import time
from collections import deque
from dataclasses import dataclass
from fnmatch import fnmatchcase

import msgspec

from deploy.local.stripe_simulator.store import INDEXES, Account, Json

#: account id, kind, row id.
Key = tuple[str, str, str]
#: Kinds of rows that are shown inside of another → the field that names it: they are behind together.
INSIDE_OF = {"line_item": "invoice", "subscription_item": "subscription"}


@dataclass(frozen=True, slots=True)
class Lag:
    """How far reads are behind; set by the control plane."""

    #: 0: not at all.
    seconds: float = 0.0
    #: Which part of the objects is behind, chosen by their ids; the others are always fresh.
    share: float = 1.0
    #: Another seed chooses other objects.
    seed: int = 0
    #: Only reads of these addresses are behind.
    path_pattern: str = "*"


@dataclass(frozen=True, slots=True)
class State:
    """A row as it was; None: it did not exist. `order` is its place in lists."""

    row: Json | None
    order: int


class ReadLag:
    def __init__(self) -> None:
        self.lag = Lag()
        #: Every row as JSON, as of the last commit, and its place.
        self._latest: dict[Key, tuple[bytes | None, int]] = {}
        #: Former states, oldest first, each with the moment until which it held.
        self._past: dict[Key, deque[tuple[float, State]]] = {}
        #: Account id → what its readers see until something changes, and the moment until which that holds.
        self._views: dict[str, tuple[float, Account]] = {}

    def set(self, lag: Lag, accounts: list[Account]) -> None:
        """Begin anew: what is true now is what the next reads may be behind to."""
        self.lag = lag
        self._past = {}
        self._latest = {}
        self._views = {}
        if lag.seconds:
            for account in accounts:
                places = [(kind, row_id) for kind, rows in account.rows.items() for row_id in rows]
                self._latest |= {(account.account_id, *place): written(account, *place) for place in places}

    def note(self, account: Account) -> None:
        """Keep what the rows of this commit were before it."""
        if not self.lag.seconds:
            return
        now = time.monotonic()
        if account.dirty:
            self._views.pop(account.account_id, None)
        for kind, row_id in account.dirty:
            key = (account.account_id, kind, row_id)
            before, order = self._latest.get(key, (None, -1))
            after, order = written(account, kind, row_id, order)
            if before != after:
                self._latest[key] = (after, order)
                then = msgspec.json.decode(before, type=dict) if before else None
                if self._is_behind(key, then or account.find(kind, row_id) or {}):
                    self._past.setdefault(key, deque()).append((now, State(then, order)))

    def view(self, account: Account, path: str) -> Account:
        """What a reader of this address sees."""
        if not self.lag.seconds or not fnmatchcase(path, self.lag.path_pattern):
            return account
        now = time.monotonic()
        until, seen = self._views.get(account.account_id, (0.0, account))
        if now >= until:
            past = self._held_at(account, now - self.lag.seconds)
            seen = PastAccount(account, past) if past else account
            ends = [states[0][0] for states in self._past.values()]
            self._views[account.account_id] = (min(ends, default=now) + self.lag.seconds, seen)
        return seen

    def _held_at(self, account: Account, moment: float) -> dict[tuple[str, str], State]:
        """The rows that have changed since, as they were; forgets what is older."""
        past: dict[tuple[str, str], State] = {}
        for key in list(self._past):
            states = self._past[key]
            while states and states[0][0] <= moment:
                states.popleft()
            if not states:
                del self._past[key]
            elif key[0] == account.account_id:
                past[key[1:]] = states[0][1]
        return past

    def _is_behind(self, key: Key, row: Json) -> bool:
        _account, kind, row_id = key
        owner = row.get(INSIDE_OF.get(kind, ""), row_id)
        # Not for secrets: the same seed and id are behind in every run.
        return random.Random(f"{self.lag.seed}:{owner}").random() < self.lag.share  # noqa: S311


def written(account: Account, kind: str, row_id: str, order: int = -1) -> tuple[bytes | None, int]:
    """The row as JSON, and its place; a removed one keeps the place it had."""
    row = account.find(kind, row_id)
    return (None, order) if row is None else (msgspec.json.encode(row), account.order_of(row))


class PastAccount(Account):
    """An account with some rows as they were. Only for reading: nothing of it is ever written."""

    def __init__(self, account: Account, past: dict[tuple[str, str], State]) -> None:
        super().__init__(account.secret_key, account.account_id, account.created)
        self._present = account
        #: kind → id → what the row was.
        self._then: dict[str, dict[str, State]] = {}
        for (kind, row_id), state in past.items():
            self._then.setdefault(kind, {})[row_id] = state
        self._orders_then = {row_id: state.order for (_kind, row_id), state in past.items()}
        self.rows = {**account.rows, **{kind: self._turned_back(kind) for kind in self._then}}

    def _turned_back(self, kind: str) -> dict[str, Json]:
        states = self._then[kind]
        kept = {
            row_id: row for row_id, row in self._present.rows.get(kind, {}).items() if row_id not in states
        }
        return kept | {row_id: state.row for row_id, state in states.items() if state.row is not None}

    def where(self, kind: str, name: str, value: str) -> list[Json]:
        found = self._present.where(kind, name, value)
        if kind not in self._then:
            return found
        states, read = self._then[kind], INDEXES[kind][name]
        kept = [row for row in found if row["id"] not in states]
        then = [state.row for state in states.values() if state.row is not None and read(state.row) == value]
        return sorted(kept + then, key=self.order_of)

    def order_of(self, row: Json) -> int:
        order = self._orders_then.get(row["id"], -1)
        return order if order >= 0 else self._present.order_of(row)
