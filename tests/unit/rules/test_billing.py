"""What an account page shows of subscriptions, purchases and payment."""

from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from domain.model import Subscription
from domain.money import BilledSubscription, BoughtLine, Invoice, PriceTerms, ScheduledItem
from domain.rules.billing import (
    ENDED_SHOWN,
    BillingItem,
    BillingSubscription,
    PaymentProblem,
    Records,
    find_payment_problem,
    show_purchases,
    show_subscriptions,
)
from tests.unit.rules.builders import (
    CATALOG,
    NOW,
    day,
    facts_of,
    make_item,
    make_purchase,
    make_refund,
    make_subscription,
)


def make_terms(plan: str | None = "pro", **fields: Any) -> PriceTerms:
    values: dict[str, Any] = {
        "price_id": f"price_{plan}",
        "product_id": f"acme_{plan}",
        "plan": plan,
        "price": "month",
        "revision": 1,
        "is_head": True,
        "currency": "usd",
        "unit_amount_minor": 1900,
        "interval": "month",
        "interval_count": 1,
    }
    return PriceTerms(**{**values, **fields})


def make_billed(subscription_id: str = "sub_1", **fields: Any) -> BilledSubscription:
    values: dict[str, Any] = {
        "subscription_id": subscription_id,
        "customer_id": "cus_1",
        "currency": "usd",
        "schedule_id": None,
        "scheduled_at": None,
        "scheduled_items": (),
    }
    return BilledSubscription(**{**values, **fields})


def show_one(
    subscription: Subscription,
    *terms: PriceTerms,
    billed: BilledSubscription | None = None,
    app: str = "tool",
) -> BillingSubscription:
    known = terms or (make_terms(),)
    pairs = zip(subscription.items, known, strict=True)
    records = Records(
        facts=facts_of(subscription),
        billed={"sub_1": billed or make_billed()},
        terms={item.item_id: own for item, own in pairs},
    )
    [shown] = show_subscriptions(records, CATALOG, app)
    return shown


def show_item(terms: PriceTerms, quantity: int | None = 1, **billed: Any) -> BillingItem:
    product = {"product_id": terms.product_id, "price_id": terms.price_id}
    subscription = make_subscription(items=(make_item(quantity=quantity, **product),))
    [item] = show_one(subscription, terms, billed=make_billed(**billed)).items
    return item


# ── when ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("subscription", "renews", "ends", "trial_ends"),
    [
        (make_subscription(), 20, None, None),
        (make_subscription("past_due"), 20, None, None),
        (make_subscription("trialing", trial_end=day(20)), 20, None, 20),
        (make_subscription("trialing", trial_end=day(20), cancel_at=day(20)), None, 20, 20),
        # Converted: the trial is history.
        (make_subscription(trial_end=day(-10)), 20, None, None),
        (make_subscription(cancel_at_period_end=True), None, 20, None),
        (make_subscription(cancel_at=day(20)), None, 20, None),
        (make_subscription(cancel_at=day(60)), 20, 60, None),
        (make_subscription("canceled", ended_at=day(-1)), None, -1, None),
        (make_subscription("paused"), None, None, None),
        (make_subscription("incomplete"), None, None, None),
        (make_subscription(items=(make_item(period_end=day(5)),)), 5, None, None),
    ],
)
def test_a_subscription_says_when_it_renews_ends_and_leaves_its_trial(
    subscription: Subscription, renews: int | None, ends: int | None, trial_ends: int | None
) -> None:
    shown = show_one(subscription)
    assert (shown.renews_at, shown.ends_at, shown.trial_ends_at) == tuple(
        None if number is None else day(number) for number in (renews, ends, trial_ends)
    )


def test_a_waiting_change_says_when_and_to_what() -> None:
    scheduled = (ScheduledItem(price_id="price_team", product_id="acme_team", quantity=2),)
    billed = make_billed(schedule_id="sub_sched_1", scheduled_at=day(20), scheduled_items=scheduled)
    records = Records(
        facts=facts_of(make_subscription()),
        billed={"sub_1": billed},
        terms={"si_pro": make_terms()},
        scheduled_terms={"price_team": make_terms("team", unit_amount_minor=4900)},
    )
    [shown] = show_subscriptions(records, CATALOG, "tool")
    assert shown.pending_change is not None
    assert shown.pending_change.at == day(20)
    [item] = shown.pending_change.items
    assert (item.plan, item.name, item.quantity, item.amount_minor) == ("team", "team", 2, 9800)
    assert shown.renews_at == day(20)


def test_ended_subscriptions_are_the_latest_few_and_running_ones_are_all_there() -> None:
    ended = [
        make_subscription("canceled", subscription_id=f"sub_{number}", ended_at=day(-number))
        for number in range(1, ENDED_SHOWN + 5)
    ]
    running = [make_subscription(subscription_id=f"sub_r{number}") for number in range(ENDED_SHOWN + 5)]
    never = make_subscription("incomplete_expired", subscription_id="sub_never")
    shown = show_subscriptions(Records(facts=facts_of(*ended, *running, never)), CATALOG, "tool")
    assert {one.id for one in shown if one.status == "canceled"} == {
        f"sub_{number}" for number in range(1, ENDED_SHOWN + 1)
    }
    assert len([one for one in shown if one.status == "active"]) == len(running)
    assert "sub_never" not in {one.id for one in shown}


# ── what it costs ───────────────────────────────────────────────────────────────────────────────────


def test_an_item_names_plan_and_price_and_multiplies_its_amount() -> None:
    item = show_item(make_terms(), quantity=3)
    assert (item.plan, item.price, item.revision, item.currency) == ("pro", "month", 1, "usd")
    assert (item.unit_amount_minor, item.amount_minor, item.interval) == (1900, 5700, "month")


@pytest.mark.parametrize(
    ("terms", "billed", "unit"),
    [
        # An older revision costs what it cost.
        (make_terms(unit_amount_minor=1500, is_head=False), {}, 1500),
        (make_terms(unit_amount_minor=None), {}, None),
        (make_terms(), {"currency": None}, 1900),
        # Billed in another currency than the price's own: the catalog knows it while the price is sold.
        (make_terms(currency="eur", unit_amount_minor=1800), {"currency": "usd"}, 1900),
        (make_terms(currency="eur", unit_amount_minor=1800, is_head=False), {"currency": "usd"}, None),
        (make_terms(), {"currency": "gbp"}, None),
        # Not mirrored yet.
        (make_terms(currency=None, unit_amount_minor=None, interval=None), {}, 1900),
    ],
)
def test_an_amount_is_in_the_currency_that_is_billed_or_not_said(
    terms: PriceTerms, billed: dict[str, Any], unit: int | None
) -> None:
    item = show_item(terms, **billed)
    assert (item.unit_amount_minor, item.amount_minor, item.interval) == (unit, unit, "month")
    assert item.currency == (billed.get("currency") or "usd")


def test_a_metered_item_has_no_amount() -> None:
    item = show_item(make_terms(), quantity=None)
    assert (item.quantity, item.unit_amount_minor, item.amount_minor) == (None, 1900, None)


@pytest.mark.parametrize(
    ("terms", "named"),
    [
        # Imported: the plan lists it.
        (
            make_terms(price_id="price_legacy", product_id="prod_x", plan=None, price=None),
            ("pro", "pro", "month"),
        ),
        # Sold once, and no longer in the catalog.
        (make_terms(product_id="prod_x", plan="old", product_name="Old One"), ("old", "Old One", "month")),
        (make_terms(product_id="prod_x", plan="old"), ("old", "old", "month")),
        # Made in the dashboard.
        (
            make_terms(product_id="prod_x", plan=None, price=None, product_name="By hand"),
            (None, "By hand", None),
        ),
        (make_terms(price_id="price_x", product_id="acme_pro", plan=None, price=None), ("pro", "pro", None)),
    ],
)
def test_an_item_is_named_as_well_as_it_can_be(terms: PriceTerms, named: tuple[str | None, ...]) -> None:
    item = show_item(terms)
    assert (item.plan, item.name, item.price) == named


# ── whose business it is ────────────────────────────────────────────────────────────────────────────


def test_an_app_sees_what_gives_some_of_its_features_and_what_nobody_can_map() -> None:
    gives_seats = replace(CATALOG.plans["team"], grants={"seats": CATALOG.plans["team"].grants["seats"]})
    catalog = replace(CATALOG, plans={**CATALOG.plans, "team": gives_seats})
    facts = facts_of(
        make_subscription(subscription_id="sub_team", items=(make_item("team"),)),
        make_subscription(subscription_id="sub_pro", items=(make_item("pro"),)),
        make_subscription(subscription_id="sub_bundle", items=(make_item("team"), make_item("boost"))),
        make_subscription(subscription_id="sub_unmapped", items=(make_item("nobody_knows"),)),
    )

    def seen(app: str) -> set[str]:
        return {one.id for one in show_subscriptions(Records(facts=facts), catalog, app)}

    assert seen("tool") == {"sub_team", "sub_pro", "sub_bundle", "sub_unmapped"}
    # Only tool sees seats.
    assert seen("viewer") == {"sub_pro", "sub_bundle", "sub_unmapped"}


# ── purchases ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("plan", "fields", "expected"),
    [
        ("pass", {}, (True, "purchase", 20)),
        ("pass", {"paid_at": day(-40)}, (False, "purchase_expired", -10)),
        ("pass", {"refunds": (make_refund(900),)}, (False, "refunded", None)),
        ("founder", {}, (True, "purchase", None)),
        ("nobody_knows", {}, (False, "price_unmapped", None)),
    ],
)
def test_a_purchase_says_whether_it_gives_access_and_until_when(
    plan: str, fields: dict[str, Any], expected: tuple[bool, str, int | None]
) -> None:
    purchase = make_purchase(plan, **fields)
    bought = {purchase.purchase_id: BoughtLine(purchase=purchase, currency="usd")}
    [shown] = show_purchases(Records(facts=facts_of(purchase), bought=bought), CATALOG, "tool", NOW)
    is_active, reason, ends = expected
    assert (shown.is_active, shown.reason, shown.ends_at) == (
        is_active,
        reason,
        None if ends is None else day(ends),
    )
    assert (shown.id, shown.currency, shown.paid_minor) == ("cs_1", "usd", 900)


# ── payment ─────────────────────────────────────────────────────────────────────────────────────────


def make_invoice(number: int, status: str = "open", subscription: str = "sub_1", **fields: Any) -> Invoice:
    values: dict[str, Any] = {
        "invoice_id": f"in_{number}",
        "customer_id": "cus_1",
        "subscription_id": subscription,
        "status": status,
        "currency": "usd",
        "total_minor": 1900,
        "remaining_minor": 0 if status == "paid" else 1900,
        "created_at": day(-10 + number),
        "finalized_at": day(-10 + number),
        "pay_url": f"https://pay.example/{number}",
    }
    return Invoice(**{**values, **fields})


def problem_of(subscription: Subscription, *invoices: Invoice) -> PaymentProblem | None:
    return find_payment_problem(Records(facts=facts_of(subscription), invoices=invoices), CATALOG, "tool")


def failing(status: str = "past_due", since: float = -2, **fields: Any) -> Subscription:
    return make_subscription(status, first_failure_at=day(since), **fields)


@pytest.mark.parametrize(
    ("subscription", "grace_ends"),
    [
        (failing(), 5),
        (failing(since=-30), -23),
        (failing(is_failing_after_trial=True), 1),
        (failing("unpaid"), 5),
        (failing("paused", pause_cause="final_payment_failure"), 5),
        (failing(plan="team"), 12),
        # Never paid for: no grace.
        (failing(items=(make_item(is_paid_for=False),)), None),
        (failing(cancel_at=day(3)), 3),
        (failing("a_new_status", last_known_status="past_due", unknown_since=day(-1)), 5),
    ],
)
def test_a_payment_problem_says_since_when_and_until_when_access_is_kept(
    subscription: Subscription, grace_ends: int | None
) -> None:
    problem = problem_of(subscription, make_invoice(8))
    assert problem is not None
    assert problem.since == subscription.first_failure_at
    assert problem.grace_ends_at == (None if grace_ends is None else day(grace_ends))
    assert problem.pay_url == "https://pay.example/8"


def test_the_first_payment_that_never_came_is_a_problem_without_grace() -> None:
    problem = problem_of(make_subscription("incomplete", created_at=day(-1)), make_invoice(9))
    assert problem is not None
    assert (problem.since, problem.grace_ends_at, problem.pay_url) == (day(-1), None, "https://pay.example/9")


@pytest.mark.parametrize(
    "subscription",
    [
        make_subscription(),
        make_subscription("trialing"),
        make_subscription("canceled", ended_at=day(-1)),
        make_subscription("paused"),
        make_subscription("incomplete_expired"),
        failing(items=(make_item("pro", quantity=1),), status="active"),
    ],
)
def test_who_owes_nothing_has_no_payment_problem(subscription: Subscription) -> None:
    assert problem_of(subscription, make_invoice(8)) is None


def test_the_newest_unpaid_invoice_is_the_one_to_pay() -> None:
    invoices = [
        make_invoice(7),
        make_invoice(8),
        make_invoice(9, pay_url=None),
        make_invoice(6, "paid"),
        make_invoice(9, subscription="sub_2", pay_url="https://pay.example/other"),
    ]
    problem = problem_of(failing(), *invoices)
    assert problem is not None
    assert problem.pay_url == "https://pay.example/8"


def test_of_several_problems_the_one_whose_grace_ends_first_is_told() -> None:
    def first(*since: float) -> tuple[str, datetime | None]:
        facts = facts_of(
            *(failing(since=at, subscription_id=f"sub_{number}") for number, at in enumerate(since))
        )
        problem = find_payment_problem(Records(facts=facts), CATALOG, "tool")
        assert problem is not None
        return problem.subscription, problem.grace_ends_at

    assert first(-1, -3, -2) == ("sub_1", day(4))
