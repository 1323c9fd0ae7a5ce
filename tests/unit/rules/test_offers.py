"""What a pricing page offers, and how each plan stands to what a user has."""

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from domain.model import Facts, Purchase, Subscription
from domain.money import PriceTerms
from domain.rules.holdings import is_running, purchased_plans, subscribed_plans
from domain.rules.offers import Held, OfferedPlan, hold, offer_features, offer_plans
from tests.unit.rules.builders import CATALOG, NOW, day, facts_of, make_item, make_purchase, make_subscription

#: What each plan of the builders' catalog is to somebody who has nothing.
NOTHING = dict.fromkeys(["boost", "extra", "founder", "pass", "pro", "team"], "available")


def held_of(facts: Facts, scheduled: tuple[str, ...] = (), terms: tuple[PriceTerms, ...] = ()) -> Held:
    return hold(
        CATALOG,
        subscribed=subscribed_plans(facts, CATALOG, NOW),
        purchased=purchased_plans(facts, CATALOG, NOW),
        scheduled=[PriceTerms(price_id="price_new", product_id=f"acme_{plan}") for plan in scheduled],
        terms=terms,
    )


def relations(held: Held) -> dict[str, object]:
    return {plan.key: plan.relation for plan in offer_plans(CATALOG, "tool", held)}


@pytest.mark.parametrize(
    ("sources", "changes"),
    [
        ([], {}),
        ([make_subscription(plan="pro")], {"pro": "current", "team": "upgrade"}),
        ([make_subscription(plan="team")], {"team": "current", "pro": "downgrade"}),
        # Whoever does not pay has the plan all the same, and another checkout would be a second one.
        ([make_subscription("past_due", plan="pro")], {"pro": "current", "team": "upgrade"}),
        ([make_subscription("paused", plan="pro")], {"pro": "current", "team": "upgrade"}),
        ([make_subscription("a_new_status", plan="pro")], {"pro": "current", "team": "upgrade"}),
        ([make_subscription(plan="pro", cancel_at=day(3))], {"pro": "current", "team": "upgrade"}),
        ([make_subscription(plan="pro", cancel_at=day(-1))], {}),
        ([make_subscription("canceled", plan="pro", ended_at=day(-1))], {}),
        ([make_subscription("incomplete", plan="pro")], {}),
        ([make_subscription("incomplete_expired", plan="pro")], {}),
        ([make_subscription(items=(make_item("pro", quantity=0),))], {}),
        ([make_subscription(items=(make_item("unknown"),))], {}),
        # An add-on has no group: it is had, and nothing is above or below it.
        ([make_subscription(plan="extra")], {"extra": "current"}),
        (
            [make_subscription(items=(make_item("pro"), make_item("extra")))],
            {"pro": "current", "extra": "current", "team": "upgrade"},
        ),
        ([make_purchase("pass", paid_at=day(-10))], {"pass": "current"}),
        ([make_purchase("pass", paid_at=day(-40))], {}),
        ([make_purchase("founder")], {"founder": "current"}),
    ],
)
def test_each_plan_stands_to_what_the_user_has(
    sources: list[Subscription | Purchase], changes: dict[str, str]
) -> None:
    assert relations(held_of(facts_of(*sources))) == {**NOTHING, **changes}


def test_a_plan_that_a_waiting_change_leads_to_is_scheduled_unless_it_is_had() -> None:
    pro = facts_of(make_subscription(plan="team"))
    assert relations(held_of(pro, scheduled=("pro",)))["pro"] == "scheduled"
    assert relations(held_of(pro, scheduled=("team",)))["team"] == "current"


def test_a_subscription_runs_until_the_second_of_its_end() -> None:
    subscription = make_subscription(cancel_at=NOW)
    assert is_running(subscription, day(-0.001))
    assert not is_running(subscription, NOW)


def test_an_app_sees_its_own_features_and_the_plans_that_give_some_of_them() -> None:
    tool, viewer = (
        {plan.key: plan for plan in offer_plans(CATALOG, app, None)} for app in ("tool", "viewer")
    )
    assert set(tool["pro"].features) == {"export", "seats", "credits", "limit", "support"}
    assert set(viewer["pro"].features) == {"export", "credits", "limit", "support", "formats"}
    # `extra` gives seats, which viewer does not see, and a limit, which it does; `boost` gives projects.
    assert set(viewer["extra"].features) == {"limit"}
    assert [feature.key for feature in offer_features(CATALOG, "viewer")] == sorted(
        ["export", "credits", "limit", "projects", "support", "formats", "sso"]
    )
    # Nobody was named.
    assert {plan.relation for plan in tool.values()} == {UNSET}


def test_a_plan_without_anything_for_the_app_is_not_offered() -> None:
    seats_only = replace(CATALOG.plans["extra"], grants={"seats": CATALOG.plans["extra"].grants["seats"]})
    catalog = replace(CATALOG, plans={**CATALOG.plans, "extra": seats_only})
    assert "extra" in {plan.key for plan in offer_plans(catalog, "tool", None)}
    assert "extra" not in {plan.key for plan in offer_plans(catalog, "viewer", None)}


def test_plans_come_lowest_rank_first_with_their_prices_and_values() -> None:
    plans = offer_plans(CATALOG, "tool", None)
    assert [plan.key for plan in plans] == ["extra", "boost", "pass", "pro", "founder", "team"]
    pro, extra, boost = plans[3], plans[0], plans[1]
    assert (pro.kind, pro.group, pro.rank, extra.requires) == ("base", "main", 20, "pro")
    assert [(price.key, price.interval, price.amounts) for price in pro.prices] == [
        ("month", "month", {"usd": 1900})
    ]
    assert (pro.features["seats"].value, pro.features["seats"].per_unit) == (5, True)
    assert (boost.features["projects"].value, boost.features["projects"].unlimited) == (None, True)


def test_what_is_sold_no_more_is_shown_to_who_has_it_only() -> None:
    old_plan = PriceTerms(
        price_id="price_gone",
        product_id="acme_gone",
        plan="gone",
        price="month",
        product_name="Gone",
        currency="usd",
        unit_amount_minor=700,
        interval="month",
        interval_count=1,
    )
    old_price = PriceTerms(
        price_id="price_pro_week",
        product_id="acme_pro",
        plan="pro",
        price="week",
        currency="eur",
        unit_amount_minor=300,
        interval="week",
        interval_count=1,
    )
    held = held_of(facts_of(make_subscription(plan="pro")), terms=(old_plan, old_price))
    shown = {plan.key: plan for plan in offer_plans(CATALOG, "tool", held)}
    assert (shown["gone"].name, shown["gone"].relation, shown["gone"].removed) == ("Gone", "current", True)
    assert prices(shown["gone"]) == [("month", {"usd": 700}, True)]
    assert prices(shown["pro"])[1] == ("week", {"eur": 300}, True)
    assert "gone" not in {plan.key for plan in offer_plans(CATALOG, "tool", Held())}


def prices(plan: OfferedPlan) -> list[tuple[str, dict[str, int], object]]:
    return [(price.key, price.amounts, price.removed) for price in plan.prices]
