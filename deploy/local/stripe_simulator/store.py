"""What this Stripe knows: accounts, and in each the rows by kind, newest last.

A row is a plain dict in Stripe's shape (`id`, `object`, …). Beside Stripe's kinds an account holds a few
of our own: `checkout_draft` (what a session will make), `endpoint_secret`, `delivery`, `idempotency`.
Whoever changes a row puts it again: that keeps the indexes right and marks it for the journal.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from deploy.local.stripe_simulator.errors import missing_object
from deploy.local.stripe_simulator.journal import Journal

Json = dict[str, Any]


def invoice_subscription(invoice: Json) -> str | None:
    details = (invoice["parent"] or {}).get("subscription_details") or {}
    subscription: str | None = details.get("subscription")
    return subscription


def paying_intent(payment: Json) -> str | None:
    intent: str | None = payment["payment"].get("payment_intent")
    return intent


def discount_coupon(discount: Json) -> str | None:
    coupon: str = discount["source"]["coupon"]
    return coupon


def field(name: str) -> Callable[[Json], str | None]:
    return lambda row: row.get(name)


#: kind → filter → how a row answers it. Lists by these do not scan the whole kind.
INDEXES: dict[str, dict[str, Callable[[Json], str | None]]] = {
    "charge": {"customer": field("customer"), "payment_intent": field("payment_intent")},
    "checkout.session": {
        name: field(name) for name in ("customer", "payment_intent", "status", "subscription")
    },
    "customer": {"email": field("email"), "test_clock": field("test_clock")},
    "discount": {
        "coupon": discount_coupon,
        "customer": field("customer"),
        "promotion_code": field("promotion_code"),
    },
    "dispute": {"charge": field("charge"), "payment_intent": field("payment_intent")},
    "invoice": {"customer": field("customer"), "subscription": invoice_subscription},
    "invoice_payment": {"invoice": field("invoice"), "payment_intent": paying_intent},
    "invoiceitem": {"customer": field("customer"), "invoice": field("invoice")},
    "line_item": {"invoice": field("invoice")},
    "payment_intent": {"customer": field("customer")},
    "payment_method": {"customer": field("customer")},
    "price": {"product": field("product"), "lookup_key": field("lookup_key")},
    "refund": {"charge": field("charge"), "payment_intent": field("payment_intent")},
    "subscription": {"customer": field("customer"), "test_clock": field("test_clock")},
    "subscription_item": {"subscription": field("subscription")},
    "subscription_schedule": {"customer": field("customer")},
}

#: Kinds of ours that hold what Stripe does not show of an object, under the same id.
SATELLITES = {
    "checkout.session": "checkout_draft",
    "event": "event_moment",
    "invoice": "invoice_plan",
    "subscription": "subscription_plan",
    "webhook_endpoint": "endpoint_secret",
}
#: Kinds of rows to which something happens when time passes → the row that `due.py` then looks at.
TIMED: dict[str, Callable[[Json], tuple[str, str]]] = {
    "checkout.session": lambda row: ("checkout.session", row["id"]),
    "invoice": lambda row: ("invoice", row["id"]),
    "subscription": lambda row: ("subscription", row["id"]),
    "subscription_item": lambda row: ("subscription", row["subscription"]),
    "subscription_plan": lambda row: ("subscription", row["id"]),
    "subscription_schedule": lambda row: (
        "subscription",
        row["subscription"] or row["released_subscription"],
    ),
}


class Account:
    """One merchant: its key and everything it owns."""

    def __init__(self, secret_key: str, account_id: str, created: int) -> None:
        self.secret_key = secret_key
        self.account_id = account_id
        self.created = created
        #: Where this account is reached, as its latest call said it: the addresses of its pages begin so.
        self.base_url = ""
        #: kind → id → row, in the order of creation.
        self.rows: dict[str, dict[str, Json]] = {}
        #: (kind, id) of rows changed since the last commit.
        self.dirty: dict[tuple[str, str], None] = {}
        #: Ids of delivery rows made since the last commit; the sender takes them after it.
        self.outbox: list[str] = []
        #: What `now` answers while something of a test clock is done, in seconds since 1970; None: real time.
        self.moment: int | None = None
        #: (kind, id) of rows whose next due moment may have changed, until `due.py` has looked.
        self.stirred: dict[tuple[str, str], None] = {}
        #: (kind, id) → the test clock and the moment that stand for it in an agenda.
        self.noted: dict[tuple[str, str], tuple[str | None, int]] = {}
        #: Test clock (None: real time) → heap of (due moment, order, kind, id), kept by `due.py`.
        self.agendas: dict[str | None, list[tuple[int, int, str, str]]] = {}
        self._order: dict[str, int] = {}
        self._orders = count()
        self._index: dict[tuple[str, str, str], dict[str, None]] = {}
        self._indexed: dict[tuple[str, str], list[tuple[str, str, str]]] = {}

    def put(self, kind: str, row: Json) -> None:
        """Add a row or record that it changed."""
        self.restore(kind, row)
        self.dirty[kind, row["id"]] = None

    def restore(self, kind: str, row: Json) -> None:
        """Add a row that the journal already holds."""
        row_id = row["id"]
        self.rows.setdefault(kind, {})[row_id] = row
        if row_id not in self._order:
            self._order[row_id] = next(self._orders)
        if kind in TIMED:
            self.stirred[TIMED[kind](row)] = None
        if kind in INDEXES:
            self._forget(kind, row_id)
            places = [(kind, name, read(row)) for name, read in INDEXES[kind].items()]
            known = [(kind, name, value) for kind, name, value in places if value is not None]
            self._indexed[kind, row_id] = known
            for place in known:
                self._index.setdefault(place, {})[row_id] = None

    def remove(self, kind: str, row_id: str) -> None:
        self.rows[kind].pop(row_id)
        self._forget(kind, row_id)
        if kind not in SATELLITES.values():
            self._order.pop(row_id, None)
        self.dirty[kind, row_id] = None

    def clear(self, keep: frozenset[str] = frozenset()) -> None:
        """Forget every row but those of the kinds to keep, and of what belongs to them."""
        kept = keep | {SATELLITES[kind] for kind in keep & SATELLITES.keys()}
        for kind in [kind for kind in self.rows if kind not in kept]:
            for row_id in list(self.rows[kind]):
                self.remove(kind, row_id)
        self.outbox.clear()
        self.agendas.clear()
        self.noted.clear()
        for kind in self.rows.keys() & TIMED.keys():
            self.stirred |= dict.fromkeys(TIMED[kind](row) for row in self.rows[kind].values())

    def find(self, kind: str, row_id: str) -> Json | None:
        return self.rows.get(kind, {}).get(row_id)

    def load(self, kind: str, row_id: str, param: str = "id") -> Json:
        """The row; raises resource_missing naming the parameter that asked for it."""
        row = self.find(kind, row_id)
        if row is None:
            raise missing_object(kind, row_id, param)
        return row

    def load_live(self, kind: str, row_id: str, param: str = "id") -> Json:
        """Like `load`, but a deleted object is missing too."""
        row = self.load(kind, row_id, param)
        if row.get("deleted"):
            raise missing_object(kind, row_id, param)
        return row

    def where(self, kind: str, name: str, value: str) -> list[Json]:
        """Rows by an indexed field, oldest first."""
        rows = self.rows.get(kind, {})
        found = [rows[row_id] for row_id in self._index.get((kind, name, value), {})]
        return sorted(found, key=self.order_of)

    def select(self, kind: str, asked: Json, *names: str) -> list[Json]:
        """Rows that match every filter of `names` that the call gave; all rows when it gave none."""
        given = [(name, asked[name]) for name in names if name in asked]
        if not given:
            return list(self.rows.get(kind, {}).values())
        read = INDEXES[kind]
        found = self.where(kind, *given[0])
        return [row for row in found if all(read[name](row) == value for name, value in given)]

    def order_of(self, row: Json) -> int:
        """A number that grows with each row of the account; `created` has only whole seconds."""
        return self._order[row["id"]]

    def now(self) -> int:
        """The clock in whole seconds, as Stripe writes moments: simulated inside of `standing_at`."""
        return int(time.time()) if self.moment is None else self.moment

    @contextmanager
    def standing_at(self, moment: int | None) -> Iterator[None]:
        """Let `now` answer this moment while inside; None: real time."""
        before, self.moment = self.moment, moment
        try:
            yield
        finally:
            self.moment = before

    def _forget(self, kind: str, row_id: str) -> None:
        for place in self._indexed.pop((kind, row_id), []):
            del self._index[place][row_id]


class Store:
    """All accounts, by key; written to the journal at each commit when there is one."""

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal
        #: Called at each commit with every account, before its changes are forgotten.
        self.on_commit: Callable[[Account], None] = lambda _account: None
        self.accounts: dict[str, Account] = {}
        if journal is not None:
            for account_id, secret_key, created in journal.read_accounts():
                self.accounts[account_id] = Account(secret_key, account_id, created)
            for account_id, kind, row in journal.read_rows():
                self.accounts[account_id].restore(kind, row)

    def open_account(self, secret_key: str, account_id: str) -> Account:
        """The account of this id, new or known; from now on it has this key.

        Raises ValueError when another account has the key.
        """
        holder = self.find_by_key(secret_key)
        if holder is not None and holder.account_id != account_id:
            raise ValueError(f"the secret key already belongs to account {holder.account_id}")
        account = self.accounts.get(account_id)
        if account is None:
            account = self.accounts[account_id] = Account(secret_key, account_id, int(time.time()))
        account.secret_key = secret_key
        if self._journal is not None:
            self._journal.write_account(account_id, secret_key, account.created)
        return account

    def find_by_key(self, key: str) -> Account | None:
        """The account of a secret key, or of the restricted key of the same tail."""
        for account in self.accounts.values():
            restricted = "rk_" + account.secret_key.removeprefix("sk_")
            if key in {account.secret_key, restricted}:
                return account
        return None

    def commit(self) -> list[tuple[Account, str]]:
        """Write what changed, in one transaction; returns the deliveries that may now be sent."""
        outgoing: list[tuple[Account, str]] = []
        for account in self.accounts.values():
            if account.dirty and self._journal is not None:
                changes = [(kind, row_id, account.find(kind, row_id)) for kind, row_id in account.dirty]
                self._journal.write_rows(account.account_id, changes)
            self.on_commit(account)
            account.dirty.clear()
            outgoing += [(account, delivery_id) for delivery_id in account.outbox]
            account.outbox.clear()
        return outgoing

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()
