"""What a change at once takes back for its own sake stands again where nothing becomes of that change.

A schedule has to go first, or its next phase would undo the change. Stripe's refusal is certain, so the plan
is put back before the caller is answered. An outage or a deadline leaves open what Stripe has done: then the
subscription is looked at again, a little later, and what was planned comes back unless the change has
happened. The group is still held for this call then. A process that is killed puts nothing back.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domain.errors import Unavailable
from domain.flows.change_plan.schedule import SCHEDULES, put_back
from domain.flows.change_plan.subject import Scene, Subject
from domain.flows.sync_now import wish_sync
from domain.model import Subscription
from domain.rules.shapes import parse_subscription
from domain.stripe_gateway import StripeRefused
from domain.telemetry import get_logger

log = get_logger()

#: Looks at Stripe, each twice as late as the one before: over before the lease that a failed call leaves.
LOOKS = 4

#: The loop keeps tasks by weak references only.
_unfinished: set[asyncio.Task[None]] = set()


@asynccontextmanager
async def planned_again(scene: Scene, subject: Subject) -> AsyncIterator[None]:
    """For the calls of a change at once, the release of what waits among them."""
    try:
        yield
    except StripeRefused:
        try:
            await _put_back_released(scene, subject)
        except StripeRefused as refused:
            _tell_lost(subject, refused.reason)
        except Unavailable:
            _look_later(scene, subject)
        raise
    except (Unavailable, asyncio.CancelledError):
        _look_later(scene, subject)
        raise


def _look_later(scene: Scene, subject: Subject) -> None:
    if subject.schedule is None:
        return
    task = asyncio.create_task(_look_until_seen(scene, subject))
    _unfinished.add(task)
    task.add_done_callback(_unfinished.discard)


async def _look_until_seen(scene: Scene, subject: Subject) -> None:
    for number in range(LOOKS):
        await asyncio.sleep(scene.context.settings.retry_base_s * 2**number)
        try:
            is_back = await _look(scene, subject)
            objects = [("subscription", subject.id)]
            await wish_sync(scene.context, subject.customer_id, objects, cause="subscription_change")
        except Unavailable:
            continue
        except StripeRefused as refused:
            _tell_lost(subject, refused.reason)
        else:
            log.info("planned_change_looked_after", subscription=subject.id, is_back=is_back)
        return
    _tell_lost(subject, "unavailable")


async def _look(scene: Scene, subject: Subject) -> bool:
    """Put back what was planned, where the subscription is as it was but for that. Whether it was needed."""
    if subject.schedule is None:
        return False
    stripe = scene.context.stripe_or_raise
    now = await stripe.read(subject.path, scene.reserve)
    is_as_before = _terms(parse_subscription(now).subscription) == _terms(subject.subscription)
    if now["schedule"] is not None or now.get("pending_update") is not None or not is_as_before:
        return False
    return await _put_back_released(scene, subject)


async def _put_back_released(scene: Scene, subject: Subject) -> bool:
    """Whether the schedule was released."""
    if subject.schedule is None:
        return False
    path = f"{SCHEDULES}/{subject.schedule.schedule_id}"
    schedule = await scene.context.stripe_or_raise.read(path, scene.reserve)
    if schedule["status"] != "released":
        return False
    await put_back(scene, subject, schedule)
    return True


def _terms(subscription: Subscription) -> tuple[object, ...]:
    items = sorted((item.price_id, item.quantity or 0) for item in subscription.items)
    return subscription.status, subscription.cancel_at, subscription.cancel_at_period_end, items


def _tell_lost(subject: Subject, reason: str | None) -> None:
    log.warning("planned_change_lost", subscription=subject.id, reason=reason)
