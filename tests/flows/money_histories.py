"""Random histories of money in the simulator, and an independent sum over its books.

The sum reads the simulator's own rows and says what docs/metrics.md says in the most obvious way, without the
mirror and without anything of domain/rules or domain/flows.
"""

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from deploy.local.stripe_simulator.store import Account
from tests.flows.event_path import EventPath

Json = dict[str, Any]
#: Currency → a monthly amount of the plan `pro` and of `extra_projects`; none, two and three decimals.
OWN_PRICES = {"jpy": (1901, 333), "kwd": (7777, 1234)}
#: Coupons by name; of an amount one per currency.
COUPONS: dict[str, Json] = {
    "for_ever": {"percent_off": 12.5, "duration": "forever"},
    "some_months": {"percent_off": 33.33, "duration": "repeating", "duration_in_months": 3},
    "once": {"percent_off": 50, "duration": "once"},
    "free": {"percent_off": 100, "duration": "forever"},
    "of_pro": {"percent_off": 20, "duration": "forever", "applies_to": {"products": ["acme_pro"]}},
    "usd": {"amount_off": 701, "currency": "usd", "duration": "forever"},
    "jpy": {"amount_off": 400, "currency": "jpy", "duration": "forever"},
    "kwd": {"amount_off": 2345, "currency": "kwd", "duration": "repeating", "duration_in_months": 2},
}
WEIGHTS = {
    "acme_pro": {"editor": 70, "viewer": 30},
    "acme_team": {"editor": 60, "viewer": 40},
    "acme_extra_projects": {"editor": 100},
    "acme_pass": {"editor": 50, "viewer": 50},
}
MONTHLY = {"month": Fraction(1), "year": Fraction(1, 12), "week": Fraction(52, 12), "day": Fraction(365, 12)}
BEGIN = datetime(2026, 8, 1, tzinfo=UTC)


class Histories:
    """Customers with random purchases; money moves on random days of about three months."""

    def __init__(self, path: EventPath, seed: int) -> None:
        self.path = path
        self.random = random.Random(seed)  # noqa: S311 - a history to be repeated
        self.account: Account = path.stripe.account
        self.prices: dict[str, tuple[str, str]] = {}

    async def sell_everywhere(self) -> None:
        """Prices in currencies that the sample catalog does not sell in, as if made in the dashboard."""
        for currency, (pro, extra) in OWN_PRICES.items():
            made = [
                await self.path.create(
                    "/v1/prices",
                    {
                        "product": product,
                        "currency": currency,
                        "unit_amount": amount,
                        "recurring": {"interval": interval, "interval_count": count},
                    },
                )
                for product, amount, interval, count in (
                    ("acme_pro", pro, "week", 2),
                    ("acme_extra_projects", extra, "week", 2),
                )
            ]
            self.prices[currency] = (str(made[0]["id"]), str(made[1]["id"]))
        for name, terms in COUPONS.items():
            await self.path.create("/v1/coupons", {"id": name, **terms})

    async def live(self, user_id: str) -> str:
        """One user's history in the simulator; answers the customer."""
        customer = await self.path.make_customer(user_id)
        for _ in range(self.random.randint(1, 2)):
            await self._buy(customer)
        await self._change(customer)
        self._tax(customer)
        for charge in self._charges(customer):
            await self._take_back(charge)
        self._spread(customer)
        return customer

    async def read_all(self, customers: list[str]) -> None:
        for customer in customers:
            await self.path.mark("customer_all", customer)
        await self.path.drain()

    async def _buy(self, customer: str) -> None:
        plan, price = self.random.choice(
            [("pro", "month"), ("pro", "year"), ("team", "month"), ("pass", "once"), ("own", "")]
        )
        if plan != "own":
            quantity = self.random.randint(1, 4)
            await self._pay(
                customer,
                [{"price": f"price_acme.{plan}.{price}", "quantity": quantity}],
                "usd",
                is_one_time=price == "once",
            )
            return
        currency = self._currency(customer)
        if currency not in OWN_PRICES:
            return
        pro, extra = self.prices[currency]
        lines = [
            {"price": pro, "quantity": self.random.randint(1, 5)},
            {"price": extra, "quantity": self.random.randint(1, 7)},
        ]
        await self._pay(customer, lines, currency)

    async def _pay(
        self, customer: str, lines: list[Json], currency: str, *, is_one_time: bool = False
    ) -> None:
        """A checkout, every third with a coupon, paid."""
        params: Json = {
            "mode": "payment" if is_one_time else "subscription",
            "customer": customer,
            "line_items": lines,
            "success_url": "http://localhost:3000/ok",
        }
        if self.random.random() < 0.35:
            usable = [name for name, terms in COUPONS.items() if terms.get("currency", currency) == currency]
            params["discounts"] = [{"coupon": self.random.choice(usable)}]
        session = await self.path.create("/v1/checkout/sessions", params)
        await self.path.stripe.pay(session["id"])

    def _currency(self, customer: str) -> str:
        """A customer keeps the currency of its first invoice."""
        known: str | None = self.account.load("customer", customer)["currency"]
        return known or self.random.choice(sorted(OWN_PRICES))

    async def _change(self, customer: str) -> None:
        for found in list(self.account.where("subscription", "customer", customer)):
            what = self.random.choice(["keep", "keep", "cancel", "quantity"])
            if what == "cancel":
                await self.path.delete(f"/v1/subscriptions/{found['id']}")
            elif what == "quantity":
                item = next(iter(self.account.where("subscription_item", "subscription", found["id"])))
                await self.path.create(
                    f"/v1/subscription_items/{item['id']}",
                    {"quantity": self.random.randint(1, 9), "proration_behavior": "none"},
                )

    def _tax(self, customer: str) -> None:
        """Some invoices have tax in them, as if every price were inclusive."""
        for invoice in list(self.account.where("invoice", "customer", customer)):
            lines = self.account.where("line_item", "invoice", invoice["id"])
            if invoice["status"] != "paid" or self.random.random() < 0.4:
                continue
            for line in lines:
                tax = charged(line) * 19 // 119
                self.account.put("line_item", {**line, "taxes": [{"amount": tax}]})
            total = sum(charged(line) * 19 // 119 for line in lines)
            self.account.put("invoice", {**invoice, "total_taxes": [{"amount": total}]})

    def _charges(self, customer: str) -> list[Json]:
        found = self.account.where("charge", "customer", customer)
        return [charge for charge in found if charge["status"] == "succeeded"]

    async def _take_back(self, charge: Json) -> None:
        chance = self.random.random()
        if chance < 0.35:
            await self._refund(charge)
        elif chance < 0.6:
            amount = self.random.randint(1, charge["amount_captured"])
            made = await self.path.stripe.dispute(charge["id"], amount=amount)
            if self.random.random() < 0.6:
                await self.path.stripe.move_dispute(made["id"], self.random.choice(["won", "lost"]))

    async def _refund(self, charge: Json) -> None:
        left = charge["amount_captured"]
        while left and self.random.random() < 0.8:
            amount = left if self.random.random() < 0.4 else self.random.randint(1, left)
            made = await self.path.create("/v1/refunds", {"charge": charge["id"], "amount": amount})
            if self.random.random() < 0.25:
                await self.path.stripe.fail_refund(made["id"])
            else:
                left -= amount

    def _spread(self, customer: str) -> None:
        """Everything that moved money gets a moment of its own: paid first, then what was taken of it."""
        for charge in self._charges(customer):
            paid_at = self._later(BEGIN, days=60)
            self.account.put("charge", {**self.account.load("charge", charge["id"]), "created": paid_at})
            for payment in list(
                self.account.where("invoice_payment", "payment_intent", charge["payment_intent"])
            ):
                moved = {**payment["status_transitions"], "paid_at": paid_at}
                self.account.put("invoice_payment", {**payment, "status_transitions": moved})
            self._spread_taken(charge["id"], datetime.fromtimestamp(paid_at, UTC))

    def _spread_taken(self, charge_id: str, paid_at: datetime) -> None:
        for refund in list(self.account.where("refund", "charge", charge_id)):
            self.account.put("refund", {**refund, "created": self._later(paid_at, days=30)})
        for dispute in list(self.account.where("dispute", "charge", charge_id)):
            at, moves = paid_at, []
            for move in dispute["balance_transactions"]:
                at = datetime.fromtimestamp(self._later(at, days=20), UTC)
                moves.append({**move, "created": int(at.timestamp())})
            self.account.put("dispute", {**dispute, "balance_transactions": moves})

    def _later(self, at: datetime, *, days: int) -> int:
        return int((at + timedelta(seconds=self.random.randint(1, days * 86_400))).timestamp())


def charged(line: Json) -> int:
    """What an invoice's line comes to after its discounts."""
    taken_off: int = sum(one["amount"] for one in line["discount_amounts"])
    amount: int = line["amount"]
    return amount - taken_off


# ── the independent sum ─────────────────────────────────────────────────────────────────────────────


def sum_books(account: Account, zone: str) -> dict[tuple[str, str], dict[str, int]]:
    """(month, currency) → gross, tax, refunded, disputed; a refund's failure is seen when it is read: now."""
    sums: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))

    def add(at: int, currency: str, name: str, amount: int) -> None:
        month = datetime.fromtimestamp(at, ZoneInfo(zone)).strftime("%Y-%m")
        sums[month, currency][name] += amount

    for charge in account.rows["charge"].values():
        if charge["status"] == "succeeded":
            add(charge["created"], charge["currency"], "gross", charge["amount_captured"])
            add(charge["created"], charge["currency"], "tax", tax_of(account, charge))
    for refund in account.rows.get("refund", {}).values():
        add(refund["created"], refund["currency"], "refunded", refund["amount"])
        if refund["status"] == "failed":
            seen_at = max(refund["created"], account.now())
            add(seen_at, refund["currency"], "refunded", -refund["amount"])
    for dispute in account.rows.get("dispute", {}).values():
        for move in dispute["balance_transactions"]:
            add(move["created"], dispute["currency"], "disputed", -move["amount"])
    return sums


def tax_of(account: Account, charge: Json) -> int:
    payments = list(account.where("invoice_payment", "payment_intent", charge["payment_intent"]))
    invoices = [account.load("invoice", payment["invoice"]) for payment in payments]
    return sum(tax["amount"] for invoice in invoices for tax in invoice["total_taxes"])


def sum_apps(account: Account) -> dict[tuple[str, str], Fraction]:
    """(app, currency) → gross before rounding: payments over their lines, lines by the weights of plans."""
    sums: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    for charge in account.rows["charge"].values():
        if charge["status"] != "succeeded":
            continue
        lines = lines_of(account, charge)
        whole = sum(amount for _, amount in lines)
        for product, amount in lines:
            for app, weight in WEIGHTS[product].items():
                part = Fraction(charge["amount_captured"] * amount * weight, whole * 100)
                sums[app, charge["currency"]] += part
    return sums


def lines_of(account: Account, charge: Json) -> list[tuple[str, int]]:
    """(product, amount with tax) of what a charge paid."""
    intent = charge["payment_intent"]
    for payment in account.where("invoice_payment", "payment_intent", intent):
        return [
            (
                line["pricing"]["price_details"]["product"],
                charged(line) + sum(tax["amount"] for tax in line["taxes"]),
            )
            for line in account.where("line_item", "invoice", payment["invoice"])
        ]
    return [("acme_pass", 1)]


def sum_recurring(account: Account, status: str) -> dict[str, Fraction]:
    """Currency → what the subscriptions of a status come to a month, exactly."""
    sums: dict[str, Fraction] = defaultdict(Fraction)
    for found in account.rows.get("subscription", {}).values():
        if found["status"] == status:
            sums[found["currency"]] += monthly_of(account, found)
    return sums


def monthly_of(account: Account, subscription: Json) -> Fraction:
    """All items of a subscription have one interval here."""
    amounts: dict[str, Fraction] = defaultdict(Fraction)
    months = Fraction(1)
    for item in account.where("subscription_item", "subscription", subscription["id"]):
        price = account.load("price", item["price"])
        options = price.get("currency_options") or {}
        own = options.get(subscription["currency"], price)
        every = price["recurring"]
        months = MONTHLY[every["interval"]] / every["interval_count"]
        amounts[price["product"]] += own["unit_amount"] * item["quantity"] * months
    for discount in (account.load("discount", one) for one in subscription["discounts"]):
        coupon = account.load("coupon", discount["source"]["coupon"])
        is_over = discount["end"] is not None and discount["end"] <= account.now()
        if coupon["duration"] == "once" or is_over:
            continue
        named = (coupon["applies_to"] or {"products": list(amounts)})["products"]
        whole = sum(amounts[product] for product in named)
        if coupon["percent_off"] is not None:
            taken = whole * Fraction(str(coupon["percent_off"])) / 100
        else:
            taken = min(whole, coupon["amount_off"] * months)
        for product in named if whole else ():
            amounts[product] -= taken * amounts[product] / whole
    return sum(amounts.values(), Fraction())
