"""MRR: what became of two users between the ends of each month, and what a coupon takes off."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from domain.flows.figures import FiguresWish
from domain.flows.measure_subscriptions import SubscriptionRow, measure_subscriptions
from domain.flows.sync import Syncer
from domain.store.session import Connection
from tests.flows.event_path import EventPath


class Calendar:
    """The same deployment on chosen days."""

    def __init__(self, path: EventPath) -> None:
        self.path = path
        self.at = datetime.now(UTC)
        self.context = msgspec.structs.replace(path.context, now=self._now)
        path.syncer = Syncer(self.context)

    async def _now(self, _connection: Connection) -> datetime:
        return self.at

    async def sync(self, day: str, customer: str) -> None:
        self.at = datetime.fromisoformat(f"{day}T12:00:00+00:00")
        await self.path.mark("customer_all", customer)
        await self.path.drain()

    async def months(self, **wish: Any) -> list[SubscriptionRow]:
        asked = FiguresWish(
            since=datetime(2027, 1, 1, tzinfo=UTC).date(),
            until=datetime(2027, 7, 1, tzinfo=UTC).date(),
            **wish,
        )
        return (await measure_subscriptions(self.context, "acme", asked)).data


async def set_quantity(path: EventPath, quantity: int) -> None:
    item = next(iter(path.stripe.account.rows["subscription_item"].values()))
    params = {"quantity": quantity, "proration_behavior": "none"}
    await path.create(f"/v1/subscription_items/{item['id']}", params)


async def test_each_month_names_what_became_of_every_user(path: EventPath) -> None:
    calendar = Calendar(path)
    payer, trier = await path.make_customer("u_payer"), await path.make_customer("u_trier")
    await path.buy(payer, "pro", "month", 2)
    first = next(iter(path.stripe.account.rows["subscription"]))
    await calendar.sync("2027-01-10", payer)
    await set_quantity(path, 5)
    await calendar.sync("2027-02-10", payer)
    await set_quantity(path, 1)
    await calendar.sync("2027-03-10", payer)
    await path.delete(f"/v1/subscriptions/{first}")
    await calendar.sync("2027-04-10", payer)
    await path.buy(payer, "pro", "year", 1)
    await path.buy(trier, "team", "month")
    tried = path.stripe.account.where("subscription", "customer", trier)[0]["id"]
    await path.stripe.change_subscription(tried, status="trialing", trial_end=2_000_000_000)
    await calendar.sync("2027-05-10", payer)
    await calendar.sync("2027-05-11", trier)
    await path.stripe.change_subscription(tried, status="active")
    await calendar.sync("2027-06-10", trier)
    await calendar.sync("2027-06-20", payer)
    months = await calendar.months()
    said = [
        {name: (moved.users, moved.mrr) for name, moved in month.movements.items() if moved.users}
        for month in months
    ]
    assert said == [
        {"new": (1, 3800)},
        {"upgraded": (1, 5700)},
        {"downgraded": (1, -7600)},
        {"churned": (1, -1900)},
        {"reactivated": (1, 1583)},
        {"new": (1, 4900)},
    ]
    assert [month.mrr for month in months] == [3800, 9500, 1900, 0, 1583, 6483]
    assert [month.trial.mrr for month in months] == [0, 0, 0, 0, 4900, 0]
    assert [(month.trials_ended, month.trials_converted) for month in months[4:]] == [(0, 0), (1, 1)]
    assert [month.subscriptions for month in months] == [1, 1, 1, 0, 1, 2]
    assert months[5].apps == {"editor": 4048, "viewer": 2435}
    (viewer,) = [month for month in await calendar.months(app="viewer") if month.since.month == 6]
    assert (viewer.mrr, viewer.movements["new"].mrr) == (2435, 1960)
    days = await calendar.months(interval="week")
    assert sum(week.movements["upgraded"].users for week in days) == 1


async def test_a_failed_payment_is_flagged_while_its_grace_is_open_and_then_counts_no_longer(
    path: EventPath,
) -> None:
    customer = await path.make_customer()
    await path.buy(customer, "pro", "month")
    calendar = Calendar(path)
    await calendar.sync(f"{datetime.now(UTC):%Y-%m-%d}", customer)
    found = next(iter(path.stripe.account.rows["subscription"]))
    await path.stripe.change_subscription(found, status="past_due")
    await calendar.sync(f"{datetime.now(UTC):%Y-%m-%d}", customer)
    (row,) = (await measure_subscriptions(path.context, "acme", FiguresWish())).data
    assert (row.mrr, row.grace.mrr, row.grace.subscriptions) == (1900, 1900, 1)
    await calendar.sync("2027-03-10", customer)
    june = (await calendar.months())[-1]
    assert (june.mrr, june.grace.mrr) == (0, 0)
