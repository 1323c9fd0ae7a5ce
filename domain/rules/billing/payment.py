"""What is wrong with the payment of a user, since when, and where it is put right."""

from datetime import UTC, datetime

from domain.model import Reason, Subscription
from domain.rules.billing.seen import is_subscription_seen
from domain.rules.billing.shapes import PaymentProblem, Records
from domain.rules.catalog import Catalog
from domain.rules.failures import FAILING, failure_streak
from domain.rules.holdings import group_of
from domain.rules.subscription import subscription_sources

#: Causes of `paused` that a payment ends.
_PAYMENT_CAUSES = frozenset({"first_payment_failure", "final_payment_failure"})
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def find_payment_problem(records: Records, catalog: Catalog, app: str) -> PaymentProblem | None:
    """Of several, the one whose grace ends first: no grace is the most urgent. None: payment is in order."""
    found = [
        _problem(one, records, catalog)
        for one in records.facts.subscriptions
        if is_payment_failing(one) and is_subscription_seen(one, catalog, app)
    ]
    return min(
        found, key=lambda one: (one.grace_ends_at or _LONG_AGO, one.since, one.subscription), default=None
    )


def is_payment_failing(subscription: Subscription) -> bool:
    """Whether a payment of the customer would change something."""
    status = subscription.last_known_status if subscription.unknown_since else subscription.status
    if status == "paused":
        return subscription.pause_cause in _PAYMENT_CAUSES
    return status == "incomplete" or status in FAILING


def _problem(subscription: Subscription, records: Records, catalog: Catalog) -> PaymentProblem:
    own = [one for one in records.invoices if one.subscription_id == subscription.subscription_id]
    payable = [one for one in failure_streak(own) if one.pay_url is not None]
    graced = [
        span.until
        for source in subscription_sources(subscription, catalog)
        for span in source.life
        if span.reason is Reason.IN_GRACE and span.is_live and span.until is not None
    ]
    return PaymentProblem(
        subscription=subscription.subscription_id,
        group=group_of(subscription, catalog),
        since=subscription.first_failure_at or subscription.created_at,
        grace_ends_at=max(graced, default=None),
        # Stripe goes by the newest invoice: paying that one makes the subscription active again.
        pay_url=payable[-1].pay_url if payable else None,
    )
