"""The Stripe account around a user: its customers, products and prices, several projects, a whole year."""

from datetime import datetime, timedelta

from tests.flows.scenarios.stage import (
    BAD_CARD,
    DAY,
    FEBRUARY,
    GOOD_CARD,
    HOUR,
    MARCH,
    NEW_YEAR,
    Stage,
    no,
    yes,
)

PRO, TEAM, PLUS = "price_acme.pro.month", "price_acme.team.month", "price_globex.plus.month"
ACTIVE = yes("subscription_active")


async def test_deleted_customer_loses_its_subscriptions_and_keeps_what_was_bought(stage: Stage) -> None:
    user = await stage.person()
    await stage.subscribe(user, TEAM)
    await stage.buy(user, "price_acme.founder.once")
    await stage.expects(user, sso=ACTIVE, seats=yes("subscription_active", 5))
    await stage.advance(NEW_YEAR + 5 * DAY)
    await stage.delete(f"/v1/customers/{user.customer}")
    await stage.expects(user, sso=no("subscription_canceled"), seats=yes("purchase", 3))
    await stage.settle()


async def test_second_customer_of_a_user_counts_too(stage: Stage) -> None:
    first, second = await stage.person(), await stage.person()
    await stage.subscribe(second, PRO)
    await stage.expects(first, export=ACTIVE, projects=yes("subscription_active", 50))
    await stage.advance(NEW_YEAR + DAY)
    await stage.buy(first, "price_acme.founder.once")
    await stage.expects(first, projects=yes("purchase", 100), support=yes("subscription_active", "email"))
    await stage.delete(f"/v1/customers/{second.customer}")
    await stage.expects(first, projects=yes("purchase", 100), support=yes("purchase", "email"))
    await stage.settle()


async def test_price_made_in_the_dashboard_under_a_known_product_is_mapped(stage: Stage) -> None:
    user = await stage.person(card=GOOD_CARD)
    week = {"interval": "week"}
    price = await stage.post(
        "/v1/prices", product="acme_pro", currency="usd", unit_amount=700, recurring=week
    )
    made = await stage.post("/v1/subscriptions", customer=user.customer, items=[{"price": price["id"]}])
    await stage.expects(user, export=ACTIVE, projects=yes("subscription_active", 50))
    (source,) = (await stage.answers(user, "editor"))["export"]["sources"] or [None]
    if not stage.mode.is_late:
        assert source == {"kind": "subscription", "id": made["id"], "plan": "pro"}
    await stage.advance(NEW_YEAR + 8 * DAY)
    await stage.expects(user, export=ACTIVE)
    await stage.settle()


async def test_price_of_an_unknown_product_gives_nothing_and_is_named(stage: Stage) -> None:
    user = await stage.person(card=GOOD_CARD)
    product = await stage.post("/v1/products", name="Made in the dashboard")
    price = await stage.post(
        "/v1/prices",
        product=product["id"],
        currency="usd",
        unit_amount=700,
        recurring={"interval": "month"},
    )
    await stage.post("/v1/subscriptions", customer=user.customer, items=[{"price": price["id"]}])
    await stage.expects(user, export=no("price_unmapped"), seats=yes("catalog_default", 1))
    await stage.settle()


async def test_unknown_item_beside_a_known_one_takes_nothing_away(stage: Stage) -> None:
    user = await stage.person(card=GOOD_CARD)
    product = await stage.post("/v1/products", name="Support by phone")
    price = await stage.post(
        "/v1/prices",
        product=product["id"],
        currency="usd",
        unit_amount=700,
        recurring={"interval": "month"},
    )
    items = [{"price": PRO}, {"price": price["id"]}]
    await stage.post("/v1/subscriptions", customer=user.customer, items=items)
    await stage.expects(user, export=ACTIVE, sso=no("price_unmapped"))
    await stage.settle()


async def test_two_projects_on_one_stripe_account_share_nothing(stage: Stage) -> None:
    acme = await stage.person("u_1", "acme")
    globex = await stage.person("u_1", "globex")
    await stage.subscribe(acme, PRO)
    await stage.expects(acme, export=ACTIVE)
    await stage.subscribe(globex, PLUS)
    await stage.expects(globex, app="board", boards=yes("subscription_active", 20), guests=ACTIVE)
    await stage.stripe.change_card(globex.customer, BAD_CARD)
    failed = FEBRUARY + HOUR
    await stage.advance(failed)
    until = failed + 3 * DAY
    await stage.expects(globex, app="board", guests=yes("in_grace", until=until))
    await stage.expects(acme, export=ACTIVE)
    await stage.advance(until)
    await stage.expects(globex, app="board", guests=no("payment_past_due"), boards=yes("catalog_default", 1))
    await stage.expects(acme, export=ACTIVE)
    await stage.settle()


async def test_plan_of_another_project_gives_nothing_here(stage: Stage) -> None:
    user = await stage.person()
    await stage.subscribe(user, PLUS)
    await stage.expects(user, export=no("price_unmapped"), seats=yes("catalog_default", 1))
    await stage.settle()


async def test_year_on_a_test_clock_never_denies_who_pays(stage: Stage) -> None:
    user = await stage.person()
    await stage.subscribe(user, PRO)
    for month in range(12):
        moment = NEW_YEAR + timedelta(days=31 * month, hours=2)
        if month:
            await stage.advance(moment)
        await stage.expects(user, export=ACTIVE)
    await stage.settle()


async def test_year_in_one_step_with_everything_that_happens_in_it(stage: Stage) -> None:
    monthly, yearly, trial, leaver, payer = [await stage.person(f"u_{number}") for number in range(5)]
    await stage.subscribe(monthly, PRO)
    await stage.subscribe(yearly, "price_acme.team.year")
    await stage.subscribe(trial, TEAM, subscription_data={"trial_period_days": 14})
    subscription = await stage.subscribe(leaver, PRO)
    await stage.subscribe(payer, PRO)
    leaves_at = MARCH + 100 * DAY
    await stage.change(subscription, cancel_at=int(leaves_at.timestamp()))
    await stage.expects(leaver, export=yes("subscription_active", until=leaves_at))
    await stage.stripe.change_card(payer.customer, BAD_CARD)
    await stage.buy(monthly, "price_acme.pass.once")
    await stage.advance(datetime(2028, 1, 2, tzinfo=NEW_YEAR.tzinfo))
    await stage.expects(monthly, export=ACTIVE, projects=yes("subscription_active", 50))
    await stage.expects(yearly, sso=ACTIVE)
    await stage.expects(trial, sso=ACTIVE)
    await stage.expects(leaver, export=no("subscription_canceled"))
    await stage.expects(payer, export=no("subscription_canceled"))
    await stage.settle()
