"""How the values of several sources become one, by the type of the feature. Order never matters.

Adding a claim never lowers the result.
"""

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from domain.model import FeatureValue, Reason
from domain.rules.catalog import Feature
from domain.rules.sources import Source


class Claim(Struct, frozen=True):
    """What one live source says about one feature."""

    source: Source
    #: None: unlimited.
    value: FeatureValue
    reason: Reason
    #: When this source stops saying it, if nothing changes; None: no end is known.
    ends_at: datetime | None


class Merged(Struct, frozen=True):
    value: FeatureValue
    #: The claims that made the value, in the order of the input (older sources first).
    claims: list[Claim]


def merge_claims(feature: Feature, claims: list[Claim]) -> Merged:
    """One value from at least one claim; each claim's value fits the feature and is not nothing."""
    return _RULES[feature.type](feature, claims)


def _any(_feature: Feature, claims: list[Claim]) -> Merged:
    return Merged(value=True, claims=claims)


def _integer(feature: Feature, claims: list[Claim]) -> Merged:
    best = summed = 0
    for claim in claims:
        if not isinstance(claim.value, int):
            return _unlimited(claims)
        if is_summed(feature, claim):
            summed += claim.value
        elif claim.value > best:
            best = claim.value
    made = [claim for claim in claims if claim.value == best or is_summed(feature, claim)]
    return Merged(value=best + summed, claims=made)


def _unlimited(claims: list[Claim]) -> Merged:
    return Merged(value=None, claims=[claim for claim in claims if claim.value is None])


def is_summed(feature: Feature, claim: Claim) -> bool:
    """Whether a claim on this integer is added to the others instead of being compared with them."""
    if feature.merge is not None:
        return feature.merge == "sum"
    return claim.source.plan is not None and claim.source.plan.kind == "addon"


def _highest(feature: Feature, claims: list[Claim]) -> Merged:
    ranks = [feature.values.index(str(claim.value)) for claim in claims]
    best = max(ranks)
    made = [claim for claim, rank in zip(claims, ranks, strict=True) if rank == best]
    return Merged(value=feature.values[best], claims=made)


def _union(_feature: Feature, claims: list[Claim]) -> Merged:
    texts = {text for claim in claims if isinstance(claim.value, list) for text in claim.value}
    return Merged(value=sorted(texts), claims=claims)


_RULES: dict[str, Callable[[Feature, list[Claim]], Merged]] = {
    "boolean": _any,
    "integer": _integer,
    "enum": _highest,
    "set": _union,
}
