"""What is bought once: for ever or for days, by card or by bank, and given back."""

from tests.flows.scenarios.finale import Person
from tests.flows.scenarios.stage import DAY, NEW_YEAR, SECOND, Stage, no, yes

PASS, FOUNDER = "price_acme.pass.once", "price_acme.founder.once"
ENDS = NEW_YEAR + 30 * DAY


async def test_pass_gives_access_for_thirty_days_to_the_second(stage: Stage) -> None:
    user = await stage.person()
    await stage.buy(user, PASS)
    await stage.expects(user, export=yes("purchase", until=ENDS), projects=yes("purchase", 10, until=ENDS))
    await stage.expects(user, export=no("purchase_expired"), at=ENDS)
    await stage.advance(ENDS - SECOND)
    await stage.expects(user, export=yes("purchase", until=ENDS))
    await stage.advance(ENDS)
    await stage.expects(user, export=no("purchase_expired"), projects=yes("catalog_default", 3))
    await stage.settle()


async def test_lifetime_purchase_has_no_end(stage: Stage) -> None:
    user = await stage.person()
    await stage.buy(user, FOUNDER)
    await stage.expects(user, seats=yes("purchase", 3), export=yes("purchase"))
    await stage.advance(NEW_YEAR + 700 * DAY)
    await stage.expects(user, seats=yes("purchase", 3))
    await stage.settle()


async def test_pass_bought_twice_follows_itself(stage: Stage) -> None:
    user = await stage.person()
    await stage.buy(user, PASS)
    await stage.advance(NEW_YEAR + 10 * DAY)
    await stage.buy(user, PASS)
    both = NEW_YEAR + 60 * DAY
    await stage.expects(user, export=yes("purchase", until=both))
    await stage.advance(ENDS)
    await stage.expects(user, export=yes("purchase", until=both))
    await stage.advance(both)
    await stage.expects(user, export=no("purchase_expired"))
    await stage.settle()


async def test_two_passes_bought_in_one_checkout_second_fold_too(stage: Stage) -> None:
    user = await stage.person()
    await stage.buy(user, PASS)
    await stage.buy(user, PASS)
    await stage.expects(user, export=yes("purchase", until=NEW_YEAR + 60 * DAY))
    await stage.settle()


async def test_pass_refunded_before_another_holds_no_place(stage: Stage) -> None:
    user = await stage.person()
    first = await stage.buy(user, PASS)
    await stage.advance(NEW_YEAR + 10 * DAY)
    await stage.buy(user, PASS)
    await stage.post("/v1/refunds", payment_intent=first["payment_intent"])
    await stage.expects(user, export=yes("purchase", until=NEW_YEAR + 40 * DAY))
    await stage.settle()


# ── by bank ──


async def pay_by_bank(stage: Stage) -> tuple[Person, str]:
    user = await stage.person()
    session = await stage.open_checkout(user, PASS)
    await stage.stripe.pay_later(session)
    await stage.expects(user, export=no("no_subscription"), projects=yes("catalog_default", 3))
    await stage.advance(NEW_YEAR + 4 * DAY)
    await stage.expects(user, export=no("no_subscription"))
    return user, session


async def test_delayed_payment_counts_from_its_success(stage: Stage) -> None:
    user, session = await pay_by_bank(stage)
    await stage.stripe.settle(session)
    until = NEW_YEAR + 34 * DAY
    await stage.expects(user, export=yes("purchase", until=until))
    await stage.advance(NEW_YEAR + 33 * DAY)
    await stage.expects(user, export=yes("purchase", until=until))
    await stage.settle()


async def test_delayed_payment_that_fails_gives_nothing(stage: Stage) -> None:
    user, session = await pay_by_bank(stage)
    await stage.stripe.settle(session, "failed")
    await stage.expects(user, export=no("no_subscription"), projects=yes("catalog_default", 3))
    await stage.settle()


async def test_one_time_line_beside_a_subscription_is_a_purchase(stage: Stage) -> None:
    user = await stage.person()
    bought = await stage.buy(user, "price_acme.team.month", FOUNDER)
    await stage.expects(user, sso=yes("subscription_active"), seats=yes("subscription_active", 5))
    await stage.delete(f"/v1/subscriptions/{bought['subscription']}")
    await stage.expects(user, sso=no("subscription_canceled"), seats=yes("purchase", 3))
    await stage.settle()


# ── given back ──


async def test_partial_refund_keeps_the_purchase_and_the_rest_ends_it(stage: Stage) -> None:
    user = await stage.person()
    intent = (await stage.buy(user, PASS))["payment_intent"]
    await stage.post("/v1/refunds", payment_intent=intent, amount=300)
    flagged = yes("purchase", until=ENDS, flags=["partially_refunded"])
    await stage.expects(user, export=flagged)
    await stage.advance(NEW_YEAR + DAY)
    await stage.post("/v1/refunds", payment_intent=intent)
    await stage.expects(user, export=no("refunded"), projects=yes("catalog_default", 3))
    await stage.settle()


async def test_refund_that_fails_restores_the_purchase(stage: Stage) -> None:
    user = await stage.person()
    intent = (await stage.buy(user, PASS))["payment_intent"]
    refund = await stage.post("/v1/refunds", payment_intent=intent)
    await stage.expects(user, export=no("refunded"))
    await stage.advance(NEW_YEAR + 3 * DAY)
    await stage.stripe.fail_refund(refund["id"])
    await stage.expects(user, export=yes("purchase", until=ENDS))
    await stage.settle()


async def test_refund_by_bank_counts_while_it_is_pending(stage: Stage) -> None:
    user = await stage.person()
    session = await stage.open_checkout(user, FOUNDER)
    await stage.stripe.pay_later(session)
    await stage.stripe.settle(session)
    await stage.expects(user, export=yes("purchase"))
    intent = (await stage.read(f"/v1/checkout/sessions/{session}"))["payment_intent"]
    refund = await stage.post("/v1/refunds", payment_intent=intent)
    assert refund["status"] == "pending"
    await stage.expects(user, export=no("refunded"))
    await stage.stripe.move_refund(refund["id"], "canceled")
    await stage.expects(user, export=yes("purchase"))
    await stage.settle()


async def test_refund_of_a_renewal_takes_nothing_away(stage: Stage) -> None:
    user = await stage.person()
    await stage.subscribe(user, "price_acme.pro.month")
    (charge,) = (await stage.read(f"/v1/charges?customer={user.customer}"))["data"]
    await stage.post("/v1/refunds", charge=charge["id"])
    await stage.expects(user, export=yes("subscription_active"))
    await stage.settle()
