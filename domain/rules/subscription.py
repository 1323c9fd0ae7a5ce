"""When a subscription item gives access. One row of `_STATUS` per status of Stripe.

Source: docs.stripe.com/billing/subscriptions/overview (statuses), docs/entitlements.md.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct

from domain.model import Dispute, Reason, SourceRef, Subscription, SubscriptionItem
from domain.rules.catalog import Catalog, Plan, Policy, plan_of
from domain.rules.disputes import is_inquiry, is_lost, is_open
from domain.rules.given import plan_values
from domain.rules.sources import Life, Source, announced, cut, hold, live, refused, split, without_access

#: How long an unknown status is judged by the last known one: an upgrade of this service takes days.
UNKNOWN_STATUS_DAYS = 7


class Case(Struct, frozen=True):
    """What a row of the table looks at."""

    subscription: Subscription
    item: SubscriptionItem
    policy: Policy
    #: None: the price is not mapped.
    plan: Plan | None


Rule = Callable[[Case], Life]


def subscription_sources(subscription: Subscription, catalog: Catalog) -> list[Source]:
    """One source per item."""
    return [_item_source(subscription, item, catalog) for item in subscription.items]


def _item_source(subscription: Subscription, item: SubscriptionItem, catalog: Catalog) -> Source:
    plan = plan_of(catalog, item.price_id, item.product_id)
    quantity = 1 if item.quantity is None else item.quantity
    return Source(
        ref=SourceRef(
            kind="subscription",
            id=subscription.subscription_id,
            plan=plan.key if plan is not None else None,
            price=item.price_key,
            revision=item.revision,
        ),
        since=subscription.created_at,
        part=item.item_id,
        life=_life(Case(subscription, item, catalog.policy, plan)),
        values=plan_values(catalog, plan, quantity, subscription.created_at),
        plan=plan,
        quantity=quantity,
        flags=_flags(subscription, catalog.policy) if subscription.disputes else (),
    )


def _life(case: Case) -> Life:
    subscription = case.subscription
    if subscription.disputes and _is_disputed(subscription, case.policy):
        return refused(Reason.DISPUTED)
    rule = _STATUS.get(subscription.status)
    if rule is _never_paid:
        return _never_paid(case)
    life = rule(case) if rule is not None else _unknown(case)
    if subscription.pause_behavior == "void" and case.policy.pause_void == "paid_through":
        life = _pause_void(life, subscription.paid_through)
    if case.plan is None:
        life = without_access(life, Reason.PRICE_UNMAPPED)
    return cut(life, known_end(subscription), Reason.SUBSCRIPTION_CANCELED)


def known_end(subscription: Subscription) -> datetime | None:
    """When it ended or is to end; None: it goes on.

    Flexible billing sets only `cancel_at`, classic billing also the flag: both are read.
    """
    if subscription.ended_at is not None:
        return subscription.ended_at
    if subscription.cancel_at is not None:
        return subscription.cancel_at
    if subscription.cancel_at_period_end:
        return max((item.period_end for item in subscription.items), default=None)
    return None


def _pause_void(life: Life, paid_through: datetime | None) -> Life:
    """A payment that failed before is still said first: whoever pays it is not paused any longer."""
    if paid_through is None:
        return without_access(life, Reason.SUBSCRIPTION_PAUSED)
    before, after = split(life, paid_through)
    return (*announced(before, paid_through), *without_access(after, Reason.SUBSCRIPTION_PAUSED))


# ── one rule per status ─────────────────────────────────────────────────────────────────────────────


def _trialing(case: Case) -> Life:
    if case.subscription.trial_end is None:
        return live(Reason.SUBSCRIPTION_TRIALING)
    settled_at = case.subscription.trial_end + timedelta(hours=case.policy.settle_hours)
    return hold(live(Reason.SUBSCRIPTION_TRIALING), settled_at, Reason.STATUS_UNKNOWN)


def _active(_case: Case) -> Life:
    return live(Reason.SUBSCRIPTION_ACTIVE)


def _past_due(case: Case) -> Life:
    return _grace(case, Reason.PAYMENT_PAST_DUE)


def _unpaid(case: Case) -> Life:
    return _grace(case, Reason.PAYMENT_UNPAID)


def _canceled(case: Case) -> Life:
    # `_life` ends it at `ended_at`; without that instant there is nothing to hold on to.
    is_dated = case.subscription.ended_at is not None
    return live(Reason.SUBSCRIPTION_ACTIVE) if is_dated else refused(Reason.SUBSCRIPTION_CANCELED)


def _never_paid(_case: Case) -> Life:
    return refused(Reason.SUBSCRIPTION_INCOMPLETE)


def _paused(case: Case) -> Life:
    if case.subscription.pause_cause in {"first_payment_failure", "final_payment_failure"}:
        return _grace(case, Reason.SUBSCRIPTION_PAUSED)
    return refused(Reason.SUBSCRIPTION_PAUSED)


def _unknown(case: Case) -> Life:
    """A status that Stripe has added since: the one rule that depends on what was seen, kept in `Facts`."""
    subscription = case.subscription
    rule = _STATUS.get(subscription.last_known_status or "")
    if rule is None or subscription.unknown_since is None:
        return refused(Reason.STATUS_UNKNOWN)
    judged_until = subscription.unknown_since + timedelta(days=UNKNOWN_STATUS_DAYS)
    return hold(rule(case), judged_until, Reason.STATUS_UNKNOWN)


_STATUS: dict[str, Rule] = {
    "trialing": _trialing,
    "active": _active,
    "past_due": _past_due,
    "unpaid": _unpaid,
    "canceled": _canceled,
    "incomplete": _never_paid,
    "incomplete_expired": _never_paid,
    "paused": _paused,
}

#: Statuses that a rule judges; any other value is kept with the last one of these.
KNOWN_STATUSES = tuple(sorted(_STATUS))


def _grace(case: Case, final: Reason) -> Life:
    """Access from the first failure on for the days of grace, for what was paid for before."""
    # A failed upgrade must give no dearer plan, so a price that was never on a paid invoice gets no grace.
    if not case.item.is_paid_for:
        return refused(final)
    graced_until = _failed_at(case.subscription) + timedelta(days=_grace_days(case))
    return cut(live(Reason.IN_GRACE), graced_until, final)


def _failed_at(subscription: Subscription) -> datetime:
    """The first failure; without an open invoice that tells it, the start of the smallest period."""
    if subscription.first_failure_at is not None:
        return subscription.first_failure_at
    return min(item.period_start for item in subscription.items)


def _grace_days(case: Case) -> int:
    """The plan's days, else the policy's; after a trial the ones for that, where there are any."""
    policy, plan = case.policy, case.plan
    days = plan.grace_days if plan is not None and plan.grace_days is not None else policy.grace_days
    if not case.subscription.is_failing_after_trial:
        return days
    if plan is not None and plan.grace_days_after_trial is not None:
        return plan.grace_days_after_trial
    return policy.grace_days_after_trial if policy.grace_days_after_trial is not None else days


# ── disputes of its invoices ────────────────────────────────────────────────────────────────────────


def _is_disputed(subscription: Subscription, policy: Policy) -> bool:
    return any(
        is_lost(dispute) or (is_open(dispute) and policy.dispute != "keep")
        for dispute in _relevant(subscription, policy)
    )


def _flags(subscription: Subscription, policy: Policy) -> tuple[str, ...]:
    is_asked = any(is_inquiry(dispute) for dispute in _relevant(subscription, policy))
    return ("dispute_inquiry",) if is_asked else ()


def _relevant(subscription: Subscription, policy: Policy) -> list[Dispute]:
    """Disputes of the latest paid invoice: a later payment has settled what an older one was about."""
    is_any = policy.dispute == "any_invoice"
    return [dispute for dispute in subscription.disputes if is_any or dispute.is_latest_paid_invoice]
