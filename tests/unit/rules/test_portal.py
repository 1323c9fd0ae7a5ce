"""Whether Stripe's portal opens, for which customer, and what it is told to allow."""

from typing import Any

import pytest
from msgspec.structs import replace

from domain.model import LinkedCustomer, Subscription
from domain.money import BilledSubscription
from domain.rules.catalog import PortalOptions
from domain.rules.portal import (
    Choice,
    FlowReason,
    FlowVerdict,
    PortalVerdict,
    choose_customer,
    find_flow_refusal,
    judge_flows,
    judge_portal,
)
from domain.rules.portal_settings import portal_settings
from domain.rules.redirect import usable_origins
from tests.unit.rules.builders import CATALOG, day, make_catalog, make_item, make_subscription


def linked(name: str = "cus_1", **claims: bool) -> LinkedCustomer:
    values = {"is_primary": True, "is_deleted": False, "is_subscribed": False, "has_history": True}
    return LinkedCustomer(customer_id=name, **{**values, **claims})


def choice(subscription: Subscription, schedule_id: str | None = None) -> Choice:
    billed = BilledSubscription(
        subscription_id=subscription.subscription_id,
        customer_id="cus_1",
        currency="usd",
        schedule_id=schedule_id,
        scheduled_at=None,
        scheduled_items=(),
    )
    return Choice(subscription=subscription, billed=billed, group="main")


@pytest.mark.parametrize(
    ("customers", "chosen"),
    [
        ([], "no_customer"),
        ([linked(is_deleted=True, is_primary=False)], "customer_deleted"),
        ([linked(has_history=False)], "no_billing_history"),
        ([linked(is_deleted=True), linked("cus_2", has_history=False)], "no_billing_history"),
        ([linked("cus_1", is_primary=False), linked("cus_2")], "cus_2"),
        # The imported one pays: the portal of the other would be empty of what the user wants to change.
        ([linked("cus_1", is_primary=False, is_subscribed=True), linked("cus_2")], "cus_1"),
        ([linked("cus_1", is_primary=False), linked("cus_2", is_primary=False)], "cus_1"),
    ],
)
def test_the_portal_is_that_of_the_customer_who_pays(customers: list[LinkedCustomer], chosen: str) -> None:
    found = choose_customer(customers)
    assert (found.customer_id if isinstance(found, LinkedCustomer) else found) == chosen


@pytest.mark.parametrize(
    ("customers", "is_returnable", "reason"),
    [
        ([linked()], True, None),
        ([linked()], False, "portal_not_configured"),
        ([], False, "no_customer"),
    ],
)
def test_eligibility_says_the_first_reason_that_holds(
    customers: list[LinkedCustomer], *, is_returnable: bool, reason: Any
) -> None:
    verdict = judge_portal(customers, is_returnable=is_returnable)
    assert verdict == PortalVerdict(available=reason is None, reason=reason)


def test_a_local_origin_is_no_place_to_return_to_in_live_mode() -> None:
    origins = ["http://localhost:3000", "https://a.example"]
    assert usable_origins(origins, "test") == origins
    assert usable_origins(origins, "live") == ["https://a.example"]


TWO_ITEMS = make_subscription(items=(make_item("pro"), make_item("extra")))


@pytest.mark.parametrize(
    ("chosen", "can_switch", "cancel", "update"),
    [
        (choice(make_subscription()), True, None, None),
        (choice(make_subscription()), False, None, "no_switch_plans"),
        (choice(TWO_ITEMS), True, None, "multiple_items"),
        (choice(make_subscription(cancel_at=day(9))), True, "set_to_cancel", "set_to_cancel"),
        (choice(make_subscription(cancel_at_period_end=True)), True, "set_to_cancel", "set_to_cancel"),
        (choice(make_subscription(), "sub_sched_1"), True, "change_scheduled", "change_scheduled"),
    ],
)
def test_each_flow_has_its_own_refusals(
    *, chosen: Choice, can_switch: bool, cancel: FlowReason | None, update: FlowReason | None
) -> None:
    assert find_flow_refusal("subscription_cancel", chosen, can_switch=can_switch) == cancel
    for kind in ("subscription_update", "subscription_update_confirm"):
        assert find_flow_refusal(kind, chosen, can_switch=can_switch) == update


def test_a_flow_is_available_where_any_subscription_takes_it() -> None:
    opens, yes = PortalVerdict(available=True, reason=None), FlowVerdict(available=True, reason=None)
    flows = judge_flows(opens, [choice(TWO_ITEMS), choice(make_subscription())], can_switch=True)
    assert (flows.subscription_update, flows.subscription_cancel) == (yes, yes)
    flows = judge_flows(opens, [choice(TWO_ITEMS)], can_switch=True)
    assert flows.subscription_update_confirm == FlowVerdict(available=False, reason="multiple_items")
    flows = judge_flows(opens, [], can_switch=True)
    assert (flows.payment_method_update, flows.subscription_cancel.reason) == (yes, "no_subscription")
    closed = PortalVerdict(available=False, reason="no_customer")
    flows = judge_flows(closed, [choice(make_subscription())], can_switch=True)
    assert flows.subscription_cancel == flows.payment_method_update
    assert flows.payment_method_update == FlowVerdict(available=False, reason="no_customer")


def test_the_portal_switches_between_the_recurring_prices_of_its_plans() -> None:
    # A second monthly price: Stripe takes one price of a product per interval.
    second = 'amounts = { usd = 1900 }\nstripe_ids = ["price_legacy"]'
    catalog = make_catalog(
        **{
            second: second
            + '\n[projects.acme.plans.pro.prices.promo]\ninterval = "month"\namounts = { usd = 9 }'
        }
    )
    catalog = replace(catalog, portal=PortalOptions(switch_plans=("team", "pro", "pass")))
    heads = {("pro", "month"): "price_1", ("pro", "promo"): "price_2", ("pass", "once"): "price_3"}
    settings = portal_settings(catalog, heads)
    # Of team nothing is in Stripe yet, pass has nothing that renews.
    assert settings.features["subscription_update"]["products"] == [
        {"product": "acme_pro", "prices": ["price_1"]}
    ]
    assert settings.can_switch
    later = portal_settings(catalog, {**heads, ("team", "month"): "price_4"})
    assert [one["product"] for one in later.features["subscription_update"]["products"]] == [
        "acme_team",
        "acme_pro",
    ]
    assert later.digest != settings.digest == portal_settings(catalog, heads).digest


def test_without_plans_to_switch_to_the_portal_still_cancels_and_changes_cards() -> None:
    settings = portal_settings(CATALOG, {("pro", "month"): "price_1"})
    assert not settings.can_switch
    assert settings.features["subscription_update"] == {"enabled": False}
    assert settings.features["subscription_cancel"] == {"enabled": True, "mode": "at_period_end"}
