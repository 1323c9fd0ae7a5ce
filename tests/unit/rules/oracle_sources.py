"""The oracle's sources: whether each gives access at an instant, why (not), and until when. See oracle.py."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from domain.model import Dispute, Grant, Purchase, Reason, Subscription, SubscriptionItem
from domain.rules.catalog import Catalog, Plan, Price

FINAL = {
    "past_due": Reason.PAYMENT_PAST_DUE,
    "unpaid": Reason.PAYMENT_UNPAID,
    "paused": Reason.SUBSCRIPTION_PAUSED,
}
STATUSES = {"trialing", "active", "canceled", "incomplete", "incomplete_expired", *FINAL}
ORDER = [
    "denied disputed payment_unpaid payment_past_due subscription_paused subscription_incomplete",
    "status_unknown price_unmapped refunded purchase_expired revoked grant_expired",
    "subscription_canceled not_started",
]
REFUSALS = [Reason(word) for words in ORDER for word in words.split()]


class State(Struct):
    """A source at one instant."""

    #: None: it gives access.
    refusal: Reason | None
    #: Why it gives access.
    reason: Reason | None = None
    ends_at: datetime | None = None


def plan_of(catalog: Catalog, price_id: str, product_id: str) -> Plan | None:
    """The plan listing the price in `stripe_ids`, else the plan of the product."""
    plans = list(catalog.plans.values())
    listing = [plan for plan in plans for price in plan.prices.values() if price_id in price.stripe_ids]
    return next(iter(listing + [plan for plan in plans if plan.product_id == product_id]), None)


def subscription_state(
    subscription: Subscription, item: SubscriptionItem, plan: Plan | None, catalog: Catalog, at: datetime
) -> State:
    policy = catalog.policy
    for dispute in subscription.disputes:
        is_meant = dispute.is_latest_paid_invoice or policy.dispute == "any_invoice"
        if is_meant and (is_lost(dispute) or (is_open(dispute) and policy.dispute != "keep")):
            return State(Reason.DISPUTED)
    if subscription.status in {"incomplete", "incomplete_expired"}:
        return State(Reason.SUBSCRIPTION_INCOMPLETE)
    end = end_of_subscription(subscription)
    if end is not None and at >= end:
        return State(Reason.SUBSCRIPTION_CANCELED)
    state = status_state(subscription, item, plan, catalog, at)
    refusals, ends = [state.refusal], [state.ends_at, end]
    if subscription.pause_behavior == "void" and policy.pause_void == "paid_through":
        if subscription.paid_through is None or at >= subscription.paid_through:
            refusals.append(Reason.SUBSCRIPTION_PAUSED)
        ends.append(subscription.paid_through)
    if plan is None:
        refusals.append(Reason.PRICE_UNMAPPED)
    for reason in REFUSALS:
        if reason in refusals:
            return State(reason)
    return State(None, state.reason, min([one for one in ends if one is not None], default=None))


def status_state(
    subscription: Subscription, item: SubscriptionItem, plan: Plan | None, catalog: Catalog, at: datetime
) -> State:
    status = subscription.status
    if status not in STATUSES:
        seen, last_known = subscription.unknown_since, subscription.last_known_status
        if seen is None or last_known not in STATUSES or at >= seen + timedelta(days=7):
            return State(Reason.STATUS_UNKNOWN)
        status = last_known
    is_failing = subscription.pause_cause in {"first_payment_failure", "final_payment_failure"}
    if status in {"past_due", "unpaid"} or (status == "paused" and is_failing):
        grace_ends_at = end_of_grace(subscription, plan, catalog)
        if item.is_paid_for and at < grace_ends_at:
            return State(None, Reason.IN_GRACE, grace_ends_at)
        return State(FINAL[status])
    if status == "trialing":
        settle = timedelta(hours=catalog.policy.settle_hours)
        is_over = subscription.trial_end is not None and at >= subscription.trial_end + settle
        return State(Reason.STATUS_UNKNOWN) if is_over else State(None, Reason.SUBSCRIPTION_TRIALING)
    if status == "active" or (status == "canceled" and subscription.ended_at is not None):
        return State(None, Reason.SUBSCRIPTION_ACTIVE)
    refusals = {"paused": Reason.SUBSCRIPTION_PAUSED, "canceled": Reason.SUBSCRIPTION_CANCELED}
    return State(refusals.get(status, Reason.SUBSCRIPTION_INCOMPLETE))


def end_of_grace(subscription: Subscription, plan: Plan | None, catalog: Catalog) -> datetime:
    """First failure (or smallest item period start) plus the days: the plan's, else the policy's."""
    days: int | None = None
    if subscription.is_failing_after_trial:
        days = None if plan is None else plan.grace_days_after_trial
        days = catalog.policy.grace_days_after_trial if days is None else days
    if days is None:
        days = None if plan is None else plan.grace_days
    if days is None:
        days = catalog.policy.grace_days
    failed_at = subscription.first_failure_at or min(item.period_start for item in subscription.items)
    return failed_at + timedelta(days=days)


def end_of_subscription(subscription: Subscription) -> datetime | None:
    """`ended_at`, else `cancel_at`, else with the flag the largest item period end."""
    at_period_end = max(item.period_end for item in subscription.items)
    flagged = at_period_end if subscription.cancel_at_period_end else None
    return subscription.ended_at or subscription.cancel_at or flagged


def grant_state(grant: Grant, at: datetime) -> State:
    end = first_of(grant.expires_at, grant.revoked_at)
    if end is not None and at >= end:
        return State(Reason.REVOKED if end == grant.revoked_at else Reason.GRANT_EXPIRED)
    if at < grant.starts_at:
        return State(Reason.NOT_STARTED)
    return State(None, Reason.GRANT, end)


def given_back(purchase: Purchase) -> int:
    """Refunds that went through or may, and amounts of prevented disputes."""
    back = sum(one.amount_minor for one in purchase.refunds if one.status in {"succeeded", "pending"})
    return back + sum(one.amount_minor for one in purchase.disputes if one.status == "prevented")


def is_open(dispute: Dispute) -> bool:
    return dispute.status in {"needs_response", "under_review"}


def is_lost(dispute: Dispute) -> bool:
    return dispute.status == "lost" or dispute.status[:7] == "appeal_"


def is_inquiry(dispute: Dispute) -> bool:
    return dispute.status[:8] == "warning_" and dispute.status != "warning_closed"


# ── purchases ───────────────────────────────────────────────────────────────────────────────────────


def purchase_state(
    purchase: Purchase, purchases: Sequence[Purchase], catalog: Catalog, at: datetime
) -> State:
    refusal = purchase_refusal(purchase, catalog)
    if refusal is not None:
        return State(refusal)
    if sold_plan(purchase, catalog) is None:
        return State(Reason.PRICE_UNMAPPED)
    intervals = timed_intervals(purchase, purchases, catalog)
    begins_at, ends_at = intervals.get(purchase.purchase_id, (purchase.paid_at, None))
    if at < begins_at:
        return State(Reason.NOT_STARTED)
    if ends_at is not None and at >= ends_at:
        return State(Reason.PURCHASE_EXPIRED)
    following: dict[datetime, datetime] = dict(intervals.values())
    while ends_at in following:
        # Access goes on while another purchase of the plan begins exactly where this one ends.
        ends_at = following[ends_at]
    return State(None, Reason.PURCHASE, ends_at)


def purchase_refusal(purchase: Purchase, catalog: Catalog) -> Reason | None:
    for dispute in purchase.disputes:
        if is_lost(dispute) or (is_open(dispute) and catalog.policy.dispute != "keep"):
            return Reason.DISPUTED
    back, share = given_back(purchase), catalog.policy.refund_revoke_from
    is_full = share is not None and back >= purchase.captured_minor * share
    return Reason.REFUNDED if back > 0 and is_full else None


def timed_intervals(
    purchase: Purchase, purchases: Sequence[Purchase], catalog: Catalog
) -> dict[str, tuple[datetime, datetime]]:
    """Of the timed purchases of its plan that count, in order: start = max(paid, previous end)."""
    intervals: dict[str, tuple[datetime, datetime]] = {}
    previous_end = datetime.min.replace(tzinfo=UTC)
    for one in sorted(purchases, key=lambda one: (one.paid_at, one.purchase_id)):
        price = sold_price(one, catalog)
        is_same_plan = sold_plan(one, catalog) == sold_plan(purchase, catalog)
        if price is None or price.duration_days is None or not is_same_plan or purchase_refusal(one, catalog):
            continue
        begins_at = max(one.paid_at, previous_end)
        previous_end = begins_at + timedelta(days=price.duration_days)
        intervals[one.purchase_id] = (begins_at, previous_end)
    return intervals


def sold_plan(purchase: Purchase, catalog: Catalog) -> Plan | None:
    is_sold = sold_price(purchase, catalog) is not None
    return plan_of(catalog, purchase.price_id, purchase.product_id) if is_sold else None


def sold_price(purchase: Purchase, catalog: Catalog) -> Price | None:
    """The price named by key or id; one made in the dashboard: the shortest time that the plan sells."""
    plan = plan_of(catalog, purchase.price_id, purchase.product_id)
    one_time = [] if plan is None else [price for price in plan.prices.values() if price.interval is None]
    for price in one_time:
        if price.key == purchase.price_key or purchase.price_id in price.stripe_ids:
            return price
    return min(one_time, key=lambda price: price.duration_days or 10**9, default=None)


def first_of(one: datetime | None, other: datetime | None) -> datetime | None:
    known = [end for end in (one, other) if end is not None]
    return min(known, default=None)
