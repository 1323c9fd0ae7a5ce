"""Facts from the simulator's own books: what Stripe knows in the end, told without events, reads or a mirror.

Written from the sentences of docs/entitlements.md in the most obvious way; it shares nothing with
domain/rules/shapes, domain/store or domain/flows.
"""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

from deploy.local.stripe_simulator.store import Account, Json
from domain.model import Dispute, Facts, Purchase, Refund, Subscription, SubscriptionItem


class Books:
    """One account's rows, asked about the customers of one user."""

    def __init__(self, account: Account, project: str, customers: Collection[str]) -> None:
        self.account = account
        self.project = project
        self.customers = customers

    def facts(self) -> Facts:
        return Facts(
            subscriptions=tuple(self.subscription(row) for row in self.of_ours("subscription")),
            purchases=(*self.bought_in_sessions(), *self.bought_by_invoice()),
        )

    # ── subscriptions ──

    def subscription(self, row: Json) -> Subscription:
        invoices = self.rows("invoice", parent_subscription=row["id"])
        paid = [invoice for invoice in invoices if invoice["status"] == "paid"]
        paid_lines = [line for invoice in paid for line in self.lines(invoice)]
        paid_prices = {line["pricing"]["price_details"]["price"] for line in paid_lines}
        streak = failing_run(invoices)
        paused = row["status_details"] or {}
        return Subscription(
            subscription_id=row["id"],
            status=row["status"],
            created_at=instant(row["created"]),
            items=tuple(
                self.item(item, paid_prices)
                for item in self.rows("subscription_item", subscription=row["id"])
            ),
            trial_end=maybe(row["trial_end"]),
            cancel_at=maybe(row["cancel_at"]),
            cancel_at_period_end=row["cancel_at_period_end"],
            ended_at=maybe(row["ended_at"]),
            pause_behavior=(row["pause_collection"] or {}).get("behavior"),
            pause_cause=paused["paused"]["subscription"]["type"] if paused else None,
            first_failure_at=failed_at(streak[0]) if streak else None,
            is_failing_after_trial=bool(streak) and is_first_after_trial(streak[0], invoices, row),
            paid_through=max((instant(line["period"]["end"]) for line in paid_lines), default=None),
            disputes=tuple(self.disputes_of_invoices(paid, invoices)),
        )

    def item(self, row: Json, paid_prices: set[str]) -> SubscriptionItem:
        return SubscriptionItem(
            item_id=row["id"],
            quantity=row["quantity"],
            period_start=instant(row["current_period_start"]),
            period_end=instant(row["current_period_end"]),
            is_paid_for=row["price"] in paid_prices,
            **self.priced(row["price"]),
        )

    def disputes_of_invoices(self, paid: list[Json], invoices: list[Json]) -> Iterator[Dispute]:
        """Through invoice payments; only the latest invoice that was paid an amount counts."""
        with_amount = [invoice for invoice in paid if invoice["amount_paid"] > 0]
        latest = max(with_amount, key=lambda one: one["status_transitions"]["paid_at"], default={"id": None})
        for invoice in invoices:
            for payment in self.rows("invoice_payment", invoice=invoice["id"]):
                intent = payment["payment"].get("payment_intent")
                for row in self.rows("dispute", payment_intent=intent) if intent else []:
                    yield dispute(row, is_latest=invoice["id"] == latest["id"])

    # ── purchases ──

    def bought_in_sessions(self) -> Iterator[Purchase]:
        for session in self.of_ours("checkout.session"):
            if session["payment_status"] not in {"paid", "no_payment_required"}:
                continue
            if session["status"] != "complete":
                continue
            draft = self.account.load("checkout_draft", session["id"])
            for item_id in draft["line_items"]:
                item = self.account.load("item", item_id)
                if self.account.load("price", item["price"])["recurring"] is None:
                    intent = draft["payment_intent"] or self.intent_of(session["invoice"])
                    paid_at = self.succeeded_at(intent) or session["created"]
                    yield self.purchase(session, item, item["price"], paid_at, intent)

    def bought_by_invoice(self) -> Iterator[Purchase]:
        """Paid invoices without a subscription; paid outside of Stripe too."""
        for invoice in self.of_ours("invoice"):
            if invoice["status"] == "paid" and invoice["parent"] is None:
                paid_at = invoice["status_transitions"]["paid_at"]
                intent = self.intent_of(invoice["id"])
                for line in self.lines(invoice):
                    price = line["pricing"]["price_details"]["price"]
                    yield self.purchase(invoice, line, price, paid_at, intent)

    def purchase(self, made: Json, line: Json, price: str, paid_at: int, intent: str | None) -> Purchase:
        charges = [
            row
            for row in (self.rows("charge", payment_intent=intent) if intent else [])
            if row["status"] == "succeeded"
        ]
        return Purchase(
            purchase_id=f"{made['id']}/{line['id']}",
            object_id=made["id"],
            quantity=line["quantity"],
            paid_at=instant(paid_at),
            captured_minor=sum(charge["amount_captured"] for charge in charges),
            refunds=tuple(
                Refund(refund_id=row["id"], status=row["status"], amount_minor=row["amount"])
                for row in (self.rows("refund", payment_intent=intent) if intent else [])
            ),
            disputes=tuple(
                dispute(row) for row in (self.rows("dispute", payment_intent=intent) if intent else [])
            ),
            **self.priced(price),
        )

    def intent_of(self, invoice_id: str | None) -> str | None:
        payments = self.rows("invoice_payment", invoice=invoice_id) if invoice_id else []
        paid = [row for row in payments if row["status"] == "paid"]
        return paid[0]["payment"].get("payment_intent") if paid else None

    def succeeded_at(self, intent: str | None) -> int | None:
        """When the money came: Stripe told it by an event, also of a method that took days."""
        told = [
            event["created"]
            for event in self.account.rows["event"].values()
            if event["type"] == "payment_intent.succeeded" and event["data"]["object"]["id"] == intent
        ]
        return told[0] if told else None

    # ── rows ──

    def priced(self, price_id: str) -> dict[str, Any]:
        """What names the price; the seed's lookup keys are `{project}:{plan}:{price}`."""
        price = self.account.load("price", price_id)
        project, _, name = (price["lookup_key"] or "").partition(":")
        is_known = project == self.project
        return {
            "price_id": price_id,
            "product_id": price["product"],
            "price_key": name.rpartition(":")[2] if is_known else None,
            "revision": 1 if is_known else None,
        }

    def lines(self, invoice: Json) -> list[Json]:
        return self.rows("line_item", invoice=invoice["id"])

    def of_ours(self, kind: str) -> list[Json]:
        return [row for row in self.rows(kind) if row["customer"] in self.customers]

    def rows(self, kind: str, **fields: str) -> list[Json]:
        """Oldest first."""
        parent = fields.pop("parent_subscription", None)
        return [
            row
            for row in self.account.rows.get(kind, {}).values()
            if all(row[name] == value for name, value in fields.items())
            and (parent is None or parent == subscription_of(row))
        ]


def subscription_of(invoice: Json) -> str | None:
    details = (invoice["parent"] or {}).get("subscription_details") or {}
    found: str | None = details.get("subscription")
    return found


def failing_run(invoices: list[Json]) -> list[Json]:
    """From the newest finalized invoice backwards while unpaid, oldest first; a void one asks for nothing."""
    run: list[Json] = []
    for invoice in reversed(invoices):
        if invoice["status"] in {"draft", "void"}:
            continue
        if invoice["status"] == "paid" or invoice["amount_remaining"] <= 0:
            break
        run.insert(0, invoice)
    return run


def failed_at(invoice: Json) -> datetime:
    is_sent = invoice["collection_method"] == "send_invoice"
    return instant(invoice["due_date"] if is_sent else invoice["status_transitions"]["finalized_at"])


def is_first_after_trial(oldest: Json, invoices: list[Json], row: Json) -> bool:
    if row["trial_end"] is None:
        return False
    since = [
        one["id"]
        for one in invoices
        if one["created"] >= row["trial_end"] and one["status"] not in {"draft", "void"}
    ]
    return since[:1] == [oldest["id"]]


def dispute(row: Json, *, is_latest: bool = True) -> Dispute:
    return Dispute(
        dispute_id=row["id"],
        status=row["status"],
        amount_minor=row["amount"],
        is_latest_paid_invoice=is_latest,
    )


def instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def maybe(seconds: int | None) -> datetime | None:
    return None if seconds is None else instant(seconds)
