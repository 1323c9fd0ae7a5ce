"""Any history of facts, policies and time: after each step every app's answers are the oracle's.

Normal runs try a few histories, always the same ones. `make prove` tries 500 new ones of 50 steps each.
"""

import os
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import fields, replace

from domain.model import Facts, Grant, Purchase, Subscription
from domain.rules.catalog import Catalog, GrantValue, OlderGrants, Policy
from domain.rules.entitlements import compute
from domain.rules.timeline import boundaries, segment_at, timeline
from tests.unit.rules.any_facts import (
    any_dispute,
    any_grant,
    any_purchase,
    any_refund,
    any_subscription,
    instants,
    seeds,
    sizes,
)
from tests.unit.rules.builders import CATALOG, day
from tests.unit.rules.oracle import expected

MOMENT = timedelta(microseconds=1)
#: More of a kind hide each other.
MOST = 4

POLICIES = [
    *(Policy(grace_days=days) for days in (0, 7)),
    *(Policy(grace_days_after_trial=days) for days in (0, 3)),
    *(Policy(settle_hours=hours) for hours in (0, 1, 72)),
    *(Policy(refund_revoke_from=share) for share in (None, Decimal("0.5"), Decimal("0.01"))),
    Policy(dispute="keep"),
    Policy(dispute="any_invoice"),
    Policy(pause_void="keep"),
]


def _with_plans(**changes: dict[str, Any]) -> Catalog:
    plans = {key: replace(plan, **changes.get(key, {})) for key, plan in CATALOG.plans.items()}
    return replace(CATALOG, plans=plans)


def _grandfathering() -> Catalog:
    """Pro, pass and founder gave what team gives until five days ago, and before day -10 what boost gives."""
    keys = ("pro", "pass", "founder")
    older = [
        OlderGrants(plan=key, since=day(since), until=day(until), grants=CATALOG.plans[gave].grants)
        for key in keys
        for since, until, gave in ((-40, -10, "boost"), (-10, -5, "team"))
    ]
    return replace(_with_plans(**{key: {"grandfather": True} for key in keys}), older_grants=tuple(older))


def _with_default(feature: str, value: Any) -> Catalog:
    default = CATALOG.plans["team"].grants["seats"]
    changed = replace(CATALOG.features[feature], default=replace(default, value=value))
    return replace(CATALOG, features={**CATALOG.features, feature: changed})


NOTHING = {
    **CATALOG.plans["pro"].grants,
    "export": GrantValue(value=False),
    "credits": GrantValue(value=0),
    "formats": GrantValue(value=[]),
}
#: By a name that a failing history can show.
CATALOGS = {
    "as it is": CATALOG,
    **{f"policy {number}": replace(CATALOG, policy=policy) for number, policy in enumerate(POLICIES)},
    "grandfathering": _grandfathering(),
    "other grace": _with_plans(team={"grace_days": 3, "grace_days_after_trial": 9}),
    "other requirement": _with_plans(boost={"requires": "team"}),
    "a plan of nothing": _with_plans(pro={"grants": {}}, team={"rank": 1}),
    "a plan that says nothing": _with_plans(pro={"grants": NOTHING}),
    "projects unlimited for all": _with_default("projects", None),
    "support for all": _with_default("support", "email"),
    "formats for all": _with_default("formats", ["gif"]),
}

indexes = st.integers(0, MOST - 1)
catalogs = st.sampled_from(list(CATALOGS))


class Histories(RuleBasedStateMachine):
    """A user's facts, as they come, change and go; the catalog changes, and time passes."""

    @initialize(catalog=catalogs, now=instants, seed=seeds, sizes=st.tuples(sizes, sizes, sizes))
    def begin(self, catalog: str, now: datetime, seed: int, sizes: tuple[int, int, int]) -> None:
        self.catalog, self.now, self.number = CATALOGS[catalog], now, 0
        self.subscriptions: list[Subscription] = []
        self.purchases: list[Purchase] = []
        self.grants: list[Grant] = []
        for add, size in zip((self.subscribe, self.buy, self.give), sizes, strict=True):
            for index in range(size):
                add(seed + index)

    # ── what comes ──

    @rule(seed=seeds)
    def subscribe(self, seed: int) -> None:
        added = replace(any_subscription(seed), subscription_id=self.new_id("sub"))
        self.subscriptions = [*self.subscriptions, added][-MOST:]

    @rule(seed=seeds)
    def buy(self, seed: int) -> None:
        object_id = self.new_id("cs")
        added = replace(any_purchase(seed), purchase_id=f"{object_id}/1", object_id=object_id)
        self.purchases = [*self.purchases, added][-MOST:]

    @rule(seed=seeds)
    def give(self, seed: int) -> None:
        self.grants = [*self.grants, replace(any_grant(seed), grant_id=self.new_id("gr"))][-MOST:]

    # ── what changes ──

    @precondition(lambda self: self.subscriptions)
    @rule(
        index=indexes, seed=seeds, field=st.sampled_from([field.name for field in fields(Subscription)][1:])
    )
    def change_subscription(self, index: int, seed: int, field: str) -> None:
        """One of its fields becomes another: each transition that Stripe has, and more."""
        self.subscriptions = _changed(
            self.subscriptions, index, **{field: getattr(any_subscription(seed), field)}
        )

    @precondition(lambda self: self.purchases)
    @rule(index=indexes, seed=seeds)
    def refund(self, index: int, seed: int) -> None:
        refunds = self.purchases[index % len(self.purchases)].refunds
        self.purchases = _changed(self.purchases, index, refunds=(*refunds, any_refund(seed))[-2:])

    @precondition(lambda self: self.purchases)
    @rule(index=indexes)
    def let_refunds_fail(self, index: int) -> None:
        self.purchases = _changed(self.purchases, index, refunds=())

    @precondition(lambda self: self.purchases)
    @rule(index=indexes, seed=seeds)
    def dispute(self, index: int, seed: int) -> None:
        self.purchases = _changed(self.purchases, index, disputes=(any_dispute(seed),))

    @precondition(lambda self: self.grants)
    @rule(index=indexes, at=instants)
    def revoke(self, index: int, at: Any) -> None:
        self.grants = _changed(self.grants, index, revoked_at=at)

    @rule(catalog=catalogs)
    def apply_catalog(self, catalog: str) -> None:
        self.catalog = CATALOGS[catalog]

    @rule(half_days=st.integers(1, 12))
    def advance(self, half_days: int) -> None:
        self.now += timedelta(days=half_days / 2)

    # ── what goes ──

    @precondition(lambda self: self.subscriptions)
    @rule(index=indexes)
    def drop_subscription(self, index: int) -> None:
        del self.subscriptions[index % len(self.subscriptions)]

    @precondition(lambda self: self.purchases)
    @rule(index=indexes)
    def drop_purchase(self, index: int) -> None:
        del self.purchases[index % len(self.purchases)]

    @precondition(lambda self: self.grants)
    @rule(index=indexes)
    def drop_grant(self, index: int) -> None:
        del self.grants[index % len(self.grants)]

    # ── what holds ──

    @invariant()
    def answers_are_the_oracles(self) -> None:
        """Now, at the next boundary and just before it; and the timeline says the same."""
        facts = Facts(
            subscriptions=tuple(self.subscriptions),
            purchases=tuple(self.purchases),
            grants=tuple(self.grants),
        )
        for app in self.catalog.apps:
            segments = timeline(facts, self.catalog, app, self.now)
            edges = boundaries(facts, self.catalog, app, self.now)[:1]
            for at in [self.now, *edges, *(edge - MOMENT for edge in edges)]:
                answers = compute(facts, self.catalog, app, at)
                assert answers == expected(facts, self.catalog, app, at)
                assert segment_at(segments, at)[1].entitlements == answers

    def new_id(self, kind: str) -> str:
        self.number += 1
        return f"{kind}_{self.number}"


def _changed(sources: list[Any], index: int, **changes: Any) -> list[Any]:
    chosen = index % len(sources)
    return [replace(one, **changes) if number == chosen else one for number, one in enumerate(sources)]


TestHistories = Histories.TestCase
if os.environ.get("HYPOTHESIS_PROFILE") == "nightly":
    TestHistories.settings = settings(
        max_examples=500,
        stateful_step_count=50,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
else:
    # What fails here is shown as it came: shrinking takes minutes, and belongs to `make prove`.
    TestHistories.settings = settings(
        max_examples=8,
        stateful_step_count=15,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
