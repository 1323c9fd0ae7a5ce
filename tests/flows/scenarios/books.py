"""The simulator's own rows as books: what Stripe knows in the end, told without events, reads or a mirror."""

from deploy.local.stripe_simulator.rendering import invoice_payments, render
from deploy.local.stripe_simulator.store import Account, Json
from tests.books import Books, Prices


def read_rows(account: Account) -> Books:
    """Everything the account has, lists whole."""
    books = Books()
    for row in rows(account, "subscription"):
        items = account.where("subscription_item", "subscription", row["id"])
        whole = {**row, "items": {"data": [render(account, item) for item in items]}}
        books.subscriptions[row["customer"]].append(whole)
    for row in rows(account, "invoice"):
        lines = {"data": account.where("line_item", "invoice", row["id"])}
        whole = {**row, "lines": lines, "payments": invoice_payments(account, row)}
        books.invoices[row["customer"]].append(whole)
    for row in rows(account, "checkout.session"):
        books.sessions[row["customer"]].append(row)
        draft = account.load("checkout_draft", row["id"])
        items = [account.load("item", item_id) for item_id in draft["line_items"]]
        books.lines[row["id"]] = [render(account, item) for item in items]
    read_money(account, books)
    return books


def read_money(account: Account, books: Books) -> None:
    for kind, found in (("charge", books.charges), ("refund", books.refunds), ("dispute", books.disputes)):
        for row in rows(account, kind):
            found[row["payment_intent"]].append(row)
    # Stripe told it by an event, also of a method that took days.
    for event in rows(account, "event"):
        if event["type"] == "payment_intent.succeeded":
            books.paid_at.setdefault(event["data"]["object"]["id"], event["created"])


def prices_of(account: Account, project: str) -> Prices:
    """By what names the price: the seed's lookup keys are `{project}:{plan}:{price}`."""
    keys = {row["id"]: (row["lookup_key"] or "").split(":") for row in rows(account, "price")}
    return {price_id: (key[-1], 1) for price_id, key in keys.items() if key[0] == project}


def rows(account: Account, kind: str) -> list[Json]:
    """Oldest first."""
    return list(account.rows.get(kind, {}).values())
