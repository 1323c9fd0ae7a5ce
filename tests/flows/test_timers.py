"""Moments at which Stripe should have done something: it is read again, whether or not an event came."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from domain.flows.sweep import fire_timers
from domain.settings import Settings
from tests.flows.event_path import EventPath, running_path

HOUR = 3600


async def subscribe(path: EventPath) -> str:
    """A linked customer with one active subscription, synced; answers the subscription's id."""
    customer = await path.make_customer()
    await path.buy(customer, "pro", "month")
    return await sync_event(path, "customer.subscription.created")


async def sync_event(path: EventPath, event_type: str) -> str:
    event = (await path.events(types=[event_type]))[-1]
    await path.deliver(event)
    await path.drain()
    return str(event["data"]["object"]["id"])


async def change(path: EventPath, subscription: str, **fields: Any) -> None:
    """Stripe changes the subscription and the event reaches us."""
    await path.stripe.change_subscription(subscription, **fields)
    await sync_event(path, "customer.subscription.updated")


async def timers(path: EventPath, cause: str) -> list[dict[str, Any]]:
    return await path.rows(
        """
        SELECT due_at = 'infinity' AS rests, payload::text AS payload,
               extract(epoch FROM CASE WHEN due_at < 'infinity' THEN due_at END)::float8 AS due_s
        FROM timers WHERE cause = $1
        """,
        cause,
    )


async def fire(path: EventPath, cause: str) -> int:
    await path.make_due(cause)
    return len(await fire_timers(path.context))


async def test_an_active_subscription_is_read_again_ten_minutes_after_its_period(path: EventPath) -> None:
    subscription = await subscribe(path)
    (item,) = await path.rows("SELECT extract(epoch FROM period_end)::float8 AS s FROM subscription_items")
    (timer,) = await timers(path, "period_end")
    assert timer["due_s"] == item["s"] + 600
    # The renewal's events never came: the timer is what notices that payment has failed.
    await path.stripe.change_subscription(subscription, status="past_due")
    assert await fire(path, "period_end") == 1
    await path.drain()
    (row,) = await path.rows("SELECT status FROM subscriptions")
    assert row["status"] == "past_due"
    events = await path.rows("SELECT type, state FROM webhook_events WHERE source = 'timer'")
    assert events == [{"type": "tollhouse.period_end", "state": "processed"}]


@pytest.mark.parametrize(
    ("cause", "before", "after"),
    [
        ("trial_end", {"status": "trialing"}, {"status": "active"}),
        ("cancel_at", {}, {"status": "canceled", "ended_at": 1_800_000_000}),
        ("resumes_at", {}, {"pause_collection": None}),
    ],
)
async def test_a_moment_whose_events_were_lost_is_noticed_by_its_timer(
    path: EventPath, cause: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    moment = int(time.time()) + HOUR
    moments: dict[str, dict[str, Any]] = {
        "trial_end": {"trial_end": moment},
        "cancel_at": {"cancel_at": moment},
        "resumes_at": {"pause_collection": {"behavior": "void", "resumes_at": moment}},
    }
    subscription = await subscribe(path)
    await change(path, subscription, **before, **moments[cause])
    (timer,) = await timers(path, cause)
    assert timer["due_s"] == moment + (60 if cause == "trial_end" else 0)
    await path.stripe.change_subscription(subscription, **after)
    assert await fire(path, cause) == 1
    await path.drain()
    assert await timers(path, cause) == []
    (row,) = await path.rows("SELECT status, pause_behavior FROM subscriptions")
    assert row == {"status": after.get("status", "active"), "pause_behavior": None}


async def test_a_moment_that_does_not_come_is_looked_at_three_more_times_and_then_rests(
    settings: Settings,
) -> None:
    async with running_path(settings, recheck_s=15.0) as path:
        subscription = await subscribe(path)
        await change(path, subscription, status="trialing", trial_end=int(time.time()) + HOUR)
        for count in range(1, 4):
            assert await fire(path, "trial_end") == 1
            await path.drain()
            # Its moment was an hour away when it was brought forward; now it is set by what was seen.
            (timer,) = await timers(path, "trial_end")
            assert msgspec.json.decode(timer["payload"])["count"] == count
        assert await fire(path, "trial_end") == 1
        await path.drain()
        (timer,) = await timers(path, "trial_end")
        assert timer["rests"] is True
        assert await fire(path, "trial_end") == 0
        # Another event of an unchanged subscription does not wake it…
        await change(path, subscription, metadata={"note": "x"})
        (timer,) = await timers(path, "trial_end")
        assert timer["rests"] is True
        # … a changed one does.
        await change(path, subscription, trial_end=int(time.time()) + 2 * HOUR)
        (timer,) = await timers(path, "trial_end")
        assert timer["rests"] is False


async def test_a_moment_already_past_is_looked_at_in_a_while_never_now(settings: Settings) -> None:
    async with running_path(settings, recheck_s=15.0) as path:
        subscription = await subscribe(path)
        # Stripe is late with the trial's end; otherwise it would do it within the second.
        await path.stripe.post("clock", stands=True)
        await change(path, subscription, status="trialing", trial_end=int(time.time()) - HOUR)
        (timer,) = await timers(path, "trial_end")
        assert 10 < timer["due_s"] - time.time() <= 15
        assert await fire_timers(path.context) == []


async def test_a_wish_that_no_longer_holds_is_removed_and_one_that_moved_is_moved(path: EventPath) -> None:
    subscription = await subscribe(path)
    first, second = (int(time.time()) + hours * HOUR for hours in (1, 2))
    await change(path, subscription, cancel_at=first)
    assert [timer["due_s"] for timer in await timers(path, "cancel_at")] == [first]
    await change(path, subscription, cancel_at=second)
    assert [timer["due_s"] for timer in await timers(path, "cancel_at")] == [second]
    await change(path, subscription, cancel_at=None)
    assert await timers(path, "cancel_at") == []
    await change(path, subscription, status="canceled", ended_at=int(time.time()))
    assert await timers(path, "period_end") == []


async def test_a_subscription_on_a_test_clock_has_no_timers(path: EventPath) -> None:
    subscription = await subscribe(path)
    await change(path, subscription, cancel_at=int(time.time()) + HOUR)
    await change(path, subscription, test_clock="clock_1")
    assert await path.rows("SELECT cause FROM timers WHERE cause <> 'recheck'") == []


async def test_a_moment_fired_by_two_schedulers_at_once_is_one_event(path: EventPath) -> None:
    await subscribe(path)
    await path.make_due("period_end")
    fired = await asyncio.gather(*(fire_timers(path.context) for _ in range(5)))
    assert sum(len(owed) for owed in fired) == 1
    await path.drain()
    assert len(await path.rows("SELECT 1 FROM webhook_events WHERE source = 'timer'")) == 1
    assert len(await timers(path, "period_end")) == 1


async def test_a_crash_between_the_event_of_a_timer_and_its_sync_loses_nothing(path: EventPath) -> None:
    subscription = await subscribe(path)
    await path.stripe.change_subscription(subscription, status="canceled", ended_at=int(time.time()))
    # The scheduler fires and dies before it rings; the timer is gone, the event stands.
    assert await fire(path, "period_end") == 1
    assert await timers(path, "period_end") == []
    assert await path.count_owed() == 1
    await path.drain()
    assert not await path.is_granted()
