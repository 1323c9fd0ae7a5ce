"""Take back what still waits: a schedule's next phase, an update whose payment is missing, an end."""

from domain.errors import ObjectMissing
from domain.flows.change_plan.subject import Scene, Subject


async def release_schedule(scene: Scene, subject: Subject) -> bool:
    """The subscription goes on as it is. Answers whether a schedule managed it."""
    if subject.schedule is None:
        return False
    await scene.write(
        f"/v1/subscription_schedules/{subject.schedule.schedule_id}/release", {}, step="release"
    )
    return True


async def drop_unpaid_update(scene: Scene, subject: Subject) -> bool:
    """An update that waits for its payment goes with its invoice. Answers whether there was one.

    Otherwise the customer could still pay it, and get a change that somebody has thought better of.
    """
    invoice = subject.answer.get("latest_invoice")
    if subject.answer.get("pending_update") is None or not isinstance(invoice, dict):
        return False
    if invoice.get("status") == "open":
        try:
            await scene.write(f"/v1/invoices/{invoice['id']}/void", {}, step="void")
        except ObjectMissing:
            return False
    return True


async def clear_end(scene: Scene, subject: Subject) -> bool:
    """Answers whether an end was set."""
    subscription = subject.subscription
    if subscription.cancel_at_period_end:
        wish: dict[str, object] = {"cancel_at_period_end": False}
    elif subscription.cancel_at is not None:
        wish = {"cancel_at": ""}
    else:
        return False
    await scene.write(subject.path, wish, step="clear_end")
    return True
