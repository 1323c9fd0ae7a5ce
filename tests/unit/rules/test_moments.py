"""When a subscription is looked at again although nobody said anything."""

from datetime import UTC, datetime, timedelta
from typing import Any

from domain.rules.closure import watched_fields
from domain.rules.moments import Delays, Moment, is_still, moments_of
from domain.rules.shapes import parse_subscription

DAY = 86_400
START = 1_800_000_000
DELAYS = Delays(trial_end=timedelta(minutes=1), period_end=timedelta(minutes=10))


def answer(*period_ends: int, **changes: Any) -> dict[str, Any]:
    items = [
        {
            "id": f"si_{number}",
            "price": {"id": "price_1", "product": "prod_1"},
            "current_period_start": START,
            "current_period_end": end,
        }
        for number, end in enumerate(period_ends or (START + 30 * DAY,))
    ]
    return {
        "id": "sub_1",
        "object": "subscription",
        "customer": "cus_1",
        "status": "active",
        "created": START,
        "items": {"data": items},
        **changes,
    }


def moments(found: dict[str, Any]) -> dict[str, Moment]:
    watched = watched_fields("subscription", found)
    return {moment.cause: moment for moment in moments_of(parse_subscription(found), watched, DELAYS)}


def at(unix_s: int) -> datetime:
    return datetime.fromtimestamp(unix_s, tz=UTC)


def test_a_trial_is_looked_at_a_minute_after_its_end() -> None:
    trial = answer(status="trialing", trial_end=START + DAY)
    moment = moments(trial)["trial_end"]
    assert moment.at == at(START + DAY + 60)
    assert is_still(moment.still, watched_fields("subscription", trial))
    assert not is_still(moment.still, watched_fields("subscription", {**trial, "status": "active"}))
    longer = {**trial, "trial_end": START + 2 * DAY}
    assert not is_still(moment.still, watched_fields("subscription", longer))


def test_a_trial_that_is_over_is_not_looked_at() -> None:
    assert "trial_end" not in moments(answer(status="active", trial_end=START))


def test_a_scheduled_cancellation_is_looked_at_at_its_instant() -> None:
    canceling = answer(cancel_at=START + DAY)
    moment = moments(canceling)["cancel_at"]
    assert moment.at == at(START + DAY)
    assert not is_still(moment.still, watched_fields("subscription", {**canceling, "cancel_at": None}))


def test_a_pause_is_looked_at_when_it_should_end() -> None:
    paused = answer(pause_collection={"behavior": "void", "resumes_at": START + DAY})
    moment = moments(paused)["resumes_at"]
    assert moment.at == at(START + DAY)
    assert not is_still(moment.still, watched_fields("subscription", {**paused, "pause_collection": None}))


def test_a_pause_without_an_end_is_not_looked_at() -> None:
    paused = answer(pause_collection={"behavior": "void", "resumes_at": None})
    assert "resumes_at" not in moments(paused)


def test_a_renewal_is_looked_at_ten_minutes_after_the_first_period_that_ends() -> None:
    renewing = answer(START + 30 * DAY, START + 365 * DAY)
    moment = moments(renewing)["period_end"]
    assert moment.at == at(START + 30 * DAY + 600)
    assert is_still(moment.still, watched_fields("subscription", renewing))
    renewed = answer(START + 60 * DAY, START + 365 * DAY)
    assert not is_still(moment.still, watched_fields("subscription", renewed))


def test_statuses_whose_periods_stand_still_are_not_looked_at() -> None:
    for status in ("paused", "incomplete", "canceled", "incomplete_expired", "new_status"):
        assert "period_end" not in moments(answer(status=status)), status


def test_nothing_is_expected_of_an_ended_subscription() -> None:
    assert moments(answer(status="canceled", cancel_at=START + DAY, trial_end=START)) == {}


def test_on_a_test_clock_no_real_time_is_waited_for() -> None:
    assert moments(answer(test_clock="clock_1", cancel_at=START + DAY)) == {}
