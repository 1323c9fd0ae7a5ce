"""The name of the rule behind an answer: stable for programs, a sentence for people, a section of the docs.

One row per reason, because a reason is what a rule says; the sections are those of docs/entitlements.md.
"""

from msgspec import Struct

from domain.model import Entitlement, Reason

_ITEM = "A subscription item gives access"
_PURCHASE = "A purchase gives access"
_GRANTS = "Grants"
_MERGE = "Merge"
_REFUSAL = "The reason of a refusal"


class AppliedRule(Struct, frozen=True, kw_only=True):
    #: Stable, such as `subscription.grace`.
    name: str
    sentence: str
    #: The heading in docs/entitlements.md under which the rule and its test stand.
    section: str


def _rule(name: str, section: str, sentence: str) -> AppliedRule:
    return AppliedRule(name=name, sentence=sentence, section=section)


OVERRIDDEN_TO_NOTHING = _rule(
    "grant.override_to_nothing",
    _GRANTS,
    "An override replaces what every source gives; one that gives nothing takes access away.",
)

RULES: dict[Reason, AppliedRule] = {
    Reason.SUBSCRIPTION_ACTIVE: _rule(
        "subscription.active", _ITEM, "An active subscription gives what its plan grants, until its end."
    ),
    Reason.SUBSCRIPTION_TRIALING: _rule(
        "subscription.trial",
        _ITEM,
        "A trial gives access, and holds for settle_hours after its end until Stripe says what became of it.",
    ),
    Reason.IN_GRACE: _rule(
        "subscription.grace",
        _ITEM,
        "A failed payment keeps access for grace_days from the first failure, for what was paid for before.",
    ),
    Reason.PURCHASE: _rule(
        "purchase.paid", _PURCHASE, "A paid purchase gives access for its days, or for a lifetime."
    ),
    Reason.GRANT: _rule("grant.gives", _GRANTS, "A grant of an operator gives, beside what was bought."),
    Reason.OVERRIDE: _rule(
        "grant.override", _GRANTS, "An override replaces what every source gives; the oldest one stands."
    ),
    Reason.CATALOG_DEFAULT: _rule(
        "catalog.default", _MERGE, "No source gives the feature, so the catalog's default stands."
    ),
    Reason.DENIED: _rule("grant.deny", _GRANTS, "A deny beats everything else."),
    Reason.DISPUTED: _rule(
        "payment.disputed", _REFUSAL, "An open or lost dispute suspends what the payment gave."
    ),
    Reason.PAYMENT_UNPAID: _rule(
        "subscription.unpaid", _ITEM, "An unpaid subscription gives nothing once the days of grace are over."
    ),
    Reason.PAYMENT_PAST_DUE: _rule(
        "subscription.past_due",
        _ITEM,
        "A subscription that is past due gives nothing once the days of grace are over.",
    ),
    Reason.SUBSCRIPTION_PAUSED: _rule(
        "subscription.paused", _ITEM, "A paused subscription gives nothing beyond grace and what is paid."
    ),
    Reason.SUBSCRIPTION_INCOMPLETE: _rule(
        "subscription.incomplete", _ITEM, "A subscription that was never paid gives nothing."
    ),
    Reason.STATUS_UNKNOWN: _rule(
        "subscription.status_unknown",
        _ITEM,
        "What became of the subscription is not known, and the time it may hold without knowing is over.",
    ),
    Reason.PRICE_UNMAPPED: _rule(
        "catalog.price_unmapped",
        _ITEM,
        "The catalog knows neither the Stripe price nor its product, so nobody can say what it gives.",
    ),
    Reason.REFUNDED: _rule("purchase.refunded", _PURCHASE, "A full refund ends what the purchase gave."),
    Reason.PURCHASE_EXPIRED: _rule("purchase.expired", _PURCHASE, "The days that were bought are over."),
    Reason.REVOKED: _rule("grant.revoked", _GRANTS, "The grant was revoked."),
    Reason.GRANT_EXPIRED: _rule("grant.expired", _GRANTS, "The grant has reached its expiry."),
    Reason.SUBSCRIPTION_CANCELED: _rule(
        "subscription.canceled", _ITEM, "A subscription gives nothing from its end on."
    ),
    Reason.NOT_STARTED: _rule(
        "source.not_started", _REFUSAL, "The source that would give it has not begun yet."
    ),
    Reason.NOT_IN_PLAN: _rule(
        "catalog.not_in_plan", _REFUSAL, "The user has a plan, and none of their sources gives this feature."
    ),
    Reason.NO_SUBSCRIPTION: _rule("catalog.no_source", _REFUSAL, "The user has no source at all that gives."),
}


def applied_rule(answer: Entitlement) -> AppliedRule:
    """The rule behind one answer."""
    is_override = any(source.effect == "override" for source in answer.sources)
    if answer.reason is Reason.DENIED and is_override:
        return OVERRIDDEN_TO_NOTHING
    return RULES[answer.reason]
