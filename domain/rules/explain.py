"""Why an answer is what it is: the rule applied, every source with its fate, and what would change it.

Pure, like the answer itself: the same facts explain it the same way. What may be shown to whom is decided
by `visible_only`.
"""

from datetime import datetime
from itertools import pairwise

import msgspec
from msgspec import UNSET, Struct, UnsetType

from domain.model import Entitlement, Facts, FeatureValue, Reason
from domain.rules.applied import AppliedRule, applied_rule
from domain.rules.catalog import Catalog
from domain.rules.entitlements import evaluate, refuse_unknown_app
from domain.rules.moment import judge, read_sources
from domain.rules.outcomes import (
    Arithmetic,
    SourceOutcome,
    integer_arithmetic,
    is_about,
    judge_outcomes,
    show_value,
)
from domain.rules.timeline import timeline

#: What has to happen for a refusal to end. Names of commands are for operators.
_ENDS_WITH = {
    Reason.DENIED: "The end of {sources}, which only an operator can revoke.",
    Reason.DISPUTED: "A dispute that is won, or closed in our favour, of {sources}.",
    Reason.PAYMENT_UNPAID: "A payment of the open invoice of {sources}.",
    Reason.PAYMENT_PAST_DUE: "A payment of the open invoice of {sources}.",
    Reason.SUBSCRIPTION_PAUSED: "The end of the pause of {sources}.",
    Reason.SUBSCRIPTION_INCOMPLETE: "The first payment of {sources}.",
    Reason.STATUS_UNKNOWN: "A read of {sources} that shows a status we know.",
    Reason.PRICE_UNMAPPED: "A plan of the catalog that lists the price of {sources}, or its product.",
    Reason.REFUNDED: "A new purchase; {sources} was refunded.",
    Reason.PURCHASE_EXPIRED: "A new purchase; the days of {sources} are over.",
    Reason.REVOKED: "A new grant; {sources} was revoked.",
    Reason.GRANT_EXPIRED: "A new grant; {sources} has expired.",
    Reason.SUBSCRIPTION_CANCELED: "A new subscription; {sources} has ended.",
    Reason.NOT_STARTED: "The start of {sources}.",
}


class NextChange(Struct, frozen=True, kw_only=True):
    """A known instant at which this feature's answer changes by itself, and to what."""

    at: datetime
    granted: bool
    value: FeatureValue
    unlimited: bool | UnsetType = UNSET
    reason: Reason


class Explanation(Struct, frozen=True, kw_only=True):
    """One feature at one instant."""

    verdict: Entitlement
    rule: AppliedRule
    #: Older first.
    sources: tuple[SourceOutcome, ...]
    #: Integers that were merged only.
    arithmetic: Arithmetic | UnsetType = UNSET
    #: The catalog's, for whom no source gives; absent: nothing. For an integer null is unlimited.
    default: FeatureValue | UnsetType = UNSET
    #: In order of time; empty: no instant is known.
    next_changes: tuple[NextChange, ...]
    #: Plans that give the feature, lowest rank first.
    available_in: tuple[str, ...]
    #: Sentences.
    would_change: tuple[str, ...]


def explain(
    facts: Facts, catalog: Catalog, app: str, feature_key: str, at: datetime, *, visible_only: bool
) -> Explanation:
    """Why `compute` answers what it answers for one feature that `app` sees.

    `at` is aware UTC. `visible_only`: without sources that say nothing about any feature of the app.
    """
    refuse_unknown_app(catalog, app)
    feature = catalog.features[feature_key]
    sources = read_sources(facts, catalog, app)
    moment = judge(sources, at)
    answer = evaluate(sources, catalog, app, at)[feature_key]
    if visible_only:
        seen = {one.key: one for one in catalog.features_by_app[app]}
        moment = msgspec.structs.replace(
            moment, judged=[one for one in moment.judged if is_about(one.source, seen)]
        )
    next_changes = list_changes(facts, catalog, app, feature_key, at)
    available_in = catalog.plans_giving.get(feature_key, ())
    return Explanation(
        verdict=answer,
        rule=applied_rule(answer),
        sources=tuple(judge_outcomes(feature, moment, answer)),
        arithmetic=integer_arithmetic(feature, moment, answer) or UNSET,
        default=feature.default.value if feature.default is not None else UNSET,
        next_changes=next_changes,
        available_in=available_in,
        would_change=tuple(_would_change(answer, next_changes, available_in)),
    )


def list_changes(
    facts: Facts, catalog: Catalog, app: str, feature_key: str, at: datetime
) -> tuple[NextChange, ...]:
    """When this feature's answer is known to change after `at`, whatever other features do."""
    answers = [(one.begins_at, one.entitlements[feature_key]) for one in timeline(facts, catalog, app, at)]
    return tuple(
        NextChange(
            at=begins_at,
            granted=answer.granted,
            value=answer.value,
            unlimited=answer.unlimited,
            reason=answer.reason,
        )
        for (_, before), (begins_at, answer) in pairwise(answers)
        if _said(before) != _said(answer)
    )


def existing_at(facts: Facts, at: datetime) -> Facts:
    """Without what did not exist at `at`: a rule looks at a subscription's end, never at its creation.

    Purchases and grants begin by themselves.
    """
    subscriptions = tuple(one for one in facts.subscriptions if one.created_at <= at)
    return msgspec.structs.replace(facts, subscriptions=subscriptions)


def _said(answer: Entitlement) -> tuple[bool, FeatureValue, Reason]:
    return answer.granted, answer.value, answer.reason


def _would_change(
    answer: Entitlement, changes: tuple[NextChange, ...], available_in: tuple[str, ...]
) -> list[str]:
    said = [_change_sentence(change) for change in changes[:1]]
    if answer.granted:
        return said or ["Nothing that is known: it holds until a source changes."]
    if answer.reason in _ENDS_WITH:
        said.append(_ENDS_WITH[answer.reason].format(sources=_named(answer)))
    if answer.reason is not Reason.DENIED:
        said.append(_offer(available_in))
    return said


def _change_sentence(change: NextChange) -> str:
    moment = change.at.isoformat()
    if not change.granted:
        return f"At {moment} it ends by itself: {change.reason.value}."
    return f"At {moment} it becomes {show_value(change.value)} by itself: {change.reason.value}."


def _offer(available_in: tuple[str, ...]) -> str:
    if not available_in:
        return "A grant: no plan of the catalog gives this feature."
    return f"A plan that gives it ({', '.join(available_in)}), or a grant."


def _named(answer: Entitlement) -> str:
    return ", ".join(source.id for source in answer.sources) or "its source"
