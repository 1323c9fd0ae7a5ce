"""MRR: what became of two users between the ends of each month, and what a coupon takes off."""

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from domain.flows.figures import FiguresWish
from domain.flows.measure_subscriptions import SubscriptionRow, measure_subscriptions
from domain.flows.sync import Syncer
from domain.rules.intervals import instant_of
from domain.rules.recurring import rounded
from domain.store import recurring
from domain.store.recurring import SumRow
from domain.store.session import Connection, Record
from tests.flows.event_path import EventPath

#: The zone of the sample project.
BERLIN = ZoneInfo("Europe/Berlin")


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
    # A month asked for alone is the same, its currency included where the last who paid in it has gone.
    for month in months:
        wish = FiguresWish(since=month.since, until=month.until)
        assert (await measure_subscriptions(calendar.context, "acme", wish)).data == [month]


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


async def test_movements_and_trials_are_what_both_ends_of_each_interval_say(path: EventPath) -> None:
    """Random histories of users, against a look at what held at either end: no interval is summed up."""
    chance = random.Random(7)  # noqa: S311 - a history to be repeated
    async with path.context.database.transaction() as connection:
        keys = await connection.fetch(
            "INSERT INTO users (project, user_id) SELECT 'acme', n::text FROM generate_series(1, 40) n"
            " RETURNING user_key"
        )
        for key in keys:
            at = datetime(2026, 12, 20, tzinfo=UTC)
            for _ in range(chance.randrange(7)):
                at += timedelta(days=chance.randint(1, 60))
                next_month = (at.date().replace(day=1) + timedelta(days=31)).replace(day=1)
                at = chance.choice([at, instant_of(next_month, BERLIN)])
                rows = random_rows(chance)
                oldest = at - timedelta(days=chance.choice([0, 900]))
                await recurring.replace_open(
                    connection, "acme", key["user_key"], ["usd", "eur"], rows, at, oldest
                )
        history = await connection.fetch("SELECT * FROM recurring_sums")
    calendar, seen = Calendar(path), set[str]()
    calendar.at = datetime(2027, 12, 1, tzinfo=UTC)
    for interval, app in (("month", None), ("week", None), ("month", "viewer")):
        for row in await calendar.months(interval=interval, app=app):
            mine = [one for one in history if one["currency"] == row.currency and app in {None, one["app"]}]
            expected = what_became(mine, *(instant_of(day, BERLIN) for day in (row.since, row.until)))
            said = {kind: (moved.users, moved.mrr) for kind, moved in row.movements.items() if moved.users}
            assert (row.mrr, said, row.trials_ended, row.trials_converted) == expected
            seen |= said.keys()
    assert seen == {"new", "reactivated", "imported", "upgraded", "downgraded", "churned"}


def random_rows(chance: random.Random) -> list[SumRow]:
    """What a user's subscriptions come to from some moment on: in each currency one divisor."""
    divisors = {"usd": chance.choice([1, 12, 60]), "eur": chance.choice([1, 7])}
    places = {
        (currency, app, standing)
        for currency, app in product(divisors, ("editor", "viewer"))
        for standing in chance.choices(["paying", "grace", "trial"], k=chance.randrange(3))
    }
    return [
        SumRow(
            currency=currency,
            plan="pro",
            app=app,
            standing=standing,
            monthly=chance.choice([0, 1900, 4900, 22_800]) * divisors[currency] // 12,
            divisor=divisors[currency],
            subscriptions=1,
            is_counted=app == "editor",
        )
        for currency, app, standing in sorted(places)
    ]


def what_became(
    history: list[Record], since: datetime, until: datetime
) -> tuple[int, dict[str, tuple[int, int]], int, int]:
    """The mrr, movements (users, mrr), trials ended and converted, from the sentences of docs/metrics.md."""
    whole = Fraction()
    moved: dict[str, list[Fraction]] = defaultdict(list)
    ended = converted = 0
    for user in {row["user_key"] for row in history}:
        rows = [row for row in history if row["user_key"] == user and row["begins_at"] < until]
        before, after = (
            [
                row
                for row in rows
                if row["begins_at"] < at and (row["ends_at"] is None or row["ends_at"] >= at)
            ]
            for at in (since, until)
        )
        first, last = paid_of(before), paid_of(after)
        whole += last
        has_paid = any(paid_of([row]) for row in rows if row["begins_at"] < since)
        if first != last:
            is_import = any(row["is_import"] for row in after)
            moved[named(first, last, has_paid=has_paid, is_import=is_import)].append(last - first)
        trials = [
            row for row in rows if row["standing"] == "trial" and (row in before or row["begins_at"] >= since)
        ]
        if trials and not any(row["standing"] == "trial" for row in after):
            ended += 1
            converted += not first and last > 0
    movements = {kind: (len(sums), rounded(sum(sums, Fraction()))) for kind, sums in moved.items()}
    return rounded(whole), movements, ended, converted


def paid_of(rows: list[Record]) -> Fraction:
    paid = [row for row in rows if row["standing"] != "trial"]
    return sum((Fraction(int(row["monthly"]), int(row["divisor"])) for row in paid), Fraction())


def named(first: Fraction, last: Fraction, *, has_paid: bool, is_import: bool) -> str:
    if not first:
        return "reactivated" if has_paid else "imported" if is_import else "new"
    return "churned" if not last else "upgraded" if last > first else "downgraded"
