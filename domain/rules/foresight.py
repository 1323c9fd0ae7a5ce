"""What a change of a subscription would mean for its user's answers: facts as they would be. Pure."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from domain.model import Facts, Subscription, SubscriptionItem
from domain.rules.catalog import Catalog
from domain.rules.entitlements import compute
from domain.rules.impact import FeatureEffect, compare_sets


def foresee(
    present: Facts, coming: Facts, catalog: Catalog, app: str, at: datetime
) -> tuple[FeatureEffect, ...]:
    """By feature: what an app's answer at `at` would gain and lose. Equal facts give nothing."""
    before, after = (compute(facts, catalog, app, at) for facts in (present, coming))
    return tuple(compare_sets(app, before, after, catalog))


def with_subscription(facts: Facts, subscription: Subscription) -> Facts:
    """The facts with this subscription as it is given, in the place of what they had of it."""
    others = [one for one in facts.subscriptions if one.subscription_id != subscription.subscription_id]
    return msgspec.structs.replace(facts, subscriptions=(*others, subscription))


def with_items(subscription: Subscription, items: Sequence[SubscriptionItem]) -> Subscription:
    return msgspec.structs.replace(subscription, items=tuple(items))


def ended(subscription: Subscription, at: datetime) -> Subscription:
    return msgspec.structs.replace(subscription, status="canceled", ended_at=at)


def ending(subscription: Subscription, at: datetime) -> Subscription:
    return msgspec.structs.replace(subscription, cancel_at=at, cancel_at_period_end=True)


def going_on(subscription: Subscription) -> Subscription:
    """No end is set, and it is paused no longer."""
    status = "active" if subscription.status == "paused" else subscription.status
    return msgspec.structs.replace(
        subscription, status=status, pause_cause=None, cancel_at=None, cancel_at_period_end=False
    )
