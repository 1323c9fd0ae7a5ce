"""What plans give, as plain values by feature: multiplied by the quantity, without what is nothing."""

from collections.abc import Mapping
from datetime import datetime

from domain.model import FeatureValue
from domain.rules.catalog import Catalog, Feature, GrantValue, Plan, fits, is_nothing, plan_grants


def plan_values(
    catalog: Catalog, plan: Plan | None, quantity: int, since: datetime | None
) -> Mapping[str, FeatureValue]:
    """What `quantity` of the plan give to somebody who has had them since `since` (None: as it is now).

    Quantity 0 gives nothing, and so does an unknown plan.
    """
    if plan is None or quantity <= 0:
        return {}
    if plan.grandfather and since is not None:
        return _fitting(catalog, _multiplied(plan_grants(catalog, plan, since), quantity))
    return _multiplied(plan.grants, quantity)


def whole_value(catalog: Catalog, feature: Feature) -> FeatureValue:
    """All that a feature can be: true, unlimited (None), the highest rank, every string that a plan gives."""
    match feature.type:
        case "boolean":
            return True
        case "integer":
            return None
        case "enum":
            return feature.values[-1]
        case "set":
            return _known_strings(catalog, feature)


def all_grants(catalog: Catalog, plan: str) -> set[str]:
    """Keys of all features of which the plan gives anything, now or to those who bought it earlier."""
    versions = [older.grants for older in catalog.older_grants if older.plan == plan]
    if plan in catalog.plans:
        versions.append(catalog.plans[plan].grants)
    return {key for grants in versions for key, grant in grants.items() if not is_nothing(grant.value)}


def _multiplied(grants: Mapping[str, GrantValue], quantity: int) -> dict[str, FeatureValue]:
    return {
        key: grant.value * quantity if grant.per_unit and isinstance(grant.value, int) else grant.value
        for key, grant in grants.items()
        if not is_nothing(grant.value)
    }


def _fitting(catalog: Catalog, values: Mapping[str, FeatureValue]) -> dict[str, FeatureValue]:
    """Grants of an older version may name features that are gone, or values of another type."""
    return {
        key: value
        for key, value in values.items()
        if (feature := catalog.features.get(key)) is not None and fits(feature, value)
    }


def _known_strings(catalog: Catalog, feature: Feature) -> list[str]:
    given = [plan.grants.get(feature.key) for plan in catalog.plans.values()]
    lists = [grant.value for grant in (*given, feature.default) if grant is not None]
    return sorted({text for value in lists if isinstance(value, list) for text in value})
