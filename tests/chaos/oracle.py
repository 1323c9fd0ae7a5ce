"""What everybody may use, from Stripe's final objects as its API shows them, and our grants.

`tests/books.py` makes facts of them, and the oracle of tests/unit/rules answers: nothing here knows the
mirror, or a rule of domain/rules.
"""

from collections import defaultdict
from datetime import datetime
from typing import Any

import msgspec

from domain.context import Context
from domain.flows.read_catalog import Head, find_head
from domain.model import Grant
from tests.books import Books, Prices
from tests.chaos.stripe import Stripe
from tests.unit.rules.oracle import expected


async def read_books(stripe: Stripe, customer: str | None = None) -> Books:
    """All objects as Stripe has them now, or those of one customer."""
    books = Books()
    of = {"customer": customer} if customer is not None else {}
    for found in await stripe.list_all("/v1/subscriptions", status="all", **of):
        books.subscriptions[found["customer"]].append(found)
    for found in await stripe.list_all("/v1/invoices", **{"expand[]": "data.payments"}, **of):
        books.invoices[found["customer"]].append(found)
    for found in await stripe.list_all("/v1/charges", **of):
        books.charges[found["payment_intent"]].append(found)
        if found["status"] == "succeeded":
            # By card, as everybody here pays: the money comes with the charge.
            books.paid_at.setdefault(found["payment_intent"], found["created"])
    intents = [{}] if customer is None else [{"payment_intent": intent} for intent in books.charges]
    for asked in intents:
        for found in await stripe.list_all("/v1/refunds", **asked):
            books.refunds[found["payment_intent"]].append(found)
        for found in await stripe.list_all("/v1/disputes", **asked):
            books.disputes[found["payment_intent"]].append(found)
    for found in await stripe.list_all("/v1/checkout/sessions", **of):
        if found["status"] == "complete" and found["payment_status"] in {"paid", "no_payment_required"}:
            books.sessions[found["customer"]].append(found)
            lines = await stripe.get(f"/v1/checkout/sessions/{found['id']}/line_items", limit="100")
            books.lines[found["id"]] = lines["data"]
    return books


class Oracle:
    """The expected answers of one deployment, at any instant after its last change."""

    def __init__(self, books: Books, head: Head, prices: Prices) -> None:
        self._books = books
        self._head = head
        self._prices = prices

    def answers(self, customers: list[str], grants: list[Grant], app: str, at: datetime) -> dict[str, Any]:
        """The entitlements of a user with these customers, as JSON."""
        facts = self._books.facts(customers, self._prices, grants)
        answered: dict[str, Any] = msgspec.json.decode(
            msgspec.json.encode(expected(facts, self._head.catalog, app, at))
        )
        return answered


async def make_oracle(
    stripe: Stripe, context: Context, project: str = "acme", *, customer: str | None = None
) -> Oracle:
    """`customer`: for this one alone, and without reading everybody's books."""
    books = await read_books(stripe, customer)
    async with context.database.connection() as connection:
        head = await find_head(connection, project)
        rows = await connection.fetch(
            "SELECT price_id, price, revision FROM prices WHERE project = $1", project
        )
    assert head is not None
    return Oracle(books, head, {row["price_id"]: (row["price"], row["revision"]) for row in rows})


async def read_grants(context: Context, user_id: str | None = None) -> dict[str, list[Grant]]:
    """Operators' grants by user; they are ours, so Postgres has the only copy."""
    async with context.database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT u.user_id, g.* FROM grants g JOIN users u USING (user_key)
            WHERE $1::text IS NULL OR u.user_id = $1 ORDER BY g.created_at
            """,
            user_id,
        )
    found: dict[str, list[Grant]] = defaultdict(list)
    for row in rows:
        fields = {name: row[name] for name in Grant.__struct_fields__ if name != "value"}
        value = msgspec.json.decode(row["value"]) if row["value"] is not None else None
        found[row["user_id"]].append(Grant(**fields, value=value))
    return found
