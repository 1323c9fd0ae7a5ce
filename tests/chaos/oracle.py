"""What everybody may use, from Stripe's final objects and our grants, written once more and obviously.

Stripe's JSON becomes `Facts` here by the sentences of docs/entitlements.md, without the mirror and without
any rule of domain/rules; the oracle of tests/unit/rules then answers. Whoever changes what is read from
Stripe changes it here too, from the sentence.
"""

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import msgspec

from domain.context import Context
from domain.flows.read_catalog import Head, find_head
from domain.model import Dispute, Facts, Grant, Purchase, Refund, Subscription, SubscriptionItem
from tests.chaos.stripe import Json, Stripe
from tests.unit.rules.oracle import expected


class Books:
    """Everything the simulator has, by what it belongs to."""

    def __init__(self) -> None:
        self.subscriptions: dict[str, list[Json]] = defaultdict(list)
        self.sessions: dict[str, list[Json]] = defaultdict(list)
        self.invoices: dict[str, list[Json]] = defaultdict(list)
        self.charges: dict[str, list[Json]] = defaultdict(list)
        self.refunds: dict[str, list[Json]] = defaultdict(list)
        self.disputes: dict[str, list[Json]] = defaultdict(list)
        #: By session.
        self.lines: dict[str, list[Json]] = {}


async def read_books(stripe: Stripe, customer: str | None = None) -> Books:
    """All objects as Stripe has them now, or those of one customer."""
    books = Books()
    of = {"customer": customer} if customer is not None else {}
    for found in await stripe.list_all("/v1/subscriptions", status="all", **of):
        books.subscriptions[found["customer"]].append(found)
    for found in await stripe.list_all("/v1/invoices", **{"expand[]": "data.payments"}, **of):
        details = (found["parent"] or {}).get("subscription_details") or {}
        if details.get("subscription"):
            books.invoices[details["subscription"]].append(found)
    for found in await stripe.list_all("/v1/charges", **of):
        books.charges[found["payment_intent"]].append(found)
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

    def __init__(self, books: Books, head: Head, prices: dict[str, tuple[str, int]]) -> None:
        self._books = books
        self._head = head
        #: Price id → the catalog's key and revision.
        self._prices = prices

    def answers(self, customers: list[str], grants: list[Grant], app: str, at: datetime) -> dict[str, Any]:
        """The entitlements of a user with these customers, as JSON."""
        facts = Facts(
            subscriptions=tuple(
                self._subscription(one)
                for customer in customers
                for one in self._books.subscriptions[customer]
            ),
            purchases=tuple(one for customer in customers for one in self._purchases(customer)),
            grants=tuple(grants),
        )
        answered: dict[str, Any] = msgspec.json.decode(
            msgspec.json.encode(expected(facts, self._head.catalog, app, at))
        )
        return answered

    def _subscription(self, found: Json) -> Subscription:
        invoices = self._books.invoices[found["id"]]
        paid = [one for one in invoices if one["status"] == "paid"]
        lines = [line for one in paid for line in one["lines"]["data"]]
        paid_prices = {line["pricing"]["price_details"]["price"] for line in lines if line["pricing"]}
        streak = _unpaid_run(invoices)
        starts = [item["current_period_start"] for item in found["items"]["data"]]
        pause = found["pause_collection"] or {}
        cause = ((found.get("status_details") or {}).get("paused") or {}).get("subscription") or {}
        return Subscription(
            subscription_id=found["id"],
            status=found["status"],
            created_at=_when(found["created"]),
            items=tuple(self._item(item, paid_prices) for item in found["items"]["data"]),
            trial_end=_maybe(found["trial_end"]),
            cancel_at=_maybe(found["cancel_at"]),
            cancel_at_period_end=found["cancel_at_period_end"],
            ended_at=_maybe(found["ended_at"]),
            pause_behavior=pause.get("behavior"),
            pause_cause=cause.get("type"),
            first_failure_at=_when(_failed_at(streak[0]) if streak else min(starts)),
            is_failing_after_trial=_is_first_after_trial(streak, invoices, found["trial_end"]),
            paid_through=_maybe(max((line["period"]["end"] for line in lines), default=None)),
            disputes=self._disputes_of(invoices),
        )

    def _item(self, item: Json, paid_prices: set[str]) -> SubscriptionItem:
        key, revision = self._prices.get(item["price"]["id"], (None, None))
        return SubscriptionItem(
            item_id=item["id"],
            price_id=item["price"]["id"],
            product_id=item["price"]["product"],
            price_key=key,
            revision=revision,
            quantity=item.get("quantity"),
            period_start=_when(item["current_period_start"]),
            period_end=_when(item["current_period_end"]),
            is_paid_for=item["price"]["id"] in paid_prices,
        )

    def _disputes_of(self, invoices: list[Json]) -> tuple[Dispute, ...]:
        money = [one for one in invoices if one["status"] == "paid" and one["amount_paid"] > 0]
        # In one second the id decides: Stripe says no more about the order.
        latest = max(
            money, key=lambda one: (one["status_transitions"]["paid_at"], *_age(one)), default={"id": None}
        )
        return tuple(
            Dispute(
                dispute_id=found["id"],
                status=found["status"],
                amount_minor=found["amount"],
                is_latest_paid_invoice=invoice["id"] == latest["id"],
            )
            for invoice in invoices
            for payment in invoice["payments"]["data"]
            for found in self._books.disputes.get(payment["payment"].get("payment_intent"), ())
        )

    def _purchases(self, customer: str) -> list[Purchase]:
        return [
            self._purchase(session, line)
            for session in self._books.sessions[customer]
            for line in self._books.lines[session["id"]]
            if line["price"]["type"] == "one_time"
        ]

    def _purchase(self, session: Json, line: Json) -> Purchase:
        intent = session["payment_intent"]
        paid = [one for one in self._books.charges.get(intent, ()) if one["status"] == "succeeded"]
        key, revision = self._prices.get(line["price"]["id"], (None, None))
        return Purchase(
            purchase_id=f"{session['id']}/{line['id']}",
            object_id=session["id"],
            price_id=line["price"]["id"],
            product_id=line["price"]["product"],
            price_key=key,
            revision=revision,
            quantity=line["quantity"],
            paid_at=_when(paid[0]["created"] if paid else session["created"]),
            captured_minor=sum(one["amount_captured"] for one in paid),
            refunds=tuple(
                Refund(refund_id=one["id"], status=one["status"], amount_minor=one["amount"])
                for one in self._books.refunds.get(intent, ())
            ),
            disputes=tuple(
                Dispute(dispute_id=one["id"], status=one["status"], amount_minor=one["amount"])
                for one in self._books.disputes.get(intent, ())
            ),
        )


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


def _unpaid_run(invoices: list[Json]) -> list[Json]:
    """From the newest finalized invoice backwards while unpaid with something left; oldest first."""
    run: list[Json] = []
    for one in sorted((one for one in invoices if _finalized(one)), key=_age, reverse=True):
        if one["status"] not in {"open", "uncollectible"} or one["amount_remaining"] <= 0:
            break
        run.insert(0, one)
    return run


def _is_first_after_trial(run: list[Json], invoices: list[Json], trial_end: int | None) -> bool:
    if not run or trial_end is None or run[0]["created"] < trial_end:
        return False
    since = [one for one in invoices if _finalized(one) and one["created"] >= trial_end]
    return bool(min(since, key=_age)["id"] == run[0]["id"])


def _finalized(one: Json) -> bool:
    return one["status_transitions"]["finalized_at"] is not None and one["status"] != "void"


def _failed_at(one: Json) -> int:
    is_sent = one["collection_method"] == "send_invoice" and one["due_date"]
    moment: int = one["due_date"] if is_sent else one["status_transitions"]["finalized_at"]
    return moment


def _age(one: Json) -> tuple[int, int, str]:
    return (one["status_transitions"]["finalized_at"] or 0, one["created"], one["id"])


def _when(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _maybe(seconds: int | None) -> datetime | None:
    return None if seconds is None else _when(seconds)
