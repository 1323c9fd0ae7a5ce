"""All sources of a user judged at one instant: who says what about which feature, and who is refused why."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec import Struct

from domain.model import Facts, FeatureValue, GrantEffect, Reason
from domain.rules.catalog import Catalog, is_nothing
from domain.rules.grant import grant_source
from domain.rules.merge import Claim
from domain.rules.purchase import purchase_sources
from domain.rules.sources import Source, Span, seniority, span_at
from domain.rules.subscription import subscription_sources

#: Reasons for which a plan gives nothing now although its holder still has it.
_HELD = frozenset(
    {
        Reason.DISPUTED,
        Reason.PAYMENT_UNPAID,
        Reason.PAYMENT_PAST_DUE,
        Reason.SUBSCRIPTION_PAUSED,
        Reason.STATUS_UNKNOWN,
    }
)
#: Effects that may take away what others give.
_TAKING = frozenset({"deny", "override"})

ClaimsByFeature = dict[str, list[Claim]]


class Judged(Struct, frozen=True):
    """One source at one instant."""

    source: Source
    span: Span
    #: An add-on whose required plan gives no access now: live by itself, but it does not count.
    lacks_requirement: bool = False


class Moment(Struct, frozen=True):
    at: datetime
    #: Every source, older first.
    judged: list[Judged]
    #: What live sources say, by feature; sources of Stripe are among `allowed`.
    allowed: ClaimsByFeature
    added: ClaimsByFeature
    overridden: ClaimsByFeature
    denied: ClaimsByFeature
    #: Sources that would give something but do not now, older first.
    refusals: list[Judged]
    #: By feature: when a known deny, or an override that gives nothing, will end what is there now.
    taken_at: Mapping[str, datetime]
    #: Whether the user has a plan, be it one that gives nothing now because a payment is missing.
    holds_plan: bool


def read_sources(facts: Facts, catalog: Catalog, app: str) -> list[Source]:
    """All sources with their lives, older first, then by id: the order in which the facts came is gone."""
    sources = purchase_sources(facts.purchases, catalog) if facts.purchases else []
    for subscription in facts.subscriptions:
        sources.extend(subscription_sources(subscription, catalog))
    sources.extend(grant_source(grant, catalog, app) for grant in facts.grants)
    return sorted(sources, key=seniority)


def judge(sources: Iterable[Source], at: datetime) -> Moment:
    judged = _settle_requirements([Judged(source, span_at(source.life, at)) for source in sources])
    claims = _claims(judged)
    return Moment(
        at=at,
        judged=judged,
        allowed=claims["allow"],
        added=claims["add"],
        overridden=claims["override"],
        denied=claims["deny"],
        refusals=[one for one in judged if not one.span.is_live and _would_give(one.source)],
        taken_at=_taken_at([one.source for one in judged if one.source.ref.effect in _TAKING], at),
        holds_plan=any(_is_held(one) for one in judged),
    )


def plans_given(moment: Moment) -> set[str]:
    """Keys of the plans that give something at that moment."""
    return {
        one.source.plan.key
        for one in moment.judged
        if one.span.is_live and not one.lacks_requirement and one.source.plan is not None
        if one.source.quantity > 0
    }


def plans_without_end(moment: Moment) -> set[str]:
    """Keys of the plans that give something at that moment, with no end of it known."""
    return {
        one.source.plan.key
        for one in moment.judged
        if one.span.is_live and one.span.access_ends_at is None and one.source.plan is not None
    }


def _settle_requirements(judged: list[Judged]) -> list[Judged]:
    """An add-on counts only while the plan it requires gives access, and no longer than that one."""
    if not any(_requirement(one) for one in judged):
        return judged
    ends: dict[str, list[datetime | None]] = defaultdict(list)
    for one in judged:
        if one.span.is_live and one.source.plan is not None and one.source.quantity > 0:
            ends[one.source.plan.key].append(one.span.access_ends_at)
    return [_with_requirement(one, ends) for one in judged]


def _requirement(one: Judged) -> str | None:
    return one.source.plan.requires if one.span.is_live and one.source.plan is not None else None


def _with_requirement(one: Judged, ends: Mapping[str, list[datetime | None]]) -> Judged:
    requirement = _requirement(one)
    if requirement is None:
        return one
    if requirement not in ends:
        return Judged(one.source, one.span, lacks_requirement=True)
    ends_at = earliest(one.span.access_ends_at, latest(ends[requirement]))
    span = Span(until=one.span.until, is_live=True, reason=one.span.reason, access_ends_at=ends_at)
    return Judged(one.source, span)


def _claims(judged: list[Judged]) -> dict[GrantEffect, ClaimsByFeature]:
    claims: dict[GrantEffect, ClaimsByFeature] = {"allow": {}, "add": {}, "override": {}, "deny": {}}
    for one in judged:
        span, source = one.span, one.source
        if not span.is_live or one.lacks_requirement:
            continue
        of_effect = claims[source.ref.effect or "allow"]
        reason, ends_at = span.reason, span.access_ends_at
        for key, value in source.values.items():
            claim = Claim(source, value, reason, ends_at)
            if key in of_effect:
                of_effect[key].append(claim)
            else:
                of_effect[key] = [claim]
    return claims


def _would_give(source: Source) -> bool:
    """A deny never gives, and an override gives unless it was there to take away."""
    if source.ref.effect == "override":
        return not any(is_nothing(value) for value in source.values.values())
    return source.ref.effect != "deny"


def _taken_at(takers: list[Source], at: datetime) -> Mapping[str, datetime]:
    """By feature, the first instant later than `at` at which one of these takes it away."""
    taken: dict[str, datetime] = {}
    if not takers:
        return taken
    ends = {span.until for source in takers for span in source.life}
    for edge in sorted(end for end in ends if end is not None and end > at):
        for key in _taken(takers, edge):
            taken.setdefault(key, edge)
    return taken


def _taken(takers: list[Source], at: datetime) -> set[str]:
    """Features that a deny, or the override that stands (the oldest), takes away at `at`."""
    denied, standing = set[str](), dict[str, FeatureValue]()
    for source in takers:
        if not span_at(source.life, at).is_live:
            continue
        if source.ref.effect == "deny":
            denied.update(source.values)
        else:
            for key, value in source.values.items():
                standing.setdefault(key, value)
    return denied | {key for key, value in standing.items() if is_nothing(value)}


def _is_held(one: Judged) -> bool:
    return one.source.plan is not None and (one.span.is_live or one.span.reason in _HELD)


def latest(ends: list[datetime | None]) -> datetime | None:
    """None, no known end, is later than every end."""
    known = [end for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None


def earliest(one: datetime | None, other: datetime | None) -> datetime | None:
    """None, no known end, is later than every end."""
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
