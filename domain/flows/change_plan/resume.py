"""Resume: take back an end or a change that has not happened yet, or go on after a trial without a card."""

from datetime import datetime
from typing import Any

from domain.context import Context
from domain.errors import Conflict
from domain.flows.change_plan.answers import Concluded, Preview, Status, conclude
from domain.flows.change_plan.money import Cost, cost_of_next, cost_of_resumption
from domain.flows.change_plan.refusals import (
    refusals_told,
    refuse_not_running,
    refuse_paused_by_others,
)
from domain.flows.change_plan.subject import (
    Asked,
    Scene,
    Subject,
    find_subject,
    no_subscription,
    scene_of,
)
from domain.flows.change_plan.undo import clear_end, drop_unpaid_update, release_schedule
from domain.flows.sync import Syncer
from domain.model import Facts, SubscriptionItem
from domain.rules.foresight import foresee, going_on, with_items, with_subscription
from domain.rules.subscription import known_end
from domain.stripe_gateway import JsonObject


async def resume_subscription(context: Context, syncer: Syncer, asked: Asked) -> Concluded | Preview:
    """Let the group's subscription go on as it is: without the end, the change or the unpaid update that
    waits. One that is paused because its trial ended without a payment method begins its first paid period.

    Raises:
        Unknown: no such project or app, or the user never had a subscription in the group.
        Conflict: it has ended; it is paused or incomplete for another reason; Stripe refuses; another change
            is under way.
        Unavailable: Stripe or Postgres is away; asking again changes nothing twice.
    """
    async with scene_of(context, syncer, asked) as scene:
        subject, gone = await find_subject(scene)
        if subject is None:
            raise _ended(asked) if gone is not None else no_subscription(asked)
        is_paused = subject.subscription.status == "paused"
        if is_paused:
            refuse_paused_by_others(subject)
        else:
            refuse_not_running(subject)
        async with refusals_told(scene, subject):
            if asked.is_preview:
                return await _preview(scene, subject)
            do = _begin_again if is_paused else _undo
            status, awaited = await do(scene, subject)
        return await conclude(scene, subject, status, awaited=awaited)


async def _undo(scene: Scene, subject: Subject) -> tuple[Status, None]:
    undone = [
        await drop_unpaid_update(scene, subject),
        # Before the end: a schedule does not let anybody else touch that.
        await release_schedule(scene, subject),
        await clear_end(scene, subject),
    ]
    return ("changed" if any(undone) else "unchanged"), None


async def _begin_again(scene: Scene, subject: Subject) -> tuple[Status, JsonObject | None]:
    """It stays paused until its first invoice is paid: nobody gets a period for a card that fails."""
    wish: dict[str, Any] = {
        "billing_cycle_anchor": {"type": "now"},
        "payment_behavior": "resume_on_payment_success",
        "expand": ["latest_invoice"],
    }
    answer = await scene.write(f"{subject.path}/resume", wish, step="resume")
    if answer["status"] != "paused":
        return "changed", None
    return "action_required", answer["latest_invoice"]


def _ended(asked: Asked) -> Conflict:
    return Conflict(
        f"The subscription in the group {asked.group!r} has ended for good: open a checkout for a new one "
        "(POST /api/v1/checkout/session).",
        code="subscription_ended",
    )


async def _preview(scene: Scene, subject: Subject) -> Preview:
    at = _effective_at(scene, subject)
    cost = await _cost(scene, subject)
    coming = with_subscription(scene.facts, going_on(subject.subscription))
    return Preview(
        effective_at=at,
        currency=subject.currency,
        due_now_minor=cost.due_now_minor,
        credit_minor=cost.credit_minor,
        lines=cost.lines,
        next_invoice=cost.next_invoice,
        entitlements=foresee(_without_us(scene, subject), coming, scene.catalog, scene.asked.app, at),
    )


async def _cost(scene: Scene, subject: Subject) -> Cost:
    if subject.subscription.status == "paused":
        return await cost_of_resumption(scene, subject)
    is_ending = known_end(subject.subscription) is not None
    return await cost_of_next(scene, subject, {"cancel_at_period_end": False} if is_ending else {})


def _effective_at(scene: Scene, subject: Subject) -> datetime:
    """When the difference shows: at the end or change that is taken back; for a paused one at once."""
    end = known_end(subject.subscription)
    planned = subject.schedule.changes_at if subject.schedule is not None else None
    moments = [moment for moment in (end, planned) if moment is not None]
    return min(moments) if moments else scene.at


def _without_us(scene: Scene, subject: Subject) -> Facts:
    """The facts as they would be at that moment if nobody resumed."""
    schedule = subject.schedule
    if schedule is None or schedule.changes_at is None:
        return subject.facts(scene)
    items = [
        SubscriptionItem(
            item_id=f"new/{item.price_id}",
            price_id=item.price_id,
            product_id=item.product_id,
            quantity=item.quantity,
            period_start=schedule.changes_at,
            period_end=subject.period_end,
        )
        for item in schedule.items
    ]
    return with_subscription(scene.facts, with_items(subject.subscription, items))
