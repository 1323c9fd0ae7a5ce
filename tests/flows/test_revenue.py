"""Money figures against an independent sum over the simulator's books."""

import os
from collections import defaultdict
from datetime import date
from fractions import Fraction
from math import floor

import pytest

from domain.flows.figures import FiguresWish
from domain.flows.measure_revenue import Revenue, list_revenue_entries, measure_revenue
from domain.flows.measure_subscriptions import measure_subscriptions
from domain.store.revenue import ListedEntry
from tests.flows.event_path import EventPath
from tests.flows.money_histories import Histories, sum_apps, sum_books, sum_recurring

#: Histories of one seed: enough to have every kind.
COUNT = 40
#: `7`, or `1-25` as in `make prove`: each seed has a database of its own, and can be run again by itself.
FIRST, _, LAST = os.environ.get("MONEY_SEEDS", "1").partition("-")
SEEDS = range(int(FIRST), int(LAST or FIRST) + 1)
WHOLE = FiguresWish(since=date(2026, 7, 1), until=date(2027, 1, 1))
FIGURES = ("gross", "tax", "refunded", "disputed")


@pytest.mark.parametrize("seed", SEEDS)
async def test_figures_are_what_the_books_say_to_the_minor_unit(path: EventPath, seed: int) -> None:
    histories = Histories(path, seed=seed)
    await histories.sell_everywhere()
    customers = [await histories.live(f"u_{number}") for number in range(COUNT)]
    await histories.read_all(customers)
    found = await measure_revenue(path.context, "acme", WHOLE)
    assert_months(found, path)
    assert_apps_add_up(found)
    assert_apps_have_their_weights(found, path)
    entries = await all_entries(path)
    assert_entries_add_up(found, entries)
    await assert_recurring(path)
    await histories.read_all(customers)
    assert await measure_revenue(path.context, "acme", WHOLE) == found


async def assert_recurring(path: EventPath) -> None:
    """What subscriptions come to a month, by currency; the sum is rounded, never its parts."""
    figures = await measure_subscriptions(path.context, "acme", FiguresWish())
    assert figures.data
    paying, trial = (sum_recurring(path.stripe.account, status) for status in ("active", "trialing"))
    for row in figures.data:
        assert row.mrr == floor(paying[row.currency] + Fraction(1, 2))
        assert row.trial.mrr == floor(trial[row.currency] + Fraction(1, 2))
        assert sum(row.apps.values()) == sum(plan.mrr for plan in row.plans.values()) == row.mrr
        assert row.movements["new"].mrr == row.mrr
    live = [one for one in path.stripe.account.rows["subscription"].values() if one["status"] == "active"]
    assert sum(row.subscriptions for row in figures.data) >= len(live) > 0


def assert_months(found: Revenue, path: EventPath) -> None:
    """Every month and currency, on the days of the project's own zone."""
    books = sum_books(path.stripe.account, "Europe/Berlin")
    said = {
        (f"{row.since:%Y-%m}", row.currency): {name: getattr(row.total, name) for name in FIGURES}
        for row in found.data
    }
    assert {place: sums for place, sums in said.items() if any(sums.values())} == {
        place: {name: sums[name] for name in FIGURES} for place, sums in books.items() if any(sums.values())
    }
    assert {row.currency for row in found.data} == {"usd", "jpy", "kwd"}
    assert all(sum(sums[name] for sums in books.values()) for name in FIGURES)


def assert_apps_add_up(found: Revenue) -> None:
    for row in found.data:
        for name in (*FIGURES, "refunded_tax", "disputed_tax", "net"):
            assert sum(getattr(sums, name) for sums in row.apps.values()) == getattr(row.total, name)


def assert_apps_have_their_weights(found: Revenue, path: EventPath) -> None:
    """Each payment is rounded once, by less than a unit."""
    gross: dict[tuple[str, str], int] = defaultdict(int)
    for row in found.data:
        for app, sums in row.apps.items():
            gross[app, row.currency] += sums.gross
    exact = sum_apps(path.stripe.account)
    payments = len(path.stripe.account.rows["charge"])
    assert gross.keys() == exact.keys()
    assert all(abs(gross[place] - exact[place]) < payments for place in exact)


async def all_entries(path: EventPath) -> list[ListedEntry]:
    entries: list[ListedEntry] = []
    cursor = None
    while True:
        page = await list_revenue_entries(path.context, "acme", WHOLE, cursor=cursor, limit=7)
        entries += page.data
        cursor = page.next_cursor
        if cursor is None:
            return entries


def assert_entries_add_up(found: Revenue, entries: list[ListedEntry]) -> None:
    """What is listed is what is summed; a payment given back wholly has left nothing of any app or tax."""
    sums: dict[tuple[str, str], int] = defaultdict(int)
    left: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    apps_left: dict[tuple[str, str | None], int] = defaultdict(int)
    for entry in entries:
        sign = 1 if entry.kind == "payment" else -1
        sums[entry.kind.partition("_")[0], entry.currency] += entry.amount_minor
        left[entry.charge_id][0] += sign * entry.amount_minor
        left[entry.charge_id][1] += sign * entry.tax_minor
        apps_left[entry.charge_id, entry.app] += sign * entry.amount_minor
    for currency, total in found.totals.items():
        assert sums["payment", currency] == total.gross
        assert sums["refund", currency] == total.refunded
        assert sums["dispute", currency] == total.disputed
    gone = {charge for charge, (amount, _) in left.items() if amount == 0}
    assert gone
    assert all(left[charge] == [0, 0] for charge in gone)
    assert all(amount == 0 for (charge, _), amount in apps_left.items() if charge in gone)
