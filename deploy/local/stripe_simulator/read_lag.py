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
    """A row as it was; `body` None: it did not exist. `order` is its place in lists."""

    body: bytes | None
    order: int


class ReadLag:
    def __init__(self) -> None:
        self.lag = Lag()
        self._latest: dict[Key, State] = {}
        #: Former states, oldest first, each with the moment until which it held.
        self._past: dict[Key, deque[tuple[float, State]]] = {}

    def set(self, lag: Lag, accounts: list[Account]) -> None:
        """Begin anew: what is true now is what the next reads may be behind to."""
        self.lag = lag
        self._past = {}
        self._latest = {}
        if lag.seconds:
            for account in accounts:
                places = [(kind, row_id) for kind, rows in account.rows.items() for row_id in rows]
                self._latest |= {(account.account_id, *place): state_of(account, *place) for place in places}

    def note(self, account: Account) -> None:
        """Keep what the rows of this commit were before it."""
        if not self.lag.seconds:
            return
        now = time.monotonic()
        for kind, row_id in account.dirty:
            key = (account.account_id, kind, row_id)
            before = self._latest.get(key, State(None, -1))
            after = state_of(account, kind, row_id, before.order)
            if before.body != after.body:
                self._past.setdefault(key, deque()).append((now, State(before.body, after.order)))
                self._latest[key] = after

    def view(self, account: Account, path: str) -> Account:
        """What a reader of this address sees."""
        if not self.lag.seconds or not fnmatchcase(path, self.lag.path_pattern):
            return account
        past: dict[tuple[str, str], State] = {}
        since = time.monotonic() - self.lag.seconds
        for key in list(self._past):
            states = self._past[key]
            while states and states[0][0] <= since:
                states.popleft()
            if not states:
                del self._past[key]
            elif key[0] == account.account_id and self._is_behind(key, states[0][1]):
                past[key[1:]] = states[0][1]
        return PastAccount(account, past) if past else account

    def _is_behind(self, key: Key, state: State) -> bool:
        _account, kind, row_id = key
        body = state.body or self._latest[key].body
        row: Json = msgspec.json.decode(body) if body else {}
        owner = row.get(INSIDE_OF.get(kind, ""), row_id)
        # Not for secrets: the same seed and id are behind in every run.
        return random.Random(f"{self.lag.seed}:{owner}").random() < self.lag.share  # noqa: S311


def state_of(account: Account, kind: str, row_id: str, order: int = -1) -> State:
    """The row as it is; a removed one keeps the place it had."""
    row = account.find(kind, row_id)
    if row is None:
        return State(None, order)
    return State(msgspec.json.encode(row), account.order_of(row))


class PastAccount(Account):
    """An account with some rows as they were. Only for reading: nothing of it is ever written."""

    def __init__(self, account: Account, past: dict[tuple[str, str], State]) -> None:
        super().__init__(account.secret_key, account.account_id, account.created)
        self._present = account
        self._changed = {kind for kind, _row_id in past}
        self._orders_then = {row_id: state.order for (_kind, row_id), state in past.items()}
        self.rows = {**account.rows}
        for kind in self._changed:
            self.rows[kind] = {**account.rows.get(kind, {})}
        for (kind, row_id), state in past.items():
            self._turn_back(kind, row_id, state)

    def _turn_back(self, kind: str, row_id: str, state: State) -> None:
        if state.body is None:
            self.rows[kind].pop(row_id, None)
        else:
            self.rows[kind][row_id] = msgspec.json.decode(state.body, type=dict)

    def where(self, kind: str, name: str, value: str) -> list[Json]:
        if kind not in self._changed:
            return self._present.where(kind, name, value)
        read = INDEXES[kind][name]
        found = [row for row in self.rows.get(kind, {}).values() if read(row) == value]
        return sorted(found, key=self.order_of)

    def order_of(self, row: Json) -> int:
        order = self._orders_then.get(row["id"], -1)
        return order if order >= 0 else self._present.order_of(row)
