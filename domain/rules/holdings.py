"""What a user has bought and still holds: subscriptions that run, purchases in force, by plan. Pure."""

from collections.abc import Collection, Iterable
from datetime import datetime

from domain.model import Facts, Subscription, SubscriptionItem
from domain.rules.catalog import Catalog, Plan, plan_of
from domain.rules.purchase import purchase_sources
from domain.rules.sources import Source, span_at
from domain.rules.subscription import known_end

#: Statuses of what was never begun, or is over for good. Any other one, known or not, is a running one.
NOT_RUNNING = frozenset({"incomplete", "incomplete_expired", "canceled"})


def is_running(subscription: Subscription, at: datetime) -> bool:
    """Whether it stands between its user and another subscription of the group: also one that is unpaid,
    paused, or set to end later.
    """
    ends_at = known_end(subscription)
    return subscription.status not in NOT_RUNNING and (ends_at is None or at < ends_at)


def running_items(facts: Facts, at: datetime) -> list[SubscriptionItem]:
    """The items of running subscriptions; one with quantity 0 buys nothing."""
    return [
        item
        for subscription in facts.subscriptions
        if is_running(subscription, at)
        for item in subscription.items
        if item.quantity != 0
    ]


def subscribed_plans(facts: Facts, catalog: Catalog, at: datetime) -> list[Plan]:
    """The plans of running subscriptions; a price that the catalog does not know has none."""
    found = [plan_of(catalog, item.price_id, item.product_id) for item in running_items(facts, at)]
    return [plan for plan in found if plan is not None]


def purchased_plans(facts: Facts, catalog: Catalog, at: datetime) -> list[Plan]:
    """The plans of purchases that are in force."""
    return [
        source.plan
        for source in purchase_sources(facts.purchases, catalog)
        if source.plan is not None and span_at(source.life, at).is_live
    ]


def group_of(subscription: Subscription, catalog: Catalog) -> str | None:
    """The group of its plans; None: it holds add-ons or unknown prices alone."""
    plans = [plan_of(catalog, item.price_id, item.product_id) for item in subscription.items]
    return next((plan.group for plan in plans if plan is not None and plan.group is not None), None)


def groups_of(subscription: Subscription, catalog: Catalog) -> tuple[str, ...]:
    """Every group of its plans, sorted: we sell one, and what others have made in Stripe may have more."""
    plans = [plan_of(catalog, item.price_id, item.product_id) for item in subscription.items]
    return tuple(sorted({plan.group for plan in plans if plan is not None and plan.group is not None}))


def is_plan_seen(plan: Plan, catalog: Catalog, app: str) -> bool:
    """Whether a plan gives anything that the app sees."""
    return any(plan.gives(feature.key) for feature in catalog.features_by_app[app])


def is_seen(sources: Iterable[Source], features: Collection[str]) -> bool:
    """Whether one of these is about a feature the app sees, or of a plan nobody knows."""
    return any(source.is_unmapped or any(key in features for key in source.values) for source in sources)
