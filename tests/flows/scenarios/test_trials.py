"""Trials: how they end, and that nobody who pays loses a second."""

from typing import Any

import pytest

from tests.flows.scenarios.stage import BAD_CARD, DAY, HOUR, NEW_YEAR, SECOND, Stage, no, yes

TEAM = "price_acme.team.month"
TRIAL_END = NEW_YEAR + 14 * DAY
BILLED = TRIAL_END + HOUR
TRIALING = yes("subscription_trialing")
#: What a trial whose end Stripe has not told of holds for at most: `settle_hours`.
SETTLED = TRIAL_END + DAY


async def begin(stage: Stage) -> tuple[Any, str]:
    user = await stage.person()
    data = {"trial_period_days": 14}
    return user, await stage.subscribe(user, TEAM, subscription_data=data)


async def test_trial_that_converts_goes_on_without_a_gap(stage: Stage) -> None:
    user, _ = await begin(stage)
    await stage.expects(user, sso=TRIALING, seats=yes("subscription_trialing", 5))
    await stage.expects(user, sso=TRIALING, at=SETTLED - SECOND)
    await stage.expects(user, sso=no("status_unknown"), at=SETTLED)
    for moment in (TRIAL_END - SECOND, TRIAL_END, BILLED, BILLED + 2 * DAY):
        await stage.advance(moment)
        await stage.expects(user, sso=TRIALING if moment < TRIAL_END else yes("subscription_active"))
    await stage.settle()


async def test_trial_set_to_cancel_ends_with_its_last_second_and_is_never_billed(stage: Stage) -> None:
    user, subscription = await begin(stage)
    await stage.change(subscription, cancel_at_period_end=True)
    await stage.expects(user, sso=yes("subscription_trialing", until=TRIAL_END))
    await stage.expects(user, sso=no("subscription_canceled"), at=TRIAL_END)
    await stage.advance(TRIAL_END)
    await stage.expects(user, sso=no("subscription_canceled"))
    await stage.settle()


async def test_trial_whose_card_fails_has_the_short_grace(stage: Stage) -> None:
    user, _ = await begin(stage)
    await stage.stripe.change_card(user.customer, BAD_CARD)
    await stage.advance(BILLED)
    over = BILLED + 3 * DAY
    await stage.expects(user, sso=yes("in_grace", until=over), seats=yes("in_grace", 5, until=over))
    await stage.expects(user, sso=no("payment_past_due"), at=over)
    await stage.advance(over)
    await stage.expects(user, sso=no("payment_past_due"), seats=yes("catalog_default", 1))
    await stage.settle()


@pytest.mark.parametrize(("missing", "reason"), [("cancel", "canceled"), ("pause", "paused")])
async def test_trial_without_a_card_ends_as_its_settings_say(stage: Stage, missing: str, reason: str) -> None:
    user = await stage.person()
    behavior = {"end_behavior": {"missing_payment_method": missing}}
    made = await stage.post(
        "/v1/subscriptions",
        customer=user.customer,
        items=[{"price": TEAM}],
        trial_period_days=14,
        trial_settings=behavior,
    )
    assert made["status"] == "trialing"
    await stage.expects(user, sso=TRIALING)
    await stage.advance(TRIAL_END)
    await stage.expects(user, sso=no(f"subscription_{reason}"))
    await stage.settle()


async def test_trial_that_is_extended_holds_until_its_new_end(stage: Stage) -> None:
    user, subscription = await begin(stage)
    later = NEW_YEAR + 30 * DAY
    await stage.change(subscription, trial_end=int(later.timestamp()))
    await stage.expects(user, sso=TRIALING, at=TRIAL_END + 2 * DAY)
    await stage.advance(TRIAL_END + DAY)
    await stage.expects(user, sso=TRIALING)
    await stage.advance(later + HOUR)
    await stage.expects(user, sso=yes("subscription_active"))
    await stage.settle()


async def test_trial_that_is_ended_now_is_paid_now(stage: Stage) -> None:
    user, subscription = await begin(stage)
    await stage.advance(NEW_YEAR + 4 * DAY)
    await stage.change(subscription, trial_end="now")
    await stage.expects(user, sso=yes("subscription_active"), seats=yes("subscription_active", 5))
    await stage.advance(TRIAL_END + 2 * DAY)
    await stage.expects(user, sso=yes("subscription_active"))
    await stage.settle()


async def test_trial_that_is_ended_now_by_a_card_that_fails_has_the_short_grace(stage: Stage) -> None:
    user, subscription = await begin(stage)
    await stage.stripe.change_card(user.customer, BAD_CARD)
    now = NEW_YEAR + 4 * DAY
    await stage.advance(now)
    await stage.change(subscription, trial_end="now")
    await stage.expects(user, sso=yes("in_grace", until=now + 3 * DAY))
    await stage.settle()
