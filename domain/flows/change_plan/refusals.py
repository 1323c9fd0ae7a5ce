"""What stands against a change: the subscription's own state, or Stripe's refusal; with what to do next."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domain.errors import Conflict, FieldError, Invalid, Rejected
from domain.flows.change_plan.subject import Scene, Subject
from domain.flows.sync_now import wish_sync
from domain.stripe_gateway import StripeRefused

#: Causes of `paused` that a payment ends.
_UNPAID = frozenset({"first_payment_failure", "final_payment_failure"})
#: Somebody has stopped the whole subscription, or it never began.
_NOT_RUNNING = frozenset({"incomplete", "paused"})
#: What waited is taken back before the call that Stripe refuses, as a schedule would undo that one later. A
#: planned change is put back then, if Stripe lets us (`restore`). An unpaid update is dropped only once
#: Stripe has previewed the other change, so it is lost where Stripe refuses all the same.
_KEPT = (
    "the subscription keeps its items, but a change or end that was planned may be taken back "
    "(GET /api/v1/billing shows it)"
)


def refuse_not_running(subject: Subject) -> None:
    """Raises: Conflict, while the first payment is missing or it is paused: no period runs."""
    status = subject.subscription.status
    if status == "incomplete":
        raise Conflict(
            f"The first payment of this subscription is missing: {_pay(subject)}, or cancel it now.",
            code="subscription_incomplete",
        )
    if status in _NOT_RUNNING:
        raise Conflict(
            f"This subscription is paused: {_way_back(subject)}.",
            code="subscription_paused",
        )


def refuse_unpaid(subject: Subject, *, at_once: bool) -> None:
    """Stripe would credit the unused time of a period that nobody has paid, so that comes first.

    Raises:
        Conflict: a payment is missing.
    """
    status = subject.subscription.status
    if status == "unpaid" or (status == "past_due" and at_once):
        later = "" if status == "unpaid" else ", or ask for the change at period_end"
        raise Conflict(
            f"A payment of this subscription has failed: {_pay(subject)}{later}.", code="payment_past_due"
        )


def refuse_ending(subject: Subject) -> None:
    """Raises: Conflict, where nothing will be left at the period's end to change."""
    if subject.subscription.cancel_at is not None or subject.subscription.cancel_at_period_end:
        raise Conflict(
            "This subscription is set to end: resume it first (POST /api/v1/subscription/resume), "
            "or change it now.",
            code="set_to_cancel",
        )


def refuse_paused_by_others(subject: Subject) -> None:
    """Raises: Conflict, where resuming is not the caller's: a payment is missing, or an operator's wish."""
    if subject.subscription.pause_cause != "trial_end_without_payment_method":
        raise Conflict(f"This subscription is paused: {_way_back(subject)}.", code="subscription_paused")


@asynccontextmanager
async def refusals_told(scene: Scene, subject: Subject) -> AsyncIterator[None]:
    """Stripe's refusal of what a caller asked for is the caller's to know, never a failure of ours.

    What was taken back before the refusal is read by the next sync.

    Raises:
        Conflict: a declined payment, or a missing payment method.
        Invalid: anything else that Stripe refused.
    """
    try:
        yield
    except StripeRefused as refused:
        if not scene.asked.is_preview:
            objects = [("subscription", subject.id)]
            await wish_sync(scene.context, subject.customer_id, objects, cause="subscription_change")
        raise _told(refused) from refused


def _told(refused: StripeRefused) -> Rejected:
    if refused.is_decline:
        why = refused.decline_code or refused.reason or "no reason given"
        return Conflict(
            f"The payment failed ({why}): {_KEPT}. Let the customer change the payment method "
            "in the portal (POST /api/v1/portal/session), then ask again.",
            code="payment_failed",
        )
    if refused.reason == "resource_missing" and refused.param is None:
        return Conflict(
            f"The customer has no payment method: {_KEPT}. Let them add one in the portal "
            "(POST /api/v1/portal/session), then ask again.",
            code="payment_method_missing",
        )
    return Invalid(
        f"Stripe refuses this change: {_KEPT}. An operator finds the call in Stripe's request log.",
        code="stripe_refused",
        errors=(FieldError(refused.param or "", refused.reason or "refused without a code"),),
    )


def _pay(subject: Subject) -> str:
    url = subject.pay_url
    return f"let the customer pay at {url}" if url else "let the customer pay in the portal"


def _way_back(subject: Subject) -> str:
    cause = subject.subscription.pause_cause
    if cause in _UNPAID:
        return f"a payment has failed, {_pay(subject)}"
    if cause == "trial_end_without_payment_method":
        return (
            "its trial ended without a payment method: let the customer add one in the portal, then resume "
            "it (POST /api/v1/subscription/resume)"
        )
    return "somebody paused it in Stripe, and resumes it there"
