"""What a subscription's invoices say: since when payment fails, what was paid for, until when. Pure.

Nothing here depends on when we looked: the same invoices give the same facts in any order.

Source: docs/entitlements.md, "Grace" and "Pause collection"; docs.stripe.com/api/invoices/object (status).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from domain.model import Dispute, Subscription
from domain.money import ChargeDispute, Invoice

#: Statuses in which the failure of payment decides.
FAILING = frozenset({"past_due", "unpaid", "paused"})
#: Statuses of an invoice that payment failed for, as long as an amount remains.
_UNPAID = frozenset({"open", "uncollectible"})
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def needs_invoices(subscription: Subscription) -> bool:
    """Whether the answer depends on this subscription's invoices: they cost the most reads."""
    status = subscription.last_known_status if subscription.unknown_since else subscription.status
    return status in FAILING or subscription.pause_behavior is not None


def with_invoices(subscription: Subscription, invoices: Sequence[Invoice]) -> Subscription:
    """The subscription with what its invoices (all of its own, drafts included) say of its payment."""
    if not needs_invoices(subscription):
        return subscription
    streak = failure_streak(invoices)
    paid_prices = {line.price_id for invoice in _paid(invoices) for line in invoice.lines}
    return msgspec.structs.replace(
        subscription,
        first_failure_at=_failed_at(streak, subscription),
        is_failing_after_trial=_is_first_after_trial(streak, invoices, subscription.trial_end),
        paid_through=paid_through(invoices),
        items=tuple(
            msgspec.structs.replace(item, is_paid_for=item.price_id in paid_prices)
            for item in subscription.items
        ),
    )


def failure_streak(invoices: Sequence[Invoice]) -> tuple[Invoice, ...]:
    """The unpaid invoices from the newest backwards, oldest first. A void one asks for nothing: skipped."""
    finalized = [one for one in invoices if one.finalized_at is not None and one.status != "void"]
    streak: list[Invoice] = []
    for invoice in sorted(finalized, key=_age, reverse=True):
        if invoice.status not in _UNPAID or invoice.remaining_minor <= 0:
            break
        streak.append(invoice)
    return tuple(reversed(streak))


def paid_through(invoices: Sequence[Invoice]) -> datetime | None:
    """The largest line period end over the paid invoices; None: nothing was ever paid."""
    ends = [line.period_end for invoice in _paid(invoices) for line in invoice.lines]
    return max(ends, default=None)


def latest_paid(invoices: Sequence[Invoice]) -> Invoice | None:
    """The last invoice that was paid an amount; the only one whose dispute suspends a subscription."""
    paid = [one for one in _paid(invoices) if one.paid_minor > 0]
    return max(paid, key=lambda one: (one.paid_at or _LONG_AGO, *_age(one)), default=None)


def disputes_of(
    invoices: Sequence[Invoice], disputes: Mapping[str, Sequence[ChargeDispute]]
) -> tuple[Dispute, ...]:
    """The disputes of a subscription's payments; `disputes`: by the invoice that the payment is on."""
    latest = latest_paid(invoices)
    found = [
        msgspec.structs.replace(
            disputed.dispute,
            is_latest_paid_invoice=latest is not None and latest.invoice_id == invoice.invoice_id,
        )
        for invoice in invoices
        for disputed in disputes.get(invoice.invoice_id, ())
    ]
    return tuple(sorted(found, key=lambda dispute: dispute.dispute_id))


def _failed_at(streak: Sequence[Invoice], subscription: Subscription) -> datetime | None:
    """When the oldest of the streak was due; without one, when the present period began."""
    if streak:
        oldest = streak[0]
        is_sent = oldest.collection_method == "send_invoice" and oldest.due_at is not None
        return oldest.due_at if is_sent else oldest.finalized_at
    return min((item.period_start for item in subscription.items), default=None)


def _is_first_after_trial(
    streak: Sequence[Invoice], invoices: Sequence[Invoice], trial_end: datetime | None
) -> bool:
    """Whether nothing was billed between the end of the trial and the oldest invoice of the streak."""
    if not streak or trial_end is None or streak[0].created_at < trial_end:
        return False
    since = [
        one
        for one in invoices
        if one.finalized_at is not None and one.status != "void" and one.created_at >= trial_end
    ]
    return min(since, key=_age).invoice_id == streak[0].invoice_id


def _paid(invoices: Sequence[Invoice]) -> list[Invoice]:
    return [invoice for invoice in invoices if invoice.status == "paid"]


def _age(invoice: Invoice) -> tuple[datetime, datetime, str]:
    """Stripe's `created` has whole seconds and orders nothing by itself: the id decides between equals."""
    return (invoice.finalized_at or _LONG_AGO, invoice.created_at, invoice.invoice_id)
