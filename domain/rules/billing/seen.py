"""What of a user's an app sees: what is about its features, as in `explain`."""

from domain.model import Subscription
from domain.rules.catalog import Catalog
from domain.rules.holdings import is_plan_seen, is_seen
from domain.rules.subscription import subscription_sources


def is_subscription_seen(subscription: Subscription, catalog: Catalog, app: str) -> bool:
    """An app sees what is about its features: for their own sake, or by a plan that has some of them."""
    if subscription.status == "incomplete_expired":
        return False
    sources = subscription_sources(subscription, catalog)
    plans = [source.plan for source in sources if source.plan is not None]
    return is_seen(sources, features_of(catalog, app)) or any(
        is_plan_seen(plan, catalog, app) for plan in plans
    )


def is_others(subscription: Subscription, catalog: Catalog, app: str) -> bool:
    """Whether it is about other apps of the project alone: nothing that this one may change or end."""
    return not is_subscription_seen(subscription, catalog, app) and any(
        is_subscription_seen(subscription, catalog, other) for other in catalog.apps
    )


def features_of(catalog: Catalog, app: str) -> frozenset[str]:
    return frozenset(feature.key for feature in catalog.features_by_app[app])
