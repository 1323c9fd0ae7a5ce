"""Disputes: opened, won, lost and appealed, about a purchase and about a subscription's renewal."""

from typing import Any

from tests.flows.scenarios.finale import Person
from tests.flows.scenarios.stage import DAY, FIRST_ATTEMPT, HOUR, MARCH, NEW_YEAR, Stage, no, yes

PRO, PASS = "price_acme.pro.month", "price_acme.pass.once"
ENDS = NEW_YEAR + 30 * DAY
BOUGHT, ACTIVE, DISPUTED = yes("purchase", until=ENDS), yes("subscription_active"), no("disputed")


async def dispute_purchase(stage: Stage, **wish: Any) -> tuple[Person, str]:
    user = await stage.person()
    session = await stage.buy(user, PASS)
    await stage.expects(user, export=BOUGHT)
    return user, (await stage.stripe.dispute(session["id"], **wish))["id"]


async def dispute_renewal(stage: Stage, **wish: Any) -> tuple[Person, str]:
    """The second month is paid, then disputed."""
    user = await stage.person()
    subscription = await stage.subscribe(user, PRO)
    await stage.advance(FIRST_ATTEMPT)
    await stage.expects(user, export=ACTIVE)
    latest = (await stage.read(f"/v1/subscriptions/{subscription}"))["latest_invoice"]
    return user, (await stage.stripe.dispute(latest, **wish))["id"]


async def test_inquiry_about_a_purchase_is_flagged_and_closed(stage: Stage) -> None:
    user, dispute = await dispute_purchase(stage, status="warning_needs_response")
    flagged = yes("purchase", until=ENDS, flags=["dispute_inquiry"])
    await stage.expects(user, export=flagged)
    await stage.stripe.move_dispute(dispute, "warning_under_review")
    await stage.expects(user, export=flagged)
    await stage.stripe.move_dispute(dispute, "warning_closed")
    await stage.expects(user, export=BOUGHT)
    await stage.settle()


async def test_disputed_purchase_is_suspended_until_it_is_won(stage: Stage) -> None:
    user, dispute = await dispute_purchase(stage)
    await stage.expects(user, export=DISPUTED, projects=yes("catalog_default", 3))
    await stage.advance(NEW_YEAR + 5 * DAY)
    await stage.stripe.move_dispute(dispute, "under_review")
    await stage.expects(user, export=DISPUTED)
    await stage.stripe.move_dispute(dispute, "won")
    await stage.expects(user, export=BOUGHT)
    await stage.settle()


async def test_lost_purchase_is_over_and_an_appeal_restores_it_only_when_won(stage: Stage) -> None:
    user, dispute = await dispute_purchase(stage)
    for status in ("lost", "appeal_needs_response", "appeal_under_review"):
        await stage.stripe.move_dispute(dispute, status)
        await stage.expects(user, export=DISPUTED)
    await stage.stripe.move_dispute(dispute, "won")
    await stage.expects(user, export=BOUGHT)
    await stage.settle()


async def test_prevented_dispute_is_a_refund(stage: Stage) -> None:
    user, _ = await dispute_purchase(stage, status="prevented")
    await stage.expects(user, export=no("refunded"))
    await stage.settle()


async def test_disputed_pass_holds_no_place_in_the_fold(stage: Stage) -> None:
    user, dispute = await dispute_purchase(stage)
    await stage.buy(user, PASS)
    await stage.expects(user, export=BOUGHT)
    await stage.stripe.move_dispute(dispute, "won")
    await stage.expects(user, export=yes("purchase", until=NEW_YEAR + 60 * DAY))
    await stage.settle()


async def test_disputed_renewal_suspends_until_it_is_won(stage: Stage) -> None:
    user, dispute = await dispute_renewal(stage)
    await stage.expects(user, export=DISPUTED, seats=yes("catalog_default", 1))
    await stage.stripe.move_dispute(dispute, "under_review")
    await stage.stripe.move_dispute(dispute, "won")
    await stage.expects(user, export=ACTIVE)
    await stage.settle()


async def test_lost_renewal_is_settled_by_the_next_payment(stage: Stage) -> None:
    user, dispute = await dispute_renewal(stage)
    await stage.stripe.move_dispute(dispute, "lost")
    await stage.advance(MARCH)
    await stage.expects(user, export=DISPUTED)
    await stage.advance(MARCH + HOUR)
    await stage.expects(user, export=ACTIVE)
    await stage.stripe.move_dispute(dispute, "appeal_needs_response")
    await stage.expects(user, export=ACTIVE)
    await stage.settle()


async def test_dispute_of_an_older_payment_suspends_nothing(stage: Stage) -> None:
    user = await stage.person()
    subscription = await stage.subscribe(user, PRO)
    first = (await stage.read(f"/v1/subscriptions/{subscription}"))["latest_invoice"]
    await stage.advance(FIRST_ATTEMPT)
    await stage.stripe.dispute(first)
    await stage.expects(user, export=ACTIVE)
    await stage.settle()


async def test_inquiry_about_a_renewal_is_flagged(stage: Stage) -> None:
    user, dispute = await dispute_renewal(stage, status="warning_needs_response")
    await stage.expects(user, export=yes("subscription_active", flags=["dispute_inquiry"]))
    await stage.stripe.move_dispute(dispute, "needs_response")
    await stage.expects(user, export=DISPUTED)
    await stage.settle()
