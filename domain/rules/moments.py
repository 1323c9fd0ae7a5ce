"""Moments at which Stripe should change a subscription by itself, and what must no longer be true then. Pure.

An event may be lost or late; at these moments Stripe is read again whether or not one came. What a moment
waits for is told by watched fields (`domain.rules.closure`): as long as a read still shows all of `still`,
the moment has not happened yet.

Source: docs.stripe.com/billing/subscriptions/overview; docs/event-path.md, "Timers".
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct

from domain.rules.closure import Watched
from domain.rules.shapes import MirroredSubscription

#: Statuses whose periods Stripe moves on by itself.
_RENEWING = frozenset({"trialing", "active", "past_due", "unpaid"})
#: Statuses from which nothing comes by itself any more.
_ENDED = frozenset({"canceled", "incomplete_expired"})


class Delays(Struct, frozen=True, kw_only=True):
    """How long after a moment Stripe is asked: it needs a while to bill what begins then."""

    trial_end: timedelta
    period_end: timedelta


class Moment(Struct, frozen=True, kw_only=True):
    #: One per kind of moment and object.
    cause: str
    at: datetime
    #: Watched fields that a read must no longer all show.
    still: Watched


def moments_of(found: MirroredSubscription, watched: Watched, delays: Delays) -> tuple[Moment, ...]:
    """The moments ahead of a subscription, or behind it and not yet seen to have happened.

    One on a test clock has none: its time moves only when somebody advances the clock, and Stripe says so
    by `test_helpers.test_clock.ready`.
    """
    if found.test_clock_id is not None or found.subscription.status in _ENDED:
        return ()
    moments = (
        Moment(cause=cause, at=at, still={name: watched[name] for name in fields if name in watched})
        for cause, (find, fields) in MOMENTS.items()
        if (at := find(found, delays)) is not None
    )
    return tuple(moment for moment in moments if moment.still)


def is_still(still: Watched, read: Watched) -> bool:
    """Whether a read shows what should no longer be true. What it does not show has changed."""
    return all(name in read and read[name] == value for name, value in still.items())


def _trial_end(found: MirroredSubscription, delays: Delays) -> datetime | None:
    end = found.subscription.trial_end
    is_waiting = found.subscription.status == "trialing" and end is not None
    return end + delays.trial_end if is_waiting and end is not None else None


def _cancel_at(found: MirroredSubscription, _delays: Delays) -> datetime | None:
    return found.subscription.cancel_at


def _resumes_at(found: MirroredSubscription, _delays: Delays) -> datetime | None:
    return found.pause_resumes_at


def _period_end(found: MirroredSubscription, delays: Delays) -> datetime | None:
    if found.subscription.status not in _RENEWING:
        return None
    # Items may renew at different times: the first of them is the next thing to happen.
    end = min((item.period_end for item in found.subscription.items), default=None)
    return end + delays.period_end if end is not None else None


_Find = Callable[[MirroredSubscription, Delays], datetime | None]

#: cause → (when, the watched fields that stay as they are until it has happened)
MOMENTS: dict[str, tuple[_Find, tuple[str, ...]]] = {
    "trial_end": (_trial_end, ("status", "trial_end")),
    "cancel_at": (_cancel_at, ("status", "cancel_at")),
    "resumes_at": (_resumes_at, ("pause_collection",)),
    "period_end": (_period_end, ("status", "period_end")),
}
