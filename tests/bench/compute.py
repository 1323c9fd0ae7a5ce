"""Median microseconds of `compute` and `timeline` for 3 subscriptions and 10 features, beside their goals.

Run: python -m tests.bench.compute
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import median

from domain.model import Facts, Subscription, SubscriptionItem
from domain.rules.catalog import parse_catalog_file
from domain.rules.entitlements import compute, encode_entitlements
from domain.rules.timeline import timeline

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ROUNDS = 5_000
COMPUTE_GOAL_US, TIMELINE_GOAL_US = 50, 150

_FEATURES = "\n".join(
    f'[projects.acme.features.feature_{number}]\ntype = "{kind}"'
    for number, kind in enumerate(["boolean"] * 4 + ["integer"] * 3)
)
_GRANTS = "feature_0 = true\nfeature_1 = true\nfeature_4 = { value = 5, per_unit = true }\nfeature_5 = 10"
CATALOG_TOML = f"""
[projects.acme]
[projects.acme.apps.tool]
{_FEATURES}
[projects.acme.features.level]
type = "enum"
values = ["low", "middle", "high"]
[projects.acme.features.formats]
type = "set"
[projects.acme.features.support]
type = "boolean"
default = true
[projects.acme.plans.one.grants]
{_GRANTS}
level = "low"
[projects.acme.plans.two.grants]
{_GRANTS}
level = "middle"
formats = ["png"]
[projects.acme.plans.three.grants]
{_GRANTS}
feature_2 = true
feature_6 = "unlimited"
formats = ["pdf"]
"""


def main() -> None:
    catalog = parse_catalog_file(CATALOG_TOML, file="bench")["acme"]
    renewing = Facts(subscriptions=tuple(_subscription(plan) for plan in ("one", "two", "three")))
    ending = Facts(
        subscriptions=(
            _subscription("one", status="past_due", first_failure_at=NOW - timedelta(days=1)),
            _subscription("two", cancel_at=NOW + timedelta(days=3)),
            _subscription("three"),
        )
    )
    assert len(compute(renewing, catalog, "tool", NOW)) == 10
    for name, facts in (("three renewing", renewing), ("one in grace, one set to cancel", ending)):
        segments = len(timeline(facts, catalog, "tool", NOW))
        computed = _median_us(lambda facts=facts: compute(facts, catalog, "tool", NOW))  # type: ignore[misc]  # bound now
        timed = _median_us(lambda facts=facts: timeline(facts, catalog, "tool", NOW))  # type: ignore[misc]  # bound now
        _print(f"compute, {name}", computed, COMPUTE_GOAL_US)
        _print(f"timeline of {segments}, {name}", timed, TIMELINE_GOAL_US)
    answer = compute(renewing, catalog, "tool", NOW)
    _print("encode one set", _median_us(lambda: encode_entitlements(answer)), None)


def _print(what: str, median_us: float, goal_us: int | None) -> None:
    goal = "" if goal_us is None else f"   goal {goal_us:3} µs{'' if median_us <= goal_us else '   MISSED'}"
    print(f"{what:45}{median_us:7.1f} µs{goal}")  # noqa: T201  a script


def _subscription(plan: str, status: str = "active", **fields: datetime) -> Subscription:
    item = SubscriptionItem(
        item_id=f"si_{plan}",
        price_id=f"price_{plan}",
        product_id=f"acme_{plan}",
        price_key="month",
        revision=1,
        quantity=3,
        period_start=NOW - timedelta(days=10),
        period_end=NOW + timedelta(days=20),
        is_paid_for=True,
    )
    return Subscription(
        subscription_id=f"sub_{plan}",
        status=status,
        created_at=NOW - timedelta(days=40),
        items=(item,),
        **fields,  # type: ignore[arg-type]  # only datetimes of a subscription are given here
    )


def _median_us(work: Callable[[], object]) -> float:
    spent = []
    for _ in range(ROUNDS):
        begun = time.perf_counter_ns()
        work()
        spent.append(time.perf_counter_ns() - begun)
    return median(spent) / 1_000


if __name__ == "__main__":
    main()
