"""What an operator may give or take: a wish, judged by the catalog in force.

The rules ignore a grant whose value does not fit its target (`domain.rules.grant`), so nobody would ever see
what it was for: it is refused here instead, by the name of what is wrong.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from msgspec import UNSET, Struct, UnsetType

from domain.errors import FieldError, Invalid
from domain.model import FeatureValue, Grant, GrantEffect, GrantTarget
from domain.rules.catalog import Catalog, Feature, fits, is_nothing
from domain.rules.catalog.fields import MOST, is_integer, show, suggest
from domain.rules.given import all_grants, whole_value

REASON_LENGTH = 500
#: Nothing of this service is older, and arithmetic with what is later leaves the calendar.
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


class GrantWish(Struct, frozen=True, kw_only=True):
    """A grant as an operator asks for it."""

    effect: GrantEffect
    target_kind: GrantTarget
    #: Key of the feature, plan, app or project.
    target: str
    #: Unset: all that the target can be. None: unlimited, for integers only.
    value: FeatureValue | UnsetType = UNSET
    #: Aware; None: at once.
    starts_at: datetime | None = None
    #: Aware; None: never.
    expires_at: datetime | None = None
    reason: str


def judge_grant(catalog: Catalog, wish: GrantWish, *, grant_id: str, now: datetime) -> Grant:
    """The grant that begins to exist at `now`.

    Raises:
        Invalid: `errors` name everything that cannot be, with the nearest name or what would be right.
    """
    starts_at = _in_utc(wish.starts_at) or now
    expires_at = _in_utc(wish.expires_at)
    errors = [
        *_target_faults(catalog, wish),
        *_time_faults(wish, now),
        *reason_faults(wish.reason),
    ]
    if errors:
        raise Invalid("This grant cannot be.", errors=tuple(errors), code="grant_invalid")
    return Grant(
        grant_id=grant_id,
        effect=wish.effect,
        target_kind=wish.target_kind,
        target=wish.target,
        value=None if isinstance(wish.value, UnsetType) else wish.value,
        created_at=now,
        starts_at=starts_at,
        expires_at=expires_at,
    )


def reason_faults(reason: str) -> list[FieldError]:
    """What is wrong with an operator's reason; it is stored without the spaces around it."""
    said = reason.strip()
    if not said or len(said) > REASON_LENGTH:
        return [FieldError("reason", f"say why, in 1 to {REASON_LENGTH} characters; it is {len(said)} long")]
    if not all(character.isprintable() or character in "\n\t" for character in said):
        return [FieldError("reason", "must be text without control characters")]
    return []


# ── target, effect and value ────────────────────────────────────────────────────────────────────────


def _target_faults(catalog: Catalog, wish: GrantWish) -> list[FieldError]:
    known = {
        "feature": sorted(catalog.features),
        "plan": sorted(catalog.plans),
        "app": sorted(catalog.apps),
        "project": [catalog.project],
    }[wish.target_kind]
    if wish.target not in known:
        what = f"unknown {wish.target_kind}; {suggest(wish.target, known)}"
        return [FieldError(f"target.{wish.target_kind}", what)]
    match wish.effect:
        case "allow":
            return _allow_faults(catalog, wish)
        case "add":
            return _add_faults(catalog, wish)
        case "override":
            return _override_faults(catalog, wish)
        case "deny":
            return [] if wish.value is UNSET else [FieldError("value", "leave it out: deny takes all")]


def _allow_faults(catalog: Catalog, wish: GrantWish) -> list[FieldError]:
    if wish.target_kind != "feature":
        what = f"leave it out: a {wish.target_kind} gives what it has; to choose a value, target a feature"
        return [] if wish.value is UNSET else [FieldError("value", what)]
    feature = catalog.features[wish.target]
    if isinstance(wish.value, UnsetType):
        if is_nothing(whole_value(catalog, feature)):
            return [FieldError("value", f"no plan gives {feature.key}, so say what: {_wanted(feature)}")]
        return []
    if not fits(feature, wish.value):
        return [_misfit(feature, wish.value)]
    if is_nothing(wish.value):
        what = f"is {show(wish.value)}, which gives nothing: to take away, use deny or override"
        return [FieldError("value", what)]
    return []


def _add_faults(catalog: Catalog, wish: GrantWish) -> list[FieldError]:
    features = _features_of(catalog, wish)
    if not any(feature.type == "integer" for feature in features):
        what = f"add is for integers, and {wish.target_kind} {wish.target} has none"
        return [FieldError("effect", what)]
    if not is_integer(wish.value, least=1):
        return [FieldError("value", f"say how much to add: a whole number from 1 to {MOST}")]
    return []


def _override_faults(catalog: Catalog, wish: GrantWish) -> list[FieldError]:
    if wish.target_kind != "feature":
        what = f"override replaces the value of one feature: target a feature, not a {wish.target_kind}"
        return [FieldError("effect", what)]
    feature = catalog.features[wish.target]
    if isinstance(wish.value, UnsetType):
        return [FieldError("value", f"say what {feature.key} is to be: {_wanted(feature)}")]
    return [] if fits(feature, wish.value) else [_misfit(feature, wish.value)]


def _features_of(catalog: Catalog, wish: GrantWish) -> Iterable[Feature]:
    match wish.target_kind:
        case "feature":
            return [catalog.features[wish.target]]
        case "plan":
            given = all_grants(catalog, wish.target)
            return [feature for feature in catalog.features.values() if feature.key in given]
        case "app":
            return catalog.features_by_app[wish.target]
        case "project":
            return catalog.features.values()


def _misfit(feature: Feature, value: FeatureValue) -> FieldError:
    shown = "null" if value is None else show(value)
    return FieldError("value", f"is {shown}; {feature.key} is of type {feature.type}: {_wanted(feature)}")


def _wanted(feature: Feature) -> str:
    match feature.type:
        case "boolean":
            return "true or false"
        case "integer":
            return f"a whole number from 0 to {MOST}, or null for unlimited"
        case "enum":
            return f"one of {', '.join(feature.values)}"
        case "set":
            return 'a list of different texts, such as ["png"]'


# ── times ───────────────────────────────────────────────────────────────────────────────────────────


def _time_faults(wish: GrantWish, now: datetime) -> list[FieldError]:
    faults = [*_instant_faults("starts_at", wish.starts_at), *_instant_faults("expires_at", wish.expires_at)]
    if faults or wish.expires_at is None:
        return faults
    if wish.expires_at <= now:
        return [FieldError("expires_at", f"is in the past: it is {now.isoformat(timespec='seconds')} now")]
    if wish.expires_at <= (wish.starts_at or now):
        return [FieldError("expires_at", "must be after starts_at")]
    return []


def _instant_faults(field: str, at: datetime | None) -> list[FieldError]:
    if at is None:
        return []
    if at.tzinfo is None:
        return [FieldError(field, "needs a zone, such as Z for UTC")]
    if not EARLIEST <= at <= LATEST:
        return [FieldError(field, f"must be between the years {EARLIEST.year} and {LATEST.year}")]
    return []


def _in_utc(at: datetime | None) -> datetime | None:
    """None also for what `_instant_faults` refuses."""
    return None if at is None or _instant_faults("", at) else at.astimezone(UTC)
