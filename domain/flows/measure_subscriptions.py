"""What a project's subscriptions come to a month (MRR), by interval, and how that moved."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from fractions import Fraction

from msgspec import Struct

from domain.context import Context
from domain.flows.figures import FiguresWish, Period, read_period
from domain.flows.measure_revenue import NO_APP
from domain.rules.recurring import rounded
from domain.rules.revenue import split
from domain.store import recurring_sums
from domain.store.recurring_sums import Movement, SumChange

__all__ = ["Moved", "SubscriptionFigures", "SubscriptionRow", "measure_subscriptions"]

#: The plan of items that the catalog does not know, in answers.
NO_PLAN = "none"
KINDS = ("new", "reactivated", "imported", "upgraded", "downgraded", "churned")

DEFINITIONS = {
    "mrr": "What subscriptions that are active or in grace come to a month at the interval's end: amount "
    "x quantity after discounts, year / 12, week x 52 / 12, day x 365 / 12; summed exactly, rounded once.",
    "grace": "The part of mrr whose payment has failed and whose grace is open.",
    "trial": "What subscriptions on trial would come to; not in mrr.",
    "not_included": "Prices by usage or in tiers; subscriptions whose collection is paused; coupons that "
    "count once; coupons of a customer instead of a subscription; taxes.",
    "movements": "Users whose mrr differs between the ends of the interval, per currency. new: 0 before and "
    "never paid; reactivated: 0 before, and has paid; imported: new, with a subscription older than the user "
    "here; churned: 0 after; upgraded, downgraded: more, less. mrr: the sum of the differences.",
    "trials_ended": "Users whose trial ended in the interval, and who are on none at its end.",
    "trials_converted": "Of these, users who did not pay at its beginning and pay at its end.",
    "apps": "By the weights of each plan when it was recorded; by largest remainder, they add up to mrr. "
    "none: of no one app.",
    "days": "Of timezone; from is included, to is not. A change belongs to the moment at which it was read "
    "from Stripe, usually seconds after it; no earlier interval changes by it.",
    "complete_from": "From then on every change is recorded.",
    "amounts": "Integer minor units of the currency as Stripe has them: usd 1900 is 19.00, jpy 1900 is 1900.",
}


class Counted(Struct, frozen=True, kw_only=True):
    subscriptions: int
    mrr: int


class Moved(Struct, frozen=True, kw_only=True):
    users: int
    #: Negative of churned and downgraded.
    mrr: int


class SubscriptionRow(Struct, frozen=True, kw_only=True, rename={"since": "from", "until": "to"}):
    since: date
    until: date
    currency: str
    #: At the end of the interval; of one that is not over: now.
    mrr: int
    #: Of that, in grace.
    grace: Counted
    trial: Counted
    #: Paying, those in grace included.
    subscriptions: int
    #: By app; they add up to mrr.
    apps: dict[str, int]
    #: By plan, paying; they add up to mrr.
    plans: dict[str, Counted]
    movements: dict[str, Moved]
    trials_ended: int
    trials_converted: int


class SubscriptionFigures(Struct, frozen=True, kw_only=True, rename={"since": "from", "until": "to"}):
    project: str
    since: date
    #: Exclusive.
    until: date
    interval: str
    timezone: str
    #: Null: all of them.
    app: str | None
    currency: str | None
    complete_from: datetime
    #: By interval, then currency; intervals that have not begun are left out.
    data: list[SubscriptionRow]
    definitions: dict[str, str]


async def measure_subscriptions(context: Context, project: str, wish: FiguresWish) -> SubscriptionFigures:
    """Sums of what users' subscriptions come to.

    Raises:
        Unknown: there is no such project or app.
        Invalid: days, a zone or an interval that cannot be.
    """
    async with context.database.snapshot() as connection:
        period = await read_period(context, connection, project, wish)
        of = (period.app, period.currency)
        held = await recurring_sums.list_held(connection, project, period.edges[1], *of)
        changes = await recurring_sums.list_changes(connection, project, period.edges, *of)
        movements = await recurring_sums.list_movements(connection, project, period.edges, *of)
    return SubscriptionFigures(
        project=project,
        since=period.days[0],
        until=period.days[-1],
        interval=wish.interval,
        timezone=period.zone,
        app=period.app,
        currency=period.currency,
        complete_from=period.complete_from,
        data=_rows(period, [*held, *changes], movements),
        definitions=DEFINITIONS,
    )


def _rows(
    period: Period, changes: Sequence[SumChange], movements: Sequence[Movement]
) -> list[SubscriptionRow]:
    rows = []
    # One that ended in the first interval is no longer held at its end.
    currencies = sorted({one.currency for one in changes} | {one.currency for one in movements})
    for number, since in enumerate(period.days[:-1]):
        if period.edges[number] > period.now:
            break
        for currency in currencies:
            held = [one for one in changes if one.number <= number and one.currency == currency]
            here = [one for one in movements if (one.number, one.currency) == (number, currency)]
            rows.append(_row(since, period.days[number + 1], currency, held, here))
    return rows


def _row(
    since: date,
    until: date,
    currency: str,
    held: Sequence[SumChange],
    movements: Sequence[Movement],
) -> SubscriptionRow:
    paid = [one for one in held if one.standing != "trial"]
    mrr = rounded(_sum(paid))
    plans = _parts(mrr, {one.plan: _sum(p for p in paid if p.plan == one.plan) for one in paid})
    return SubscriptionRow(
        since=since,
        until=until,
        currency=currency,
        mrr=mrr,
        grace=_counted(one for one in held if one.standing == "grace"),
        trial=_counted(one for one in held if one.standing == "trial"),
        subscriptions=sum(one.subscriptions for one in paid),
        apps={
            app or NO_APP: part
            for app, part in _parts(
                mrr, {one.app: _sum(p for p in paid if p.app == one.app) for one in paid}
            ).items()
        },
        plans={
            plan or NO_PLAN: Counted(
                subscriptions=sum(one.subscriptions for one in paid if one.plan == plan), mrr=part
            )
            for plan, part in plans.items()
        },
        movements={kind: _moved(one for one in movements if one.kind == kind) for kind in KINDS},
        trials_ended=sum(one.trials_ended for one in movements),
        trials_converted=sum(one.trials_converted for one in movements),
    )


def _parts(whole: int, sums: dict[str, Fraction]) -> dict[str, int]:
    """`whole`, the rounded sum of these, in parts that add up to it; those that are nothing are left out."""
    exact = sum(sums.values(), Fraction())
    shares = {name: part / exact for name, part in sums.items() if part} if exact > 0 else {}
    return split(whole, shares) if shares else {}


def _counted(found: Iterable[SumChange]) -> Counted:
    held = list(found)
    return Counted(subscriptions=sum(one.subscriptions for one in held), mrr=rounded(_sum(held)))


def _moved(found: Iterable[Movement]) -> Moved:
    moved = list(found)
    return Moved(
        users=sum(one.users for one in moved),
        mrr=rounded(sum((one.monthly for one in moved), Fraction())),
    )


def _sum(found: Iterable[SumChange]) -> Fraction:
    return sum((one.monthly for one in found), Fraction())
