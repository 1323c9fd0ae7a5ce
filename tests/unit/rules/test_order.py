"""What may be bought in one checkout."""

from collections.abc import Sequence

import msgspec
import pytest

from domain.errors import Invalid
from domain.rules.catalog import Catalog, Plan, Price
from domain.rules.order import Item, judge_order, refuse_groups_together
from tests.seeds import make_catalog


def catalog() -> Catalog:
    """`make_catalog` with a second plan of the group, an add-on, and a plan sold in euros only."""
    base = make_catalog()
    month = Price(key="month", interval="month", currency="usd", amounts={"usd": 500})
    year = Price(key="year", interval="year", currency="usd", amounts={"usd": 5000})
    more = {
        "team": Plan(
            key="team", name="Team", group="main", product_id="t", prices={"month": month, "year": year}
        ),
        "extra": Plan(
            key="extra", name="Extra", kind="addon", trial_days=3, product_id="x", prices={"month": month}
        ),
        "docs": Plan(key="docs", name="Docs", group="docs", product_id="d", prices={"month": month}),
        "euro": Plan(
            key="euro",
            name="Euro",
            product_id="e",
            prices={"once": Price(key="once", currency="eur", amounts={"eur": 100})},
        ),
    }
    return msgspec.structs.replace(base, plans={**base.plans, **more})


def faults(*items: Item) -> Sequence[tuple[str, str]]:
    with pytest.raises(Invalid) as refused:
        judge_order(catalog(), items)
    return [(error["field"], error["detail"]) for error in refused.value.errors]


def test_a_recurring_price_makes_a_subscription_and_one_time_prices_a_payment() -> None:
    assert judge_order(catalog(), [Item("pro", "month", 5)]).mode == "subscription"
    assert judge_order(catalog(), [Item("pass", "once")]).mode == "payment"


def test_a_one_time_price_rides_along_on_a_subscription() -> None:
    assert judge_order(catalog(), [Item("pass", "once"), Item("pro", "month")]).mode == "subscription"


def test_the_currency_is_the_first_items_own_and_all_must_have_it() -> None:
    assert judge_order(catalog(), [Item("pro", "month")]).currency == "usd"
    assert judge_order(catalog(), [Item("euro", "once"), Item("pro", "month")]).currency == "eur"
    assert faults(Item("pass", "once"), Item("euro", "once")) == [
        ("items[1].price", "has no amount in usd, the first item's currency")
    ]


def test_trial_days_are_the_fewest_of_the_recurring_plans() -> None:
    assert judge_order(catalog(), [Item("pro", "month")]).trial_days == 14
    assert judge_order(catalog(), [Item("pro", "month"), Item("extra", "month")]).trial_days == 3
    assert judge_order(catalog(), [Item("pro", "month"), Item("pass", "once")]).trial_days == 14
    assert judge_order(catalog(), [Item("pass", "once")]).trial_days == 0


def test_unknown_plans_and_prices_are_named_with_the_nearest() -> None:
    assert faults(Item("por", "month"), Item("pro", "mont"), Item("zzz", "x")) == [
        ("items[0].plan", "unknown plan; did you mean pro?"),
        ("items[1].price", "unknown price of plan pro; did you mean month?"),
        ("items[2].plan", "unknown plan; known: docs, euro, extra, pass, pro, team"),
    ]


def test_a_subscription_renews_at_one_interval() -> None:
    assert faults(Item("extra", "month"), Item("team", "year"))[0][0] == "items"


def test_two_plans_of_one_group_are_refused() -> None:
    assert "one group" in faults(Item("pro", "month"), Item("team", "month"))[0][1]


def test_a_checkout_sells_recurring_plans_of_one_group() -> None:
    """A subscription that holds plans of two could not be ended for one of them."""
    alone = [Item("pro", "month"), Item("extra", "month"), Item("pass", "once")]
    refuse_groups_together(judge_order(catalog(), alone))
    with pytest.raises(Invalid) as refused:
        refuse_groups_together(judge_order(catalog(), [*alone, Item("docs", "month")]))
    assert [error["field"] for error in refused.value.errors] == ["items"]
    assert "(docs, main)" in refused.value.errors[0]["detail"]


def test_one_price_twice_is_refused() -> None:
    assert "quantity" in faults(Item("pass", "once"), Item("pass", "once", 2))[0][1]


def test_nothing_is_no_order() -> None:
    assert faults() == [("items", "name at least one item")]
