"""Several things at once for one user, and what one payment has to do with two sources."""

from tests.flows.scenarios.stage import (
    BAD_CARD,
    DAY,
    FEBRUARY,
    FIRST_ATTEMPT,
    GOOD_CARD,
    HOUR,
    NEW_YEAR,
    Stage,
    no,
    yes,
)

PRO, TEAM, EXTRA = "price_acme.pro.month", "price_acme.team.month", "price_acme.extra_projects.month"
PASS, FOUNDER = "price_acme.pass.once", "price_acme.founder.once"
ACTIVE = yes("subscription_active")


async def test_trial_with_a_one_time_line_has_both(stage: Stage) -> None:
    user = await stage.person()
    bought = await stage.buy(user, TEAM, FOUNDER, subscription_data={"trial_period_days": 14})
    await stage.expects(user, sso=yes("subscription_trialing"), projects=yes("subscription_trialing", None))
    await stage.delete(f"/v1/subscriptions/{bought['subscription']}")
    await stage.expects(user, sso=no("subscription_canceled"), projects=yes("purchase", 100))
    await stage.settle()


async def test_refund_of_an_invoice_ends_the_purchase_on_it_and_not_the_subscription(stage: Stage) -> None:
    user = await stage.person()
    await stage.buy(user, PRO, FOUNDER)
    await stage.expects(user, projects=yes("purchase", 100), seats=yes("purchase", 3))
    (charge,) = (await stage.read(f"/v1/charges?customer={user.customer}"))["data"]
    await stage.post("/v1/refunds", charge=charge["id"])
    await stage.expects(user, projects=yes("subscription_active", 50), seats=yes("subscription_active", 1))
    await stage.settle()


async def test_dispute_of_an_invoice_suspends_all_that_it_paid(stage: Stage) -> None:
    user = await stage.person()
    bought = await stage.buy(user, PRO, FOUNDER)
    dispute = await stage.stripe.dispute(bought["invoice"])
    await stage.expects(user, export=no("disputed"), seats=yes("catalog_default", 1))
    await stage.advance(FIRST_ATTEMPT)
    await stage.expects(user, export=ACTIVE, seats=yes("subscription_active", 1))
    await stage.stripe.move_dispute(dispute["id"], "won")
    await stage.expects(user, seats=yes("purchase", 3), projects=yes("purchase", 100))
    await stage.settle()


async def test_subscription_paid_by_a_bank_transfer_that_fails_has_no_grace(stage: Stage) -> None:
    user = await stage.person()
    session = await stage.open_checkout(user, PRO)
    await stage.stripe.pay_later(session)
    await stage.expects(user, export=ACTIVE)
    await stage.advance(NEW_YEAR + 3 * DAY)
    await stage.stripe.settle(session, "failed")
    await stage.expects(user, export=no("payment_past_due"), seats=yes("catalog_default", 1))
    await stage.settle()


async def test_items_come_and_go(stage: Stage) -> None:
    user = await stage.person(card=GOOD_CARD)
    made = await stage.post("/v1/subscriptions", customer=user.customer, items=[{"price": PRO}])
    await stage.expects(user, projects=yes("subscription_active", 50))
    extra = await stage.post("/v1/subscription_items", subscription=made["id"], price=EXTRA, quantity=2)
    await stage.expects(user, projects=yes("subscription_active", 70))
    await stage.post(f"/v1/subscription_items/{extra['id']}", quantity=1)
    await stage.expects(user, projects=yes("subscription_active", 60))
    await stage.delete(f"/v1/subscription_items/{extra['id']}")
    await stage.expects(user, projects=yes("subscription_active", 50), export=ACTIVE)
    await stage.settle()


async def test_failed_renewal_of_one_subscription_leaves_the_other_alone(stage: Stage) -> None:
    user = await stage.person()
    failing = await stage.subscribe(user, TEAM)
    await stage.advance(NEW_YEAR + DAY)
    other = await stage.person()
    await stage.subscribe(other, PRO)
    await stage.stripe.change_card(user.customer, BAD_CARD)
    await stage.advance(FIRST_ATTEMPT)
    until = FIRST_ATTEMPT + 7 * DAY
    await stage.expects(user, sso=yes("in_grace", until=until), seats=yes("in_grace", 5, until=until))
    await stage.expects(user, export=yes("in_grace"))
    await stage.advance(until)
    await stage.expects(user, sso=no("payment_past_due"), seats=yes("subscription_active", 1))
    await stage.delete(f"/v1/subscriptions/{failing}")
    await stage.expects(user, sso=no("subscription_canceled"), export=ACTIVE)
    await stage.settle()


async def test_pass_bridges_the_end_of_a_subscription(stage: Stage) -> None:
    user = await stage.person()
    subscription = await stage.subscribe(user, PRO)
    await stage.change(subscription, cancel_at_period_end=True)
    await stage.advance(FEBRUARY - 10 * DAY)
    await stage.buy(user, PASS)
    until = FEBRUARY + 20 * DAY
    await stage.expects(user, export=yes("subscription_active", until=until))
    await stage.expects(user, projects=yes("purchase", 10, until=until), at=FEBRUARY)
    await stage.advance(FEBRUARY + HOUR)
    await stage.expects(user, export=yes("purchase", until=until), seats=yes("catalog_default", 1))
    await stage.settle()


async def test_partly_refunded_purchase_that_is_disputed_and_won_is_as_before(stage: Stage) -> None:
    user = await stage.person()
    bought = await stage.buy(user, FOUNDER)
    await stage.post("/v1/refunds", payment_intent=bought["payment_intent"], amount=1000)
    partly = yes("purchase", flags=["partially_refunded"])
    await stage.expects(user, export=partly)
    dispute = await stage.stripe.dispute(bought["id"], amount=5000)
    await stage.expects(user, export=no("disputed"))
    await stage.stripe.move_dispute(dispute["id"], "won")
    await stage.expects(user, export=partly)
    await stage.settle()


async def test_cancellation_moved_and_taken_back_in_a_trial(stage: Stage) -> None:
    user = await stage.person()
    subscription = await stage.subscribe(user, TEAM, subscription_data={"trial_period_days": 14})
    middle = NEW_YEAR + 5 * DAY
    await stage.change(subscription, cancel_at=int(middle.timestamp()))
    await stage.expects(user, sso=yes("subscription_trialing", until=middle))
    later = NEW_YEAR + 20 * DAY
    await stage.change(subscription, cancel_at=int(later.timestamp()))
    await stage.advance(NEW_YEAR + 15 * DAY)
    await stage.expects(user, sso=yes("subscription_active", until=later))
    await stage.change(subscription, cancel_at="")
    await stage.advance(later + DAY)
    await stage.expects(user, sso=ACTIVE)
    await stage.settle()


async def test_stranger_whom_an_operator_adopts_has_all_that_was_bought_before(stage: Stage) -> None:
    user = await stage.stranger()
    await stage.subscribe(user, TEAM)
    bought = await stage.buy(user, FOUNDER)
    await stage.post("/v1/refunds", payment_intent=bought["payment_intent"], amount=1000)
    await stage.advance(FIRST_ATTEMPT)
    await stage.expects(user, export=no("no_subscription"), seats=yes("catalog_default", 1))
    await stage.adopt(user)
    await stage.expects(user, sso=ACTIVE, seats=yes("subscription_active", 5))
    await stage.settle()
