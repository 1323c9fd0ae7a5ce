"""Any facts that a user of the tests' catalog may have, on a grid of half days around `NOW`.

Each source is made from a seed of its own, so Hypothesis draws four numbers per example instead of a hundred,
and shrinks by leaving sources out.
"""

from datetime import datetime
from random import Random

from hypothesis import strategies as st

from domain.model import Dispute, Facts, Grant, Purchase, Refund, Subscription, SubscriptionItem
from tests.unit.rules.builders import (
    day,
    facts_of,
    make_dispute,
    make_grant,
    make_item,
    make_purchase,
    make_refund,
    make_subscription,
)

PLANS = ["pro", "pro", "team", "extra", "boost", "pass", "founder", "unheard_of"]
#: The second is listed in `stripe_ids` of pro, whatever its product is.
PRICES = ["price_any", "price_any", "price_any", "price_legacy"]
FEATURES = ["credits", "export", "formats", "limit", "projects", "seats", "sso", "support"]
STATUSES = [
    "trialing",
    "active",
    "active",
    "past_due",
    "unpaid",
    "canceled",
    "incomplete",
    "paused",
    "hibernating",
    "incomplete_expired",
]
DISPUTES = [
    "needs_response",
    "under_review",
    "lost",
    "won",
    "warning_under_review",
    "warning_closed",
    "prevented",
    "appeal_x",
]
EFFECTS = ["allow", "add", "override", "deny"]
VALUES = [None, True, False, 0, 1, 7, "email", "gold", ["png"], []]
TARGETS = {"feature": FEATURES, "plan": PLANS, "app": ["tool", "viewer"], "project": ["acme"]}

seeds = st.integers(0, 2**32)
sizes = st.integers(0, 3)
instants: st.SearchStrategy[datetime] = st.integers(-30, 30).map(lambda halves: day(halves / 2))


def any_subscription(seed: object) -> Subscription:
    random = _random("subscription", seed)
    number = random.randrange(10**6)
    return make_subscription(
        random.choice(STATUSES),
        subscription_id=f"sub_{number}",
        created_at=_instant(random),
        items=tuple(_item(random, f"si_{number}_{part}") for part in range(random.randint(1, 3))),
        trial_end=_maybe(random),
        cancel_at=_maybe(random),
        cancel_at_period_end=random.random() < 0.2,
        ended_at=_maybe(random) if random.random() < 0.3 else None,
        pause_behavior=random.choice([None, None, None, "void", "keep_as_draft", "mark_uncollectible"]),
        pause_cause=random.choice([None, "first_payment_failure", "final_payment_failure", "other"]),
        first_failure_at=_maybe(random),
        is_failing_after_trial=random.random() < 0.3,
        paid_through=_maybe(random),
        last_known_status=random.choice([None, *STATUSES]),
        unknown_since=_maybe(random),
        disputes=_disputes(random),
    )


def any_purchase(seed: object) -> Purchase:
    random = _random("purchase", seed)
    number = random.randrange(10**6)
    return make_purchase(
        random.choice(["pass", "pass", "pass", "founder", "pro", "unheard_of"]),
        purchase_id=f"cs_{number}/1",
        object_id=f"cs_{number}",
        price_id=random.choice(PRICES),
        price_key=random.choice(["once", "week", None]),
        quantity=random.randint(1, 3),
        paid_at=_instant(random),
        refunds=(any_refund(random.random()),) if random.random() < 0.2 else (),
        disputes=_disputes(random),
    )


def any_grant(seed: object, effects: list[str] = EFFECTS) -> Grant:
    random = _random("grant", seed)
    kind = random.choice(["feature", "feature", "plan", "app", "project"])
    return make_grant(
        random.choice(effects),
        random.choice(TARGETS[kind]),
        grant_id=f"gr_{random.randrange(10**6)}",
        target_kind=kind,
        value=random.choice(VALUES),
        created_at=_instant(random),
        starts_at=_instant(random),
        expires_at=_maybe(random),
        revoked_at=_maybe(random) if random.random() < 0.3 else None,
    )


def any_refund(seed: object) -> Refund:
    random = _random("refund", seed)
    status = random.choice(["succeeded", "succeeded", "pending", "failed"])
    return make_refund(random.choice([100, 449, 450, 451, 899, 900]), status)


def any_dispute(seed: object) -> Dispute:
    random = _random("dispute", seed)
    amount_minor = random.choice([100, 450, 900])
    return make_dispute(random.choice(DISPUTES), is_latest=random.random() < 0.5, amount_minor=amount_minor)


def any_facts(subscriptions: int, purchases: int, grants: int, seed: int) -> Facts:
    """So many sources of each kind; fewer of a kind are the first ones of the same seed."""
    return facts_of(
        *(any_subscription((seed, index)) for index in range(subscriptions)),
        *(any_purchase((seed, index)) for index in range(purchases)),
        *(any_grant((seed, index)) for index in range(grants)),
    )


facts: st.SearchStrategy[Facts] = st.builds(any_facts, sizes, sizes, sizes, seeds)


def _random(kind: str, seed: object) -> Random:
    return Random(f"{kind} {seed}")  # noqa: S311  test data, not a secret


def _item(random: Random, item_id: str) -> SubscriptionItem:
    return make_item(
        random.choice(PLANS),
        item_id=item_id,
        price_id=random.choice(PRICES),
        quantity=random.choice([None, 0, 1, 1, 2, 5]),
        is_paid_for=random.random() < 0.7,
        period_start=_instant(random),
        period_end=_instant(random),
    )


def _disputes(random: Random) -> tuple[Dispute, ...]:
    """Seldom any: they would hide everything else."""
    if random.random() < 0.8:
        return ()
    return (any_dispute(random.random()),)


def _instant(random: Random) -> datetime:
    return day(random.randint(-30, 30) / 2)


def _maybe(random: Random) -> datetime | None:
    return _instant(random) if random.random() < 0.5 else None
