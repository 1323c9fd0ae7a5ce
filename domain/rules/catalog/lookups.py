"""Questions to a catalog: which plan a Stripe price means, which price a caller means, what a plan grants."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from domain.rules.catalog.nouns import Catalog, GrantValue, OlderGrants, Plan, Price


def plan_of(catalog: Catalog, price_id: str, product_id: str) -> Plan | None:
    """The plan of a Stripe price: the one listing the price in `stripe_ids`, else the one of its product.

    A price made in the dashboard under a known product is therefore mapped. None: the catalog knows neither.
    """
    listed = catalog.plans_by_price_id.get(price_id)
    return listed if listed is not None else catalog.plans_by_product_id.get(product_id)


def find_price(catalog: Catalog, plan: str, price: str) -> Price | None:
    """The price a caller names by its plan's and its own key."""
    found = catalog.plans.get(plan)
    return found.prices.get(price) if found is not None else None


def lookup_key(project: str, plan: str, price: str) -> str:
    """What the newest revision of a price carries in Stripe."""
    return f"{project}:{plan}:{price}"


def plan_grants(catalog: Catalog, plan: Plan, since: datetime) -> Mapping[str, GrantValue]:
    """What the plan grants to somebody who subscribed or paid at `since`.

    Not grandfathered: what it grants now. Grandfathered: what it granted in the version active then; for a
    purchase older than our first version, in that first one.
    """
    if not plan.grandfather:
        return plan.grants
    versions = [older for older in catalog.older_grants if older.plan == plan.key and since < older.until]
    return min(versions, key=lambda older: older.until).grants if versions else plan.grants


def with_older_grants(head: Catalog, earlier: Iterable[tuple[Catalog, datetime, datetime]]) -> Catalog:
    """The head carrying what its grandfathered plans granted in `earlier` versions `(catalog, since, until)`.

    `since` and `until` are the instants at which a version and its successor became the head.
    """
    older = [
        OlderGrants(plan=plan.key, since=since, until=until, grants=catalog.plans[plan.key].grants)
        for catalog, since, until in earlier
        for plan in head.plans.values()
        if plan.grandfather and plan.key in catalog.plans
    ]
    ordered = sorted(older, key=lambda entry: (entry.plan, entry.until))
    return msgspec.structs.replace(head, older_grants=tuple(ordered))
