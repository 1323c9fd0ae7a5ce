"""Stripe's books read once more: from the objects that Stripe has in the end to `Facts`, for the oracle.

Written from the sentences of docs/entitlements.md in the most obvious way, without the mirror and without
anything of domain/rules or domain/flows. Scenarios and chaos fill `Books` each in their own way and ask
here; whoever changes what is read from Stripe changes it here too, from the sentence.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from domain.model import Dispute, Facts, Grant, Purchase, Refund, Subscription, SubscriptionItem

#: An object as Stripe's API shows it, with whole lists: `items` of a subscription, `lines` and `payments` of
#: an invoice.
Json = dict[str, Any]
#: Price id → the catalog's key and revision; others are not in our catalog.
Prices = Mapping[str, tuple[str, int]]


class Books:
    """Everything an account has, by what it belongs to; oldest first."""

    def __init__(self) -> None:
        #: These three by customer.
        self.subscriptions: dict[str, list[Json]] = defaultdict(list)
        self.invoices: dict[str, list[Json]] = defaultdict(list)
        #: Checkout sessions.
        self.sessions: dict[str, list[Json]] = defaultdict(list)
        #: What a checkout session sells.
        self.lines: dict[str, list[Json]] = {}
        #: These three by payment intent.
        self.charges: dict[str, list[Json]] = defaultdict(list)
        self.refunds: dict[str, list[Json]] = defaultdict(list)
        self.disputes: dict[str, list[Json]] = defaultdict(list)
        #: When a payment intent's money came; of a method that takes days, later than its charge began.
        self.paid_at: dict[str, int] = {}

    def facts(self, customers: Iterable[str], prices: Prices, grants: Iterable[Grant] = ()) -> Facts:
        """What a user with these customers has."""
        wanted = list(customers)
        return Facts(
            subscriptions=tuple(
                self._subscription(one, prices) for customer in wanted for one in self.subscriptions[customer]
            ),
            purchases=tuple(one for customer in wanted for one in self._purchases(customer, prices)),
            grants=tuple(grants),
        )

    # ── subscriptions ──

    def _subscription(self, found: Json, prices: Prices) -> Subscription:
        invoices = [one for one in self.invoices[found["customer"]] if _subscription_of(one) == found["id"]]
        lines = [line for one in invoices if one["status"] == "paid" for line in one["lines"]["data"]]
        paid_prices = {line["pricing"]["price_details"]["price"] for line in lines if line["pricing"]}
        unpaid = _unpaid_run(invoices)
        paused = ((found.get("status_details") or {}).get("paused") or {}).get("subscription") or {}
        return Subscription(
            subscription_id=found["id"],
            status=found["status"],
            created_at=_when(found["created"]),
            items=tuple(_item(item, prices, paid_prices) for item in found["items"]["data"]),
            trial_end=_maybe(found["trial_end"]),
            cancel_at=_maybe(found["cancel_at"]),
            cancel_at_period_end=found["cancel_at_period_end"],
            ended_at=_maybe(found["ended_at"]),
            pause_behavior=(found["pause_collection"] or {}).get("behavior"),
            pause_cause=paused.get("type"),
            first_failure_at=_failed_at(unpaid[0]) if unpaid else None,
            is_failing_after_trial=_is_first_after_trial(unpaid, invoices, found["trial_end"]),
            paid_through=_maybe(max((line["period"]["end"] for line in lines), default=None)),
            disputes=tuple(self._disputes_of(invoices)),
        )

    def _disputes_of(self, invoices: list[Json]) -> Iterator[Dispute]:
        """Through invoice payments; only the latest invoice that was paid an amount counts."""
        money = [one for one in invoices if one["status"] == "paid" and one["amount_paid"] > 0]
        # In one second the id decides: Stripe says no more about the order.
        latest = max(
            money, key=lambda one: (one["status_transitions"]["paid_at"], *_age(one)), default={"id": None}
        )
        for invoice in invoices:
            for payment in invoice["payments"]["data"]:
                for found in self.disputes.get(payment["payment"].get("payment_intent"), ()):
                    yield _dispute(found, is_latest=invoice["id"] == latest["id"])

    # ── purchases ──

    def _purchases(self, customer: str, prices: Prices) -> Iterator[Purchase]:
        for session in self.sessions[customer]:
            is_paid = session["payment_status"] in {"paid", "no_payment_required"}
            if is_paid and session["status"] == "complete":
                yield from self._bought_in(session, prices)
        for invoice in self.invoices[customer]:
            if invoice["status"] == "paid" and invoice["parent"] is None:
                yield from self._bought_by(invoice, prices)

    def _bought_in(self, session: Json, prices: Prices) -> Iterator[Purchase]:
        """One-time prices of a session; in a subscription's session its first invoice has them paid."""
        intent = session["payment_intent"] or self._intent_of(session["customer"], session["invoice"])
        paid_at: int = self.paid_at.get(intent or "") or session["created"]
        for line in self.lines[session["id"]]:
            if line["price"]["type"] == "one_time":
                price = {"price": line["price"]["id"], "product": line["price"]["product"]}
                yield self._purchase(session["id"], line, price, paid_at, intent, prices)

    def _bought_by(self, invoice: Json, prices: Prices) -> Iterator[Purchase]:
        """A paid invoice without a subscription; paid outside of Stripe too."""
        paid_at = invoice["status_transitions"]["paid_at"]
        intent = self._intent_of(invoice["customer"], invoice["id"])
        for line in invoice["lines"]["data"]:
            price = line["pricing"]["price_details"]
            yield self._purchase(invoice["id"], line, price, paid_at, intent, prices)

    def _purchase(
        self, object_id: str, line: Json, price: Json, paid_at: int, intent: str | None, prices: Prices
    ) -> Purchase:
        charges = [one for one in self.charges.get(intent or "", ()) if one["status"] == "succeeded"]
        key, revision = prices.get(price["price"], (None, None))
        return Purchase(
            purchase_id=f"{object_id}/{line['id']}",
            object_id=object_id,
            price_id=price["price"],
            product_id=price["product"],
            price_key=key,
            revision=revision,
            quantity=line["quantity"],
            paid_at=_when(paid_at),
            captured_minor=sum(one["amount_captured"] for one in charges),
            refunds=tuple(
                Refund(refund_id=one["id"], status=one["status"], amount_minor=one["amount"])
                for one in self.refunds.get(intent or "", ())
            ),
            disputes=tuple(_dispute(one) for one in self.disputes.get(intent or "", ())),
        )

    def _intent_of(self, customer: str, invoice_id: str | None) -> str | None:
        payments = [
            payment["payment"].get("payment_intent")
            for invoice in self.invoices[customer]
            if invoice["id"] == invoice_id
            for payment in invoice["payments"]["data"]
            if payment["status"] == "paid"
        ]
        return payments[0] if payments else None


def _item(item: Json, prices: Prices, paid_prices: set[str]) -> SubscriptionItem:
    key, revision = prices.get(item["price"]["id"], (None, None))
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


def _dispute(found: Json, *, is_latest: bool = True) -> Dispute:
    return Dispute(
        dispute_id=found["id"],
        status=found["status"],
        amount_minor=found["amount"],
        is_latest_paid_invoice=is_latest,
    )


def _subscription_of(invoice: Json) -> str | None:
    details = (invoice["parent"] or {}).get("subscription_details") or {}
    found: str | None = details.get("subscription")
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


def _failed_at(one: Json) -> datetime:
    is_sent = one["collection_method"] == "send_invoice" and one["due_date"]
    return _when(one["due_date"] if is_sent else one["status_transitions"]["finalized_at"])


def _age(one: Json) -> tuple[int, int, str]:
    return (one["status_transitions"]["finalized_at"] or 0, one["created"], one["id"])


def _when(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _maybe(seconds: int | None) -> datetime | None:
    return None if seconds is None else _when(seconds)
