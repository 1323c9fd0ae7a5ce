"""Customers who live: they subscribe, switch, fail to pay, cancel, buy, are refunded and dispute.

The seed decides what everybody does and in which order; nothing here looks at what Tollhouse makes of it.
"""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from domain.context import Context
from domain.errors import TollhouseError
from domain.flows.grant import GrantWish, Operator, grant
from domain.flows.link import link_customer
from tests.chaos.stripe import Stripe, StripeRefused

PROJECT = "acme"
PRICES = ("price_acme.pro.month", "price_acme.pro.year", "price_acme.team.month", "price_acme.team.year")
VISA, FAILING = "pm_card_visa", "pm_card_chargeCustomerFail"
#: Customers who act at once.
AT_ONCE = 8


@dataclass(slots=True)
class Customer:
    user_id: str
    customer_id: str
    #: None: a stranger on the same Stripe account.
    ref: uuid.UUID | None
    subscription: str | None = None
    intents: list[str] = field(default_factory=list)
    disputes: list[str] = field(default_factory=list)
    refunds: list[str] = field(default_factory=list)
    is_failing: bool = False


Act = Callable[["Town", Customer], Awaitable[None]]


class Town:
    """All customers of one run. `dice` decides everything."""

    def __init__(self, stripe: Stripe, context: Context, seed: int) -> None:
        self.stripe = stripe
        self.context = context
        self.dice = random.Random(seed)  # noqa: S311 - repeatable chaos
        self.customers: list[Customer] = []
        self.refused = 0
        self.acts = 0

    async def settle(
        self, number: int, *, strangers: int = 0, unlinked: float = 0.1, prefix: str = "u"
    ) -> None:
        """Users with a Stripe customer each; of a part the link was lost in a crash of the API."""
        names = [f"{prefix}_{index}" for index in range(number)]
        for start in range(0, number, AT_ONCE):
            await asyncio.gather(
                *(
                    self._move_in(name, self.dice.random() >= unlinked)
                    for name in names[start : start + AT_ONCE]
                )
            )
        for index in range(strangers):
            made = await self.stripe.post("/v1/customers", description=f"stranger {index}")
            await self.stripe.control(f"customers/{made['id']}/card", card=VISA)
            self.customers.append(Customer(f"stranger_{index}", made["id"], None))

    async def live(
        self, *, until_events: int, pause_s: float = 0.0, is_over: Callable[[], bool] = lambda: True
    ) -> None:
        """Act until Stripe has made so many events, and `is_over` says so too."""
        while await self.count_events() < until_events or not is_over():
            chosen = self.dice.sample(self.customers, min(4 * AT_ONCE, len(self.customers)))
            deeds = [(one, self.dice.choice(ACTS)) for one in chosen]
            for start in range(0, len(deeds), AT_ONCE):
                await asyncio.gather(*(self.do(act, one) for one, act in deeds[start : start + AT_ONCE]))
                if pause_s:
                    await asyncio.sleep(pause_s)

    async def count_events(self) -> int:
        accounts = (await self.stripe.see("state"))["accounts"]
        return sum(rows.get("event", 0) for rows in accounts.values())

    @property
    def user_ids(self) -> list[str]:
        return [one.user_id for one in self.customers if one.ref is not None]

    async def do(self, act: Act, one: Customer) -> None:
        """One deed, if Stripe lets it."""
        self.acts += 1
        try:
            await act(self, one)
        except (StripeRefused, TollhouseError):
            # Not everything can be done to everybody, such as a new card to what was canceled; and a grant
            # cannot be given while Postgres is away.
            self.refused += 1

    async def _move_in(self, user_id: str, is_linked: bool) -> None:  # noqa: FBT001 - one caller
        ref = uuid.uuid4()
        async with self.context.database.transaction() as connection:
            user_key = await connection.fetchval(
                "INSERT INTO users (project, user_id) VALUES ($1, $2) RETURNING user_key", PROJECT, user_id
            )
            await connection.execute(
                "INSERT INTO stripe_customers (ref, project, user_key, is_primary) VALUES ($1, $2, $3, true)",
                ref,
                PROJECT,
                user_key,
            )
        made = await self.stripe.post("/v1/customers", metadata={"tollhouse_ref": str(ref)})
        if is_linked:
            async with self.context.database.transaction() as connection:
                await link_customer(connection, made["id"], ref, read_all=False)
        await self.stripe.control(f"customers/{made['id']}/card", card=VISA)
        self.customers.append(Customer(user_id, made["id"], ref))


# ── what a customer may do ──


async def subscribe(town: Town, one: Customer) -> None:
    if one.subscription is not None:
        await change(town, one)
        return
    terms: dict[str, Any] = {"trial_period_days": 14} if town.dice.random() < 0.2 else {}
    price = town.dice.choice(PRICES)
    quantity = town.dice.randint(1, 5)
    made = await town.stripe.post(
        "/v1/subscriptions", customer=one.customer_id, items=[{"price": price, "quantity": quantity}], **terms
    )
    one.subscription = made["id"]


async def change(town: Town, one: Customer) -> None:
    """Another plan or quantity; now and then with money at once."""
    if one.subscription is None:
        await subscribe(town, one)
        return
    found = await town.stripe.get(f"/v1/subscriptions/{one.subscription}")
    item = found["items"]["data"][0]["id"]
    await town.stripe.post(
        f"/v1/subscriptions/{one.subscription}",
        items=[{"id": item, "price": town.dice.choice(PRICES), "quantity": town.dice.randint(1, 9)}],
        proration_behavior=town.dice.choice(("none", "create_prorations", "always_invoice")),
    )


async def cancel_later(town: Town, one: Customer) -> None:
    if one.subscription is not None:
        wanted = town.dice.random() < 0.6
        await town.stripe.post(f"/v1/subscriptions/{one.subscription}", cancel_at_period_end=wanted)


async def cancel_now(town: Town, one: Customer) -> None:
    if one.subscription is not None and town.dice.random() < 0.5:
        await town.stripe.delete(f"/v1/subscriptions/{one.subscription}")
        one.subscription = None


async def pause(town: Town, one: Customer) -> None:
    if one.subscription is not None:
        behavior = town.dice.choice(("", "keep_as_draft", "mark_uncollectible", "void"))
        await town.stripe.post(
            f"/v1/subscriptions/{one.subscription}",
            pause_collection={"behavior": behavior} if behavior else "",
        )


async def fail_or_recover(town: Town, one: Customer) -> None:
    """A card that fails and a bill at once; or a card that works, and the open bills paid."""
    if one.subscription is None:
        return
    one.is_failing = not one.is_failing
    card = FAILING if one.is_failing else VISA
    await town.stripe.control(f"customers/{one.customer_id}/card", card=card)
    if one.is_failing:
        await change(town, one)
        return
    for invoice in await town.stripe.list_all("/v1/invoices", customer=one.customer_id, status="open"):
        await town.stripe.post(f"/v1/invoices/{invoice['id']}/pay")


async def buy_pass(town: Town, one: Customer) -> None:
    session = await town.stripe.post(
        "/v1/checkout/sessions",
        mode="payment",
        customer=one.customer_id,
        line_items=[{"price": "price_acme.pass.once", "quantity": 1}],
        success_url="http://localhost:3000/ok",
    )
    await town.stripe.press(session["id"])
    paid = await town.stripe.get(f"/v1/checkout/sessions/{session['id']}")
    one.intents.append(paid["payment_intent"])


async def refund(town: Town, one: Customer) -> None:
    if one.refunds and town.dice.random() < 0.4:
        await town.stripe.control(f"refunds/{one.refunds.pop()}/fail")
        return
    if one.intents:
        amount = {"amount": 300} if town.dice.random() < 0.5 else {}
        made = await town.stripe.post("/v1/refunds", payment_intent=town.dice.choice(one.intents), **amount)
        one.refunds.append(made["id"])


async def dispute(town: Town, one: Customer) -> None:
    if one.disputes:
        status = town.dice.choice(("under_review", "won", "lost"))
        await town.stripe.control(f"disputes/{one.disputes[-1]}", status=status)
        if status != "under_review":
            one.disputes.pop()
        return
    paid = one.subscription or (one.intents[-1] if one.intents else None)
    if paid is not None and town.dice.random() < 0.5:
        status = town.dice.choice(("needs_response", "warning_needs_response"))
        made = await town.stripe.control("disputes", payment=paid, status=status)
        one.disputes.append(made["id"])


async def describe(town: Town, one: Customer) -> None:
    await town.stripe.post(f"/v1/customers/{one.customer_id}", description=f"{town.dice.random()}")


async def be_granted(town: Town, one: Customer) -> None:
    """An operator's exception, by the same flow as the admin API's."""
    if one.ref is None:
        return
    await grant(town.context, PROJECT, one.user_id, town.dice.choice(GRANTS), Operator(actor="chaos"))


GRANTS = (
    GrantWish(effect="add", target_kind="feature", target="seats", value=3, reason="chaos"),
    GrantWish(effect="override", target_kind="feature", target="seats", value=40, reason="chaos"),
    GrantWish(effect="allow", target_kind="feature", target="sso", reason="chaos"),
    GrantWish(effect="deny", target_kind="feature", target="export", reason="chaos"),
)


ACTS: tuple[Act, ...] = (
    *(subscribe, subscribe, change, change, change, cancel_later, cancel_now, pause),
    *(fail_or_recover, fail_or_recover, buy_pass, refund, dispute, describe, be_granted),
)
