"""Subscriptions that are paid: bought, renewed, switched, canceled."""

from tests.flows.scenarios.stage import (
    DAY,
    FEBRUARY,
    FIRST_ATTEMPT,
    HOUR,
    MARCH,
    NEW_YEAR,
    SECOND,
    Stage,
    no,
    yes,
)

PRO, TEAM = "price_acme.pro.month", "price_acme.team.month"
ACTIVE = yes("subscription_active")


async def test_new_subscription_serves_every_app_of_the_project(stage: Stage) -> None:
    user = await stage.person()
    session = await stage.open_checkout(user, PRO)
    await stage.stripe.decline(session)
    await stage.expects(user, export=no("no_subscription"), seats=yes("catalog_default", 1))
    await stage.stripe.pay(session)
    await stage.expects(user, export=ACTIVE, seats=yes("subscription_active", 1), sso=no("not_in_plan"))
    await stage.expects(user, app="viewer", formats=yes("subscription_active", ["pdf", "png"]))
    await stage.settle()


async def test_renewal_is_seamless(stage: Stage) -> None:
    user = await stage.person()
    await stage.subscribe(user, PRO)
    await stage.expects(user, export=ACTIVE)
    await stage.expects(user, export=ACTIVE, at=FEBRUARY + 300 * DAY)
    for moment in (FEBRUARY - SECOND, FEBRUARY, FIRST_ATTEMPT - SECOND, FIRST_ATTEMPT):
        await stage.advance(moment)
        await stage.expects(user, export=ACTIVE)
    await stage.settle()


async def test_upgrade_and_downgrade_with_proration_follow_at_once(stage: Stage) -> None:
    user = await stage.person()
    subscription = await stage.subscribe(user, PRO)
    await stage.advance(NEW_YEAR + 10 * DAY)
    await stage.switch(subscription, TEAM, proration_behavior="always_invoice")
    await stage.expects(user, seats=yes("subscription_active", 5), sso=ACTIVE)
    await stage.advance(NEW_YEAR + 20 * DAY)
    await stage.switch(subscription, PRO, proration_behavior="create_prorations")
    await stage.expects(user, seats=yes("subscription_active", 1), sso=no("not_in_plan"), export=ACTIVE)
    await stage.advance(FIRST_ATTEMPT)
    await stage.expects(user, seats=yes("subscription_active", 1), export=ACTIVE)
    await stage.settle()


async def test_more_seats_are_there_at_once(stage: Stage) -> None:
    user = await stage.person()
    subscription = await stage.subscribe(user, TEAM)
    (item,) = (await stage.read(f"/v1/subscriptions/{subscription}"))["items"]["data"]
    await stage.change(subscription, items=[{"id": item["id"], "quantity": 3}])
    await stage.expects(user, seats=yes("subscription_active", 15))
    await stage.change(subscription, items=[{"id": item["id"], "quantity": 2}])
    await stage.expects(user, seats=yes("subscription_active", 10))
    await stage.settle()


async def test_portal_cancel_ends_with_the_period_and_can_be_taken_back(stage: Stage) -> None:
    user = await stage.person()
    subscription = await stage.subscribe(user, PRO)
    await stage.stripe.save_portal()
    portal = await stage.post("/v1/billing_portal/sessions", customer=user.customer)
    await stage.stripe.portal(portal["url"], "cancel", subscription=subscription)
    await stage.expects(user, export=yes("subscription_active", until=FEBRUARY))
    await stage.expects(user, export=no("subscription_canceled"), at=FEBRUARY)
    await stage.stripe.portal(portal["url"], "resume", subscription=subscription)
    await stage.expects(user, export=ACTIVE)
    await stage.expects(user, export=ACTIVE, at=FEBRUARY)
    await stage.stripe.portal(portal["url"], "cancel", subscription=subscription)
    await stage.advance(FEBRUARY - SECOND)
    await stage.expects(user, export=yes("subscription_active", until=FEBRUARY))
    await stage.advance(FEBRUARY)
    await stage.expects(user, export=no("subscription_canceled"), seats=yes("catalog_default", 1))
    await stage.settle()


async def test_canceled_subscription_can_be_bought_anew(stage: Stage) -> None:
    user = await stage.person()
    subscription = await stage.subscribe(user, PRO)
    await stage.advance(NEW_YEAR + 5 * DAY)
    await stage.delete(f"/v1/subscriptions/{subscription}")
    await stage.expects(user, export=no("subscription_canceled"))
    await stage.advance(NEW_YEAR + 6 * DAY)
    await stage.subscribe(user, TEAM)
    await stage.expects(user, export=ACTIVE, sso=ACTIVE)
    await stage.settle()


async def test_add_on_counts_with_its_plan_only(stage: Stage) -> None:
    user = await stage.person()
    base = await stage.subscribe(user, PRO)
    await stage.subscribe(user, "price_acme.extra_projects.month")
    await stage.expects(user, projects=yes("subscription_active", 60))
    await stage.change(base, cancel_at_period_end=True)
    await stage.expects(user, projects=yes("subscription_active", 60, until=FEBRUARY))
    await stage.expects(user, projects=yes("catalog_default", 3), at=FEBRUARY)
    await stage.advance(FEBRUARY + HOUR)
    await stage.expects(user, projects=yes("catalog_default", 3), export=no("subscription_canceled"))
    await stage.settle()


async def test_price_archived_goes_on_granting_and_renewing(stage: Stage) -> None:
    user = await stage.person()
    await stage.subscribe(user, PRO)
    await stage.post(f"/v1/prices/{PRO}", active=False)
    await stage.expects(user, export=ACTIVE)
    await stage.advance(MARCH)
    await stage.expects(user, export=ACTIVE)
    await stage.settle()


async def test_portal_switch_to_a_year_begins_a_new_period(stage: Stage) -> None:
    user = await stage.person()
    subscription = await stage.subscribe(user, PRO)
    offered = {"product": "acme_team", "prices": ["price_acme.team.year"]}
    update = {"enabled": True, "default_allowed_updates": ["price"], "products": [offered]}
    await stage.stripe.save_portal(
        features={"subscription_update": update, "subscription_cancel": {"enabled": True}}
    )
    await stage.advance(NEW_YEAR + 10 * DAY)
    portal = await stage.post("/v1/billing_portal/sessions", customer=user.customer)
    wanted = {"subscription": subscription, "price": "price_acme.team.year"}
    await stage.stripe.portal(portal["url"], "switch", **wanted)
    await stage.expects(user, sso=ACTIVE, seats=yes("subscription_active", 5))
    await stage.stripe.portal(portal["url"], "cancel", subscription=subscription)
    over = NEW_YEAR + 375 * DAY
    await stage.expects(user, sso=yes("subscription_active", until=over))
    await stage.advance(over)
    await stage.expects(user, sso=no("subscription_canceled"))
    await stage.settle()
