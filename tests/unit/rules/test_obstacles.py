"""What a user holds that stands in the way of a checkout."""

from datetime import timedelta

import pytest

from domain.errors import Conflict
from domain.rules.obstacles import (
    OnExisting,
    choose_currency,
    find_existing,
    refuse_existing,
    refuse_second_trial,
)
from domain.rules.order import Item, Order, judge_order
from tests.unit.rules.builders import NOW, make_item, make_subscription
from tests.unit.rules.test_order import catalog

PRO = make_item(product_id="acme_pro", price_id="p1")
HELD = make_subscription(items=(PRO,))


def order(*items: Item) -> Order:
    return judge_order(catalog(), items)


def test_a_running_subscription_of_the_group_is_found_and_nothing_else() -> None:
    groups = order(Item("team", "month")).groups
    found = find_existing(catalog(), groups, [HELD], NOW)
    assert found is not None
    assert (found[0].subscription_id, found[1]) == (HELD.subscription_id, "main")
    over = [
        make_subscription(items=(PRO,), status="canceled"),
        make_subscription(items=(PRO,), status="incomplete"),
        make_subscription(items=(PRO,), status="incomplete_expired"),
        make_subscription(items=(make_item(product_id="x", price_id="p2"),)),
        make_subscription(items=(make_item(product_id="unknown", price_id="p3"),)),
    ]
    assert find_existing(catalog(), groups, over, NOW) is None
    assert find_existing(catalog(), order(Item("extra", "month")).groups, [HELD], NOW) is None
    for status in ("trialing", "past_due", "unpaid", "paused", "a_new_one"):
        assert find_existing(catalog(), groups, [make_subscription(items=(PRO,), status=status)], NOW)


@pytest.mark.parametrize(
    ("on_existing", "items"),
    [
        ("refuse", [("team", "month", 3), ("extra", "month", 1)]),
        ("switch", [("team", "month", 3), ("extra", "month", 1)]),
        # The plan of the group is replaced, what stands beside it is kept.
        ("add", [("other", "month", 7), ("team", "month", 3), ("extra", "month", 1)]),
    ],
)
def test_the_refusal_carries_a_change_that_is_ready_to_be_sent(
    on_existing: OnExisting, items: list[tuple[str, str, int]]
) -> None:
    known = catalog()
    other = known.plans["extra"].__class__(
        key="other", name="Other", kind="addon", product_id="o", prices=known.plans["extra"].prices
    )
    known.plans["other"] = other
    beside = make_item(product_id="o", price_id="p4", price_key="month", quantity=7)
    held = make_subscription(items=(make_item(product_id="acme_pro", price_key="month"), beside))
    wanted = [Item("team", "month", 3), Item("extra", "month"), Item("pass", "once")]
    refused = refuse_existing(known, "u_17", wanted, (held, "main"), on_existing)
    assert (refused.status, refused.code) == (409, "subscription_exists")
    assert refused.instead is not None
    assert (refused.instead.method, refused.instead.path) == ("POST", "/api/v1/subscription/change")
    assert refused.instead.body == {
        "user_id": "u_17",
        "group": "main",
        "items": [{"plan": plan, "price": price, "quantity": quantity} for plan, price, quantity in items],
        "when": "now",
    }


def test_one_trial_per_user_and_group_and_per_plan_without_one() -> None:
    had = make_subscription(items=(PRO,), status="canceled", trial_end=NOW - timedelta(days=300))
    extra = make_subscription(items=(make_item(product_id="x"),), trial_end=NOW)
    for items, subscription in (
        ([Item("pro", "month")], had),
        ([Item("team", "month")], had),
        ([Item("extra", "month")], extra),
    ):
        with pytest.raises(Conflict) as refused:
            refuse_second_trial(catalog(), order(*items), items, [HELD, subscription])
        assert refused.value.code == "trial_used"
        assert [error["field"] for error in refused.value.errors] == ["trial_days"]
    for items, subscription in (
        ([Item("pro", "month")], HELD),
        ([Item("pro", "month")], extra),
        ([Item("extra", "month")], had),
    ):
        refuse_second_trial(catalog(), order(*items), items, [subscription])


def test_the_currency_is_the_one_the_customer_pays_in_or_the_checkout_is_refused() -> None:
    pro, team = order(Item("pro", "month")), order(Item("team", "month"))
    assert [choose_currency(pro, held) for held in (None, "usd", "eur")] == ["usd", "usd", "eur"]
    assert choose_currency(order(Item("euro", "once")), "usd") == "eur"
    with pytest.raises(Conflict) as refused:
        choose_currency(team, "eur")
    assert refused.value.code == "currency_mismatch"
    assert "eur" in refused.value.detail
    assert "usd" in refused.value.detail
