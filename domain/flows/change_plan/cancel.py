"""Cancel: the end of a subscription, at once or with the running period."""

from domain.context import Context
from domain.errors import Conflict, ObjectMissing
from domain.flows.change_plan.answers import Concluded, Preview, Status, conclude
from domain.flows.change_plan.money import cost_of_end
from domain.flows.change_plan.refusals import refusals_told
from domain.flows.change_plan.subject import (
    Asked,
    Scene,
    Subject,
    When,
    find_subject,
    no_subscription,
    scene_of,
)
from domain.flows.change_plan.undo import drop_unpaid_update, release_schedule
from domain.flows.sync import Syncer
from domain.rules.foresight import ended, ending, foresee, with_subscription
from domain.rules.subscription import known_end


async def cancel_subscription(
    context: Context, syncer: Syncer, asked: Asked, when: When
) -> Concluded | Preview:
    """End the group's subscription. Nothing is given back for the time that is left.

    One that has ended is `unchanged`, and so is one that ends as early already.

    Raises:
        Unknown: no such project or app, or the user never had a subscription in the group.
        Conflict: the first payment is missing and the end is asked for the period's; another change is under
            way.
        Unavailable: Stripe or Postgres is away; asking again changes nothing twice.
    """
    async with scene_of(context, syncer, asked) as scene:
        subject, gone = await find_subject(scene)
        if subject is None and gone is None:
            raise no_subscription(asked)
        if subject is None or gone is not None:
            return await _nothing_left(scene, gone or subject)
        _refuse(subject, when)
        async with refusals_told(scene, subject):
            if asked.is_preview:
                return await _preview(scene, subject, when)
            status = await (_end_now(scene, subject) if when == "now" else _end_later(scene, subject))
        return await conclude(scene, subject, status)


def _refuse(subject: Subject, when: When) -> None:
    if subject.subscription.status == "incomplete" and when == "period_end":
        raise Conflict(
            "The first payment of this subscription is missing, so no period runs: cancel it now.",
            code="subscription_incomplete",
        )


async def _end_now(scene: Scene, subject: Subject) -> Status:
    await drop_unpaid_update(scene, subject)
    await release_schedule(scene, subject)
    try:
        await scene.context.stripe_or_raise.delete(subject.path)
    except ObjectMissing:
        # It ended between our read and this call.
        return "unchanged"
    return "changed"


async def _end_later(scene: Scene, subject: Subject) -> Status:
    end = known_end(subject.subscription)
    if end is not None and end <= subject.period_end:
        return "unchanged"
    await drop_unpaid_update(scene, subject)
    await release_schedule(scene, subject)
    await scene.write(subject.path, {"cancel_at_period_end": True}, step="end")
    return "scheduled"


async def _nothing_left(scene: Scene, gone: Subject | None) -> Concluded | Preview:
    if gone is None:
        raise no_subscription(scene.asked)
    if not scene.asked.is_preview:
        return await conclude(scene, gone, "unchanged")
    return Preview(
        effective_at=scene.at,
        currency=gone.currency,
        due_now_minor=0,
        credit_minor=0,
        lines=(),
        next_invoice=None,
        entitlements=(),
    )


async def _preview(scene: Scene, subject: Subject, when: When) -> Preview:
    at = scene.at if when == "now" else subject.period_end
    details = {"cancel_now": True} if when == "now" else {"cancel_at_period_end": True}
    cost = await cost_of_end(scene, subject, details)
    present = subject.facts(scene)
    end = ended if when == "now" else ending
    coming = with_subscription(present, end(subject.subscription, at))
    return Preview(
        effective_at=at,
        currency=subject.currency,
        due_now_minor=cost.due_now_minor,
        credit_minor=cost.credit_minor,
        lines=cost.lines,
        next_invoice=cost.next_invoice,
        entitlements=foresee(present, coming, scene.catalog, scene.asked.app, at),
    )
