"""What became of each source of a user for one feature at one instant: it won or lost, and why."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from domain.model import Entitlement, FeatureValue, Reason, SourceRef
from domain.rules.catalog import Feature
from domain.rules.merge import Claim, is_summed, merge_claims
from domain.rules.moment import Judged, Moment
from domain.rules.sources import Life, Source, seniority

Outcome = Literal["wins", "loses"]
#: Who decides, in the order of precedence.
Stage = Literal["deny", "override", "merge", "default", "refusal"]

#: Why: code → what it means, with what stands in braces put in.
SENTENCES = {
    "denies": "takes the feature away: a deny beats everything else",
    "overrides": "stands alone: an override replaces what the others give",
    "gives": "gives the feature",
    "highest": "gives the most: {value}",
    "summed": "is added: {value}",
    "unlimited": "gives it without a limit, which beats every number",
    "joins": "adds its strings to the union: {value}",
    "not_in_force": "{does_nothing} now: {reason}{later}",
    "other_features": "is about other features than this one",
    "gives_nothing": "gives nothing at all: quantity 0, or a target that the catalog does not have",
    "requirement_missing": "does not count: its plan requires {requires}, which gives no access now",
    "denied": "would give {value}, but a deny beats it",
    "overridden": "would give {value}, but an override replaces it",
    "older_override": "is an override too, but an older one stands",
    "lower_value": "gives {value}, and another source gives more",
    "nothing_to_add_to": "adds {value}, but without a limit there is nothing to add to",
}


class Stretch(Struct, frozen=True, kw_only=True):
    """A part of a source's life; None: from ever, or without an end."""

    begins_at: datetime | None
    ends_at: datetime | None
    #: Whether the source is in force: it gives, or for a deny or override takes its effect.
    is_live: bool
    reason: Reason


class SourceOutcome(Struct, frozen=True, kw_only=True):
    source: SourceRef
    #: The item of the subscription, or the line of the purchase; empty for a grant.
    part: str
    #: Creation of the subscription or grant, payment of the purchase.
    since: datetime
    #: What it says about the feature while it is live; absent: nothing. For an integer null is unlimited.
    value: FeatureValue | UnsetType = UNSET
    outcome: Outcome
    #: Stable code: a key of `SENTENCES`.
    why: str
    sentence: str
    #: Whether its refusal is the reason of the answer.
    gives_reason: bool
    #: Its whole life: when it gives and when not, and for which reason.
    life: tuple[Stretch, ...]
    #: By a grant's operator; only for who may read it.
    operator_reason: str | UnsetType = UNSET
    actor: str | UnsetType = UNSET


class Arithmetic(Struct, frozen=True, kw_only=True):
    """How an integer came about. None is unlimited."""

    #: What stands where no source gives: the default, to which grants add; absent: a source gives.
    default: FeatureValue | UnsetType = UNSET
    #: Compared with each other: the largest counts.
    compared: tuple[FeatureValue, ...] = ()
    #: Added to it: add-ons, or everything where the feature sums.
    summed: tuple[FeatureValue, ...] = ()
    #: Added by grants of effect `add`.
    added: tuple[FeatureValue, ...] = ()
    value: FeatureValue
    sentence: str


def stage_of(feature: Feature, moment: Moment, answer: Entitlement) -> Stage:
    """Which step of the order of precedence has decided."""
    if feature.key in moment.denied:
        return "deny"
    if feature.key in moment.overridden:
        return "override"
    if not answer.granted:
        return "refusal"
    return "default" if answer.reason is Reason.CATALOG_DEFAULT else "merge"


def judge_outcomes(feature: Feature, moment: Moment, answer: Entitlement) -> list[SourceOutcome]:
    """Every source, older first."""
    stage = stage_of(feature, moment, answer)
    winners = {seniority(claim.source): claim for claim in _winning(feature, moment, stage)}
    return [_outcome(one, feature, stage, winners, answer) for one in moment.judged]


def is_about(source: Source, features: Mapping[str, object]) -> bool:
    """Whether a source says anything about one of these features, or could: a price nobody knows."""
    return source.is_unmapped or any(key in features for key in source.values)


def integer_arithmetic(feature: Feature, moment: Moment, answer: Entitlement) -> Arithmetic | None:
    """How the number came about; None: the feature is none, or nothing was merged."""
    if feature.type != "integer" or stage_of(feature, moment, answer) != "merge":
        return None
    claims = moment.allowed.get(feature.key, [])
    summed = [claim for claim in claims if is_summed(feature, claim)]
    compared = [claim for claim in claims if not is_summed(feature, claim)]
    added = moment.added.get(feature.key, [])
    default: FeatureValue | UnsetType = UNSET
    if not claims:
        default = feature.default.value if feature.default is not None else 0
    return Arithmetic(
        default=default,
        compared=tuple(claim.value for claim in compared),
        summed=tuple(claim.value for claim in summed),
        added=tuple(claim.value for claim in added),
        value=answer.value,
        sentence=_arithmetic_sentence(default, compared, summed, added, answer),
    )


def _winning(feature: Feature, moment: Moment, stage: Stage) -> list[Claim]:
    match stage:
        case "deny":
            return moment.denied[feature.key]
        case "override":
            return moment.overridden[feature.key][:1]
        case "merge":
            return _merging(feature, moment)
        case "default" | "refusal":
            return []


def _merging(feature: Feature, moment: Moment) -> list[Claim]:
    claims, adds = moment.allowed.get(feature.key, []), moment.added.get(feature.key, [])
    merged = merge_claims(feature, claims) if claims else None
    default_value = feature.default.value if feature.default is not None else 0
    is_unlimited = (merged.value if merged is not None else default_value) is None
    made = merged.claims if merged is not None else []
    return made if is_unlimited else [*made, *adds]


def _outcome(
    one: Judged,
    feature: Feature,
    stage: Stage,
    winners: Mapping[tuple[datetime, str, str], Claim],
    answer: Entitlement,
) -> SourceOutcome:
    source = one.source
    claim = winners.get(seniority(source))
    why = _why_it_wins(feature, claim) if claim is not None else _why_it_loses(one, feature, stage)
    value = source.values.get(feature.key, UNSET)
    return SourceOutcome(
        source=source.ref,
        part=source.part,
        since=source.since,
        value=UNSET if source.ref.effect == "deny" else value,
        outcome="wins" if claim is not None else "loses",
        why=why,
        sentence=_sentence(why, one, value),
        gives_reason=_gives_reason(one, answer),
        life=_stretches(source.life),
    )


def _why_it_wins(feature: Feature, claim: Claim) -> str:
    effect = claim.source.ref.effect
    if effect in {"deny", "override"}:
        return "denies" if effect == "deny" else "overrides"
    if effect == "add":
        return "summed"
    match feature.type:
        case "boolean":
            return "gives"
        case "enum":
            return "highest"
        case "set":
            return "joins"
        case "integer" if claim.value is None:
            return "unlimited"
        case "integer":
            return "summed" if is_summed(feature, claim) else "highest"


def _why_it_loses(one: Judged, feature: Feature, stage: Stage) -> str:
    source = one.source
    if not source.is_unmapped and feature.key not in source.values:
        return "other_features" if source.values else "gives_nothing"
    if not one.span.is_live:
        return "not_in_force"
    if one.lacks_requirement:
        return "requirement_missing"
    if stage == "deny":
        return "denied"
    if stage == "override":
        return "older_override" if source.ref.effect == "override" else "overridden"
    return "nothing_to_add_to" if source.ref.effect == "add" else "lower_value"


def _gives_reason(one: Judged, answer: Entitlement) -> bool:
    is_named = one.source.ref in answer.sources and one.span.reason is answer.reason
    return not answer.granted and is_named and not one.span.is_live


def _sentence(why: str, one: Judged, value: FeatureValue | UnsetType) -> str:
    plan, until = one.source.plan, one.span.until
    return SENTENCES[why].format(
        value=show_value(value),
        reason=one.span.reason.value,
        later=f" (until {until.isoformat()})" if until is not None else "",
        requires=plan.requires if plan is not None else None,
        does_nothing="takes nothing" if one.source.ref.effect == "deny" else "gives nothing",
    )


def show_value(value: FeatureValue | UnsetType) -> str:
    """The value in a sentence, as JSON would say it; None is unlimited."""
    if value is UNSET:
        return "it"
    if isinstance(value, list):
        return ", ".join(value)
    return "unlimited" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _stretches(life: Life) -> tuple[Stretch, ...]:
    begins = [None, *(span.until for span in life)]
    return tuple(
        Stretch(begins_at=begins_at, ends_at=span.until, is_live=span.is_live, reason=span.reason)
        for begins_at, span in zip(begins, life, strict=False)
    )


def _arithmetic_sentence(
    default: FeatureValue | UnsetType,
    compared: list[Claim],
    summed: list[Claim],
    added: list[Claim],
    answer: Entitlement,
) -> str:
    if answer.unlimited is True:
        return "unlimited beats every number"
    parts = [] if default is UNSET else [f"default {show_value(default)}"]
    if compared:
        parts.append(f"largest of {', '.join(show_value(claim.value) for claim in compared)}")
    parts.extend(f"+ {show_value(claim.value)} ({claim.source.ref.plan or 'grant'})" for claim in summed)
    parts.extend(f"+ {show_value(claim.value)} (grant {claim.source.ref.id})" for claim in added)
    return f"{' '.join(parts)} = {show_value(answer.value)}".removeprefix("+ ")
