"""Pauses: of collection (a field, the status stays) and of the subscription (a status)."""

import pytest

from tests.flows.scenarios.finale import Person
from tests.flows.scenarios.stage import DAY, FEBRUARY, HOUR, MARCH, NEW_YEAR, SECOND, Stage, no, yes

PRO = "price_acme.pro.month"
ACTIVE = yes("subscription_active")
MIDDLE = NEW_YEAR + 15 * DAY


async def begin(stage: Stage) -> tuple[Person, str]:
    user = await stage.person()
    subscription = await stage.subscribe(user, PRO)
    await stage.advance(MIDDLE)
    return user, subscription


@pytest.mark.parametrize("behavior", ["keep_as_draft", "mark_uncollectible"])
async def test_paused_collection_that_only_defers_keeps_access(stage: Stage, behavior: str) -> None:
    user, subscription = await begin(stage)
    await stage.change(subscription, pause_collection={"behavior": behavior})
    await stage.expects(user, export=ACTIVE)
    await stage.advance(FEBRUARY + 2 * HOUR)
    await stage.expects(user, export=ACTIVE)
    await stage.expects(user, export=ACTIVE, at=MARCH)
    await stage.change(subscription, pause_collection="")
    await stage.advance(MARCH + 2 * HOUR)
    await stage.expects(user, export=ACTIVE)
    await stage.settle()


async def test_paused_collection_that_voids_keeps_what_was_paid_for(stage: Stage) -> None:
    user, subscription = await begin(stage)
    await stage.change(subscription, pause_collection={"behavior": "void"})
    await stage.expects(user, export=yes("subscription_active", until=FEBRUARY))
    await stage.expects(user, export=no("subscription_paused"), at=FEBRUARY)
    await stage.advance(FEBRUARY - SECOND)
    await stage.expects(user, export=yes("subscription_active", until=FEBRUARY))
    await stage.advance(FEBRUARY + 2 * HOUR)
    await stage.expects(user, export=no("subscription_paused"), seats=yes("catalog_default", 1))
    await stage.change(subscription, pause_collection="")
    await stage.expects(user, export=ACTIVE)
    await stage.advance(MARCH + 2 * HOUR)
    await stage.expects(user, export=ACTIVE)
    await stage.settle()


async def test_paused_collection_resumes_by_itself_at_its_moment(stage: Stage) -> None:
    user, subscription = await begin(stage)
    resumes_at = FEBRUARY + 5 * DAY
    wish = {"behavior": "void", "resumes_at": int(resumes_at.timestamp())}
    await stage.change(subscription, pause_collection=wish)
    await stage.advance(resumes_at - SECOND)
    await stage.expects(user, export=no("subscription_paused"))
    await stage.advance(resumes_at)
    await stage.expects(user, export=ACTIVE)
    await stage.settle()


async def test_paused_subscription_gives_nothing_until_it_is_resumed(stage: Stage) -> None:
    user, subscription = await begin(stage)
    await stage.post(f"/v1/subscriptions/{subscription}/pause")
    await stage.expects(user, export=no("subscription_paused"), seats=yes("catalog_default", 1))
    await stage.advance(FEBRUARY + 10 * DAY)
    await stage.expects(user, export=no("subscription_paused"))
    await stage.post(f"/v1/subscriptions/{subscription}/resume")
    await stage.expects(user, export=ACTIVE)
    await stage.settle()


async def test_resumption_whose_payment_fails_falls_behind_in_grace(stage: Stage) -> None:
    user, subscription = await begin(stage)
    unused = {"unused_time_from": {"type": "none"}}
    await stage.post(f"/v1/subscriptions/{subscription}/pause", bill_for=unused)
    await stage.stripe.change_card(user.customer, "pm_card_chargeCustomerFail")
    await stage.advance(MIDDLE + DAY)
    resumed = await stage.post(f"/v1/subscriptions/{subscription}/resume")
    assert resumed["status"] == "past_due"
    await stage.expects(user, export=yes("in_grace", until=MIDDLE + 8 * DAY))
    await stage.settle()


async def test_resumption_that_waits_for_its_payment_stays_paused(stage: Stage) -> None:
    user, subscription = await begin(stage)
    unused = {"unused_time_from": {"type": "none"}}
    await stage.post(f"/v1/subscriptions/{subscription}/pause", bill_for=unused)
    await stage.stripe.change_card(user.customer, "pm_card_chargeCustomerFail")
    terms = {"payment_behavior": "resume_on_payment_success"}
    waiting = await stage.post(f"/v1/subscriptions/{subscription}/resume", **terms)
    await stage.expects(user, export=no("subscription_paused"))
    await stage.stripe.change_card(user.customer, "pm_card_visa")
    await stage.post(f"/v1/invoices/{waiting['latest_invoice']}/pay")
    await stage.expects(user, export=ACTIVE)
    await stage.settle()
