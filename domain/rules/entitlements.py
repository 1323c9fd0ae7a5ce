"""The answer: what a user may use, by the order deny > override > merged sources > catalog default > absent.

The rules and their tests: docs/entitlements.md.
"""

from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from domain.errors import Unknown
from domain.model import Entitlement, EntitlementSet, Facts, FeatureValue, Reason
from domain.rules.catalog import Catalog, Feature, is_nothing
from domain.rules.catalog.fields import MOST
from domain.rules.merge import Claim, merge_claims
from domain.rules.moment import Judged, Moment, earliest, judge, latest, read_sources
from domain.rules.sources import RANK, Source

#: The value of what is not granted.
_NOTHING: dict[str, FeatureValue] = {"boolean": False, "integer": 0, "enum": None, "set": []}

_encoder = msgspec.json.Encoder(order="deterministic")


def compute(facts: Facts, catalog: Catalog, app: str, at: datetime) -> EntitlementSet:
    """What the user may use in `app` at one instant: each feature visible to the app, sorted by key.

    `at` is aware UTC. Periods are half-open: access ends exactly at its end. Pure: the same input gives the
    same bytes, whatever the order of the sources. Raises Unknown where the catalog has no such app.

    Source: docs/entitlements.md.
    """
    refuse_unknown_app(catalog, app)
    return evaluate(read_sources(facts, catalog, app), catalog, app, at)


def refuse_unknown_app(catalog: Catalog, app: str) -> None:
    if app not in catalog.apps:
        known = ", ".join(sorted(catalog.apps))
        raise Unknown(f'project "{catalog.project}" has no app "{app}"; it has: {known}', code="unknown_app")


def evaluate(sources: Iterable[Source], catalog: Catalog, app: str, at: datetime) -> EntitlementSet:
    """`compute` for sources that are read already, as by `read_sources` for the same catalog and app."""
    moment = judge(sources, at)
    return {feature.key: _answer(feature, moment, catalog) for feature in catalog.features_by_app[app]}


def encode_entitlements(entitlements: EntitlementSet) -> bytes:
    """The JSON that answers embed: equal sets are equal bytes."""
    return _encoder.encode(entitlements)


def _answer(feature: Feature, moment: Moment, catalog: Catalog) -> Entitlement:
    for step in _ORDER:
        answer = step(feature, moment)
        if answer is not None:
            return answer
    return _refused(feature, moment, catalog)


# ── the order of precedence ─────────────────────────────────────────────────────────────────────────


def _denied(feature: Feature, moment: Moment) -> Entitlement | None:
    denies = moment.denied.get(feature.key)
    return _not_granted(feature, Reason.DENIED, [deny.source for deny in denies]) if denies else None


def _overridden(feature: Feature, moment: Moment) -> Entitlement | None:
    """The oldest override stands alone; one that gives nothing takes away what others give."""
    overrides = moment.overridden.get(feature.key)
    if not overrides:
        return None
    override = overrides[0]
    if is_nothing(override.value):
        return _not_granted(feature, Reason.DENIED, [override.source])
    return _granted(feature, moment, override.value, overrides[:1])


def _merged(feature: Feature, moment: Moment) -> Entitlement | None:
    """What sources and allow-grants give, and what `add` grants add: to the default where nobody gives."""
    claims, adds = moment.allowed.get(feature.key), moment.added.get(feature.key)
    if not claims and not adds:
        return None
    value, made = _default_number(feature), list[Claim]()
    if claims:
        merged = merge_claims(feature, claims)
        value, made = merged.value, merged.claims
    if adds and isinstance(value, int):
        value += sum(add.value for add in adds if isinstance(add.value, int))
        made = [*made, *adds]
    if feature.type == "integer" and isinstance(value, int):
        # Sums and quantities may pass what every JSON reader keeps exact; no limit anybody means is as high.
        value = min(value, MOST)
    return _granted(feature, moment, value, made)


def _defaulted(feature: Feature, moment: Moment) -> Entitlement | None:
    default = feature.default
    if default is None or is_nothing(default.value):
        return None
    return _granted(feature, moment, default.value, [])


_ORDER: tuple[Callable[[Feature, Moment], Entitlement | None], ...] = (
    _denied,
    _overridden,
    _merged,
    _defaulted,
)


def _refused(feature: Feature, moment: Moment, catalog: Catalog) -> Entitlement:
    """The first reason that applies, of its newest source."""
    speaking = [one for one in moment.refusals if one.source.is_unmapped or feature.key in one.source.values]
    if speaking:
        # Refusals are sorted older first, so of the equal ones the last is the newest.
        first = min(reversed(speaking), key=_refusal_rank)
        return _not_granted(feature, first.span.reason, [first.source])
    return Entitlement(
        granted=False,
        type=feature.type,
        value=_NOTHING[feature.type],
        unlimited=False if feature.type == "integer" else UNSET,
        reason=Reason.NOT_IN_PLAN if moment.holds_plan else Reason.NO_SUBSCRIPTION,
        available_in=catalog.plans_giving.get(feature.key, ()),
    )


def _refusal_rank(one: Judged) -> int:
    return RANK[one.span.reason]


# ── building the answer ─────────────────────────────────────────────────────────────────────────────


def _default_number(feature: Feature) -> FeatureValue:
    if feature.type == "integer" and feature.default is not None:
        return feature.default.value
    return 0


def _granted(feature: Feature, moment: Moment, value: FeatureValue, made: list[Claim]) -> Entitlement:
    """`made`: the claims that made the value, the winning one first; none for the catalog's default."""
    ends_at = latest([claim.ends_at for claim in made])
    if moment.taken_at:
        ends_at = earliest(ends_at, moment.taken_at.get(feature.key))
    return Entitlement(
        granted=True,
        type=feature.type,
        value=value,
        unlimited=value is None if feature.type == "integer" else UNSET,
        reason=made[0].reason if made else Reason.CATALOG_DEFAULT,
        ends_at=ends_at,
        flags=_flags(made),
        sources=tuple([claim.source.ref for claim in made]),
    )


def _flags(made: list[Claim]) -> tuple[str, ...] | UnsetType:
    flags = [flag for claim in made for flag in claim.source.flags]
    return tuple(sorted(set(flags))) if flags else UNSET


def _not_granted(feature: Feature, reason: Reason, sources: list[Source]) -> Entitlement:
    return Entitlement(
        granted=False,
        type=feature.type,
        value=_NOTHING[feature.type],
        unlimited=False if feature.type == "integer" else UNSET,
        reason=reason,
        sources=tuple(source.ref for source in sources),
    )
