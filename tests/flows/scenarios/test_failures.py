"""Payments that fail: grace, recovery, and what is left when nobody pays."""

import pytest

from tests.flows.scenarios.finale import Person
from tests.flows.scenarios.stage import (
    BAD_CARD,
    DAY,
    FEBRUARY,
    FIRST_ATTEMPT,
    GOOD_CARD,
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
GRACE_ENDS = FIRST_ATTEMPT + 7 * DAY
IN_GRACE = yes("in_grace", until=GRACE_ENDS)


async def fail_renewal(stage: Stage) -> tuple[Person, str]:
    user = await stage.person()
    subscription = await stage.subscribe(user, PRO)
    await stage.expects(user, export=ACTIVE)
    await stage.stripe.change_card(user.customer, BAD_CARD)
    await stage.advance(FIRST_ATTEMPT)
    return user, subscription


async def test_failed_renewal_has_seven_days_from_its_first_failure(stage: Stage) -> None:
    user, _ = await fail_renewal(stage)
    await stage.expects(user, export=IN_GRACE)
    await stage.expects(user, export=IN_GRACE, at=GRACE_ENDS - SECOND)
    await stage.expects(user, export=no("payment_past_due"), at=GRACE_ENDS)
    # The second attempt fails too: grace counts from the first.
    await stage.advance(FIRST_ATTEMPT + 4 * DAY)
    await stage.expects(user, export=IN_GRACE)
    await stage.advance(GRACE_ENDS - SECOND)
    await stage.expects(user, export=IN_GRACE)
    await stage.advance(GRACE_ENDS)
    await stage.expects(user, export=no("payment_past_due"), seats=yes("catalog_default", 1))
    await stage.settle()


@pytest.mark.parametrize("days", [2, 10], ids=["in grace", "after grace"])
async def test_payment_that_succeeds_after_all_restores_access(stage: Stage, days: int) -> None:
    user, subscription = await fail_renewal(stage)
    await stage.advance(FIRST_ATTEMPT + days * DAY)
    await stage.expects(user, export=IN_GRACE if days < 7 else no("payment_past_due"))
    await stage.stripe.change_card(user.customer, GOOD_CARD)
    invoice = (await stage.read(f"/v1/subscriptions/{subscription}"))["latest_invoice"]
    await stage.post(f"/v1/invoices/{invoice}/pay")
    await stage.expects(user, export=ACTIVE)
    await stage.settle()


async def test_second_failure_has_a_grace_of_its_own(stage: Stage) -> None:
    user, _ = await fail_renewal(stage)
    await stage.stripe.change_card(user.customer, GOOD_CARD)
    await stage.advance(FIRST_ATTEMPT + 3 * DAY)
    await stage.expects(user, export=ACTIVE)
    await stage.stripe.change_card(user.customer, BAD_CARD)
    failed = NEW_YEAR + 59 * DAY + HOUR
    await stage.advance(failed)
    await stage.expects(user, export=yes("in_grace", until=failed + 7 * DAY))
    await stage.settle()


async def test_failure_that_is_final_cancels(stage: Stage) -> None:
    user, _ = await fail_renewal(stage)
    last_attempt = FIRST_ATTEMPT + 15 * DAY
    await stage.advance(last_attempt - SECOND)
    await stage.expects(user, export=no("payment_past_due"))
    await stage.advance(last_attempt)
    await stage.expects(user, export=no("subscription_canceled"), seats=yes("catalog_default", 1))
    await stage.settle()


async def test_failure_that_is_final_may_leave_it_unpaid_in_the_same_grace_and_then_canceled(
    stage: Stage,
) -> None:
    await stage.stripe.billing(after_final_failure="unpaid", retry_days=[2])
    user, subscription = await fail_renewal(stage)
    await stage.advance(FIRST_ATTEMPT + 2 * DAY)
    assert (await stage.read(f"/v1/subscriptions/{subscription}"))["status"] == "unpaid"
    await stage.expects(user, export=IN_GRACE)
    await stage.expects(user, export=no("payment_unpaid"), at=GRACE_ENDS)
    await stage.advance(GRACE_ENDS)
    await stage.expects(user, export=no("payment_unpaid"))
    await stage.advance(FEBRUARY + 40 * DAY)
    await stage.expects(user, export=no("payment_unpaid"))
    await stage.delete(f"/v1/subscriptions/{subscription}")
    await stage.expects(user, export=no("subscription_canceled"))
    await stage.settle()


@pytest.mark.parametrize("when", ["after_first_failure", "after_final_failure"])
async def test_failure_that_pauses_has_its_grace_and_payment_resumes_it(stage: Stage, when: str) -> None:
    await stage.stripe.billing(retry_days=[], **{when: "pause"})
    user, subscription = await fail_renewal(stage)
    paused = await stage.read(f"/v1/subscriptions/{subscription}")
    assert paused["status"] == "paused"
    await stage.expects(user, export=IN_GRACE)
    await stage.expects(user, export=no("subscription_paused"), at=GRACE_ENDS)
    await stage.advance(GRACE_ENDS + DAY)
    await stage.expects(user, export=no("subscription_paused"))
    await stage.stripe.change_card(user.customer, GOOD_CARD)
    await stage.post(f"/v1/invoices/{paused['latest_invoice']}/pay")
    await stage.expects(user, export=ACTIVE)
    await stage.settle()


async def test_upgrade_that_waits_for_its_payment_changes_nothing_until_it_is_paid(stage: Stage) -> None:
    user = await stage.person()
    subscription = await stage.subscribe(user, PRO)
    await stage.stripe.change_card(user.customer, BAD_CARD)
    await stage.advance(NEW_YEAR + 10 * DAY)
    careful = {"payment_behavior": "pending_if_incomplete", "proration_behavior": "always_invoice"}
    held = await stage.switch(subscription, TEAM, **careful)
    assert (held["status"], held["pending_update"] is None) == ("active", False)
    await stage.expects(user, export=ACTIVE, sso=no("not_in_plan"), seats=yes("subscription_active", 1))
    await stage.stripe.change_card(user.customer, GOOD_CARD)
    await stage.post(f"/v1/invoices/{held['latest_invoice']}/pay")
    await stage.expects(user, sso=ACTIVE, seats=yes("subscription_active", 5))
    await stage.settle()


async def test_upgrade_nobody_pays_for_expires_after_a_day(stage: Stage) -> None:
    user = await stage.person()
    subscription = await stage.subscribe(user, PRO)
    await stage.stripe.change_card(user.customer, BAD_CARD)
    careful = {"payment_behavior": "pending_if_incomplete", "proration_behavior": "always_invoice"}
    await stage.switch(subscription, TEAM, **careful)
    await stage.advance(NEW_YEAR + DAY)
    assert (await stage.read(f"/v1/subscriptions/{subscription}"))["pending_update"] is None
    await stage.expects(user, export=ACTIVE, sso=no("not_in_plan"))
    await stage.settle()


@pytest.mark.parametrize("behavior", ["allow_incomplete", "default_incomplete"])
async def test_failed_upgrade_gives_no_dearer_plan_in_grace(stage: Stage, behavior: str) -> None:
    user = await stage.person()
    subscription = await stage.subscribe(user, PRO)
    await stage.stripe.change_card(user.customer, BAD_CARD)
    await stage.advance(NEW_YEAR + 10 * DAY)
    terms = {"payment_behavior": behavior, "proration_behavior": "always_invoice"}
    failed = await stage.switch(subscription, TEAM, **terms)
    assert failed["status"] == "past_due"
    await stage.expects(user, sso=no("payment_past_due"), seats=yes("catalog_default", 1))
    await stage.switch(subscription, PRO, proration_behavior="none")
    until = NEW_YEAR + 17 * DAY
    await stage.expects(user, export=yes("in_grace", until=until), seats=yes("in_grace", 1, until=until))
    await stage.settle()


async def test_first_payment_that_fails_gives_nothing(stage: Stage) -> None:
    user = await stage.person(card=BAD_CARD)
    made = await stage.post("/v1/subscriptions", customer=user.customer, items=[{"price": PRO}])
    assert made["status"] == "incomplete"
    await stage.expects(user, export=no("subscription_incomplete"), seats=yes("catalog_default", 1))
    await stage.advance(NEW_YEAR + DAY)
    await stage.expects(user, export=no("subscription_incomplete"))
    await stage.settle()


async def test_first_payment_made_later_gives_everything(stage: Stage) -> None:
    user = await stage.person()
    made = await stage.post(
        "/v1/subscriptions",
        customer=user.customer,
        items=[{"price": PRO}],
        payment_behavior="default_incomplete",
    )
    await stage.expects(user, export=no("subscription_incomplete"))
    invoice = await stage.read(f"/v1/invoices/{made['latest_invoice']}?expand[]=payments")
    intent = invoice["payments"]["data"][0]["payment"]["payment_intent"]
    await stage.post(f"/v1/payment_intents/{intent}/confirm", payment_method=GOOD_CARD)
    await stage.expects(user, export=ACTIVE)
    await stage.settle()


async def test_failures_one_after_the_other_have_one_grace(stage: Stage) -> None:
    await stage.stripe.billing(after_final_failure="past_due", retry_days=[])
    user, subscription = await fail_renewal(stage)
    await stage.advance(MARCH + 2 * HOUR)
    await stage.expects(user, export=no("payment_past_due"))
    await stage.stripe.change_card(user.customer, GOOD_CARD)
    newest = (await stage.read(f"/v1/subscriptions/{subscription}"))["latest_invoice"]
    await stage.post(f"/v1/invoices/{newest}/pay")
    await stage.expects(user, export=ACTIVE)
    await stage.settle()
