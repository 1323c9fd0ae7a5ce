"""Moments as timers: what Stripe should do by itself is looked at when it should have happened.

A lost or late webhook then costs a minute, not a month of wrong answers (docs/event-path.md, "Timers").
"""

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from domain.context import Context
from domain.flows.fetch import Fetched
from domain.flows.judge import Wish, wish_of
from domain.model import PendingEvent, TargetRef
from domain.rules.closure import MAX_RECHECKS
from domain.rules.moments import MOMENTS, Delays, Moment, moments_of
from domain.store import timers
from domain.store.session import Connection
from domain.store.timers import NewTimer

_encode = msgspec.json.Encoder(order="deterministic").encode


async def set_moments(
    context: Context,
    connection: Connection,
    target: TargetRef,
    events: Sequence[PendingEvent],
    fetched: Fetched,
) -> None:
    """The timers of every subscription read in this run, in COMMIT's transaction.

    A moment that has fired and is not there yet is looked at again `recheck_s` later, at most three times;
    then it rests until the subscription changes.
    """
    subscriptions = fetched.subscriptions
    mine = {key: found for key, found in subscriptions.items() if found.customer_id == target.stripe_id}
    if not mine:
        return
    delays = Delays(
        trial_end=timedelta(seconds=context.settings.trial_end_delay_s),
        period_end=timedelta(seconds=context.settings.period_end_delay_s),
    )
    wished = [
        _timer(subscription_id, moment, events)
        for subscription_id, found in sorted(mine.items())
        for moment in moments_of(found, fetched.watched["subscription", subscription_id], delays)
    ]
    await timers.replace_moments(
        connection,
        target,
        "subscription",
        sorted(mine),
        wished,
        causes=tuple(MOMENTS),
        again_s=context.settings.recheck_s,
    )


def _timer(object_id: str, moment: Moment, events: Sequence[PendingEvent]) -> NewTimer:
    looks = [
        wish.count + 1
        for event in events
        if (event.object_kind, event.object_id) == ("subscription", object_id)
        and event.type == f"tollhouse.{moment.cause}"
        and (wish := wish_of(event)).still == moment.still
    ]
    count = max(looks, default=0)
    return NewTimer(
        object_id=object_id,
        cause=moment.cause,
        due_at=moment.at,
        payload=_encode(Wish(count=count, still=moment.still)),
        is_exhausted=count > MAX_RECHECKS,
    )
