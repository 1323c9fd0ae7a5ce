"""What an operator's grant gives or takes, and when.

Source: docs/entitlements.md, "Grants".
"""

from collections.abc import Mapping

from domain.model import FeatureValue, Grant, GrantEffect, Reason, SourceRef
from domain.rules.catalog import Catalog, fits, is_nothing
from domain.rules.given import all_grants, plan_values, whole_value
from domain.rules.sources import Life, Source, Span

_LIVE_REASON: dict[GrantEffect, Reason] = {
    "allow": Reason.GRANT,
    "add": Reason.GRANT,
    "override": Reason.OVERRIDE,
    "deny": Reason.DENIED,
}


def grant_source(grant: Grant, catalog: Catalog, app: str) -> Source:
    """The grant as `app` sees it: a target that the app does not see gives and takes nothing there."""
    is_plan = grant.effect == "allow" and grant.target_kind == "plan"
    plan = catalog.plans.get(grant.target) if is_plan else None
    return Source(
        ref=SourceRef(
            kind="grant", id=grant.grant_id, plan=plan.key if plan is not None else None, effect=grant.effect
        ),
        since=grant.created_at,
        part="",
        life=_life(grant),
        values=_values(grant, catalog, app),
        plan=plan,
    )


def _life(grant: Grant) -> Life:
    ends = [end for end in (grant.expires_at, grant.revoked_at) if end is not None]
    ends_at = min(ends, default=None)
    live = Span(until=ends_at, is_live=True, reason=_LIVE_REASON[grant.effect], access_ends_at=ends_at)
    if ends_at is None:
        return (_not_started(grant), live)
    over = Reason.REVOKED if ends_at == grant.revoked_at else Reason.GRANT_EXPIRED
    after = Span(until=None, is_live=False, reason=over)
    if ends_at <= grant.starts_at:
        return (Span(until=ends_at, is_live=False, reason=Reason.NOT_STARTED), after)
    return (_not_started(grant), live, after)


def _not_started(grant: Grant) -> Span:
    return Span(until=grant.starts_at, is_live=False, reason=Reason.NOT_STARTED)


def _values(grant: Grant, catalog: Catalog, app: str) -> Mapping[str, FeatureValue]:
    """By feature; a value that no longer fits its feature (the catalog has moved on) is nothing."""
    match grant.effect:
        case "allow":
            return _allowed(grant, catalog, app)
        case "add":
            return _added(grant, catalog, app)
        case "override":
            return _overridden(grant, catalog)
        case "deny":
            return dict.fromkeys(_covered(grant, catalog, app), False)


def _allowed(grant: Grant, catalog: Catalog, app: str) -> Mapping[str, FeatureValue]:
    match grant.target_kind:
        case "feature":
            given = _overridden(grant, catalog)
            return {key: value for key, value in given.items() if not is_nothing(value)}
        case "plan":
            plan = catalog.plans.get(grant.target)
            return plan_values(catalog, plan, 1, None)
        case "app" | "project":
            features = (catalog.features[key] for key in _covered(grant, catalog, app))
            given = {feature.key: whole_value(catalog, feature) for feature in features}
            return {key: value for key, value in given.items() if not is_nothing(value)}


def _added(grant: Grant, catalog: Catalog, app: str) -> Mapping[str, FeatureValue]:
    value = grant.value
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        return {}
    covered = _covered(grant, catalog, app)
    return {key: value for key in covered if catalog.features[key].type == "integer"}


def _overridden(grant: Grant, catalog: Catalog) -> Mapping[str, FeatureValue]:
    """The one feature it targets, with its value or, for None, all that the feature can be."""
    feature = catalog.features.get(grant.target) if grant.target_kind == "feature" else None
    if feature is None:
        return {}
    if grant.value is None:
        return {feature.key: whole_value(catalog, feature)}
    return {feature.key: grant.value} if fits(feature, grant.value) else {}


def _covered(grant: Grant, catalog: Catalog, app: str) -> list[str]:
    """Keys of the features that the target stands for, as `app` sees them."""
    visible = [feature.key for feature in catalog.features_by_app.get(app, ())]
    match grant.target_kind:
        case "feature":
            return [key for key in visible if key == grant.target]
        case "plan":
            granted = all_grants(catalog, grant.target)
            return [key for key in visible if key in granted]
        case "app":
            return visible if grant.target == app else []
        case "project":
            return visible if grant.target == catalog.project else []
