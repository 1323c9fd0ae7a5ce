"""Builders of facts for the rules' tests: one per noun, with overrides; instants are days around `NOW`."""

from datetime import UTC, datetime, timedelta

from domain.model import (
    Dispute,
    Entitlement,
    Facts,
    Grant,
    Purchase,
    Refund,
    Subscription,
    SubscriptionItem,
)
from domain.rules.catalog import Catalog, parse_catalog_file
from domain.rules.entitlements import compute

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

#: One feature of each type, plans of each kind. `tool` is the app most tests ask as.
CATALOG_TOML = """
[projects.acme]
[projects.acme.policy]
grace_days = 7
grace_days_after_trial = 3
[projects.acme.apps.tool]
[projects.acme.apps.viewer]
[projects.acme.features.export]
type = "boolean"
[projects.acme.features.seats]
type = "integer"
apps = ["tool"]
[projects.acme.features.credits]
type = "integer"
merge = "sum"
[projects.acme.features.limit]
type = "integer"
merge = "max"
[projects.acme.features.projects]
type = "integer"
default = 3
[projects.acme.features.support]
type = "enum"
values = ["community", "email", "priority"]
[projects.acme.features.formats]
type = "set"
apps = ["viewer"]
[projects.acme.features.sso]
type = "boolean"

[projects.acme.plans.pro]
rank = 20
[projects.acme.plans.pro.grants]
export = true
seats = { value = 5, per_unit = true }
credits = 100
limit = 10
support = "email"
formats = ["png", "pdf"]
[projects.acme.plans.pro.prices.month]
interval = "month"
amounts = { usd = 1900 }
stripe_ids = ["price_legacy"]

[projects.acme.plans.team]
rank = 30
grace_days = 14
[projects.acme.plans.team.grants]
export = true
seats = 40
credits = 50
limit = 30
support = "priority"
formats = ["svg", "png"]
sso = true
[projects.acme.plans.team.prices.month]
interval = "month"
amounts = { usd = 4900 }

[projects.acme.plans.extra]
kind = "addon"
requires = "pro"
rank = 5
grants = { seats = { value = 10, per_unit = true }, limit = 4 }
[projects.acme.plans.extra.prices.month]
interval = "month"
amounts = { usd = 500 }

[projects.acme.plans.boost]
kind = "addon"
rank = 6
grants = { seats = 2, projects = "unlimited" }
[projects.acme.plans.boost.prices.month]
interval = "month"
amounts = { usd = 500 }

[projects.acme.plans.pass]
rank = 10
grants = { export = true, seats = 2 }
[projects.acme.plans.pass.prices.once]
duration = "P30D"
amounts = { usd = 900 }
[projects.acme.plans.pass.prices.week]
duration = "P7D"
amounts = { usd = 300 }

[projects.acme.plans.founder]
rank = 25
grants = { export = true, seats = 3 }
[projects.acme.plans.founder.prices.once]
duration = "lifetime"
amounts = { usd = 29900 }
"""


def make_catalog(**replacements: str) -> Catalog:
    """The catalog with `policy = 'grace_days = 0'` (further lines of the policy) or other texts put in."""
    text = CATALOG_TOML
    if policy := replacements.pop("policy", None):
        text = text.replace("[projects.acme.policy]\n", f"[projects.acme.policy]\n{policy}\n")
    for old, new in replacements.items():
        assert old in text, old
        text = text.replace(old, new)
    return parse_catalog_file(text, file="catalog.toml")["acme"]


CATALOG = make_catalog()


def day(number: float) -> datetime:
    """`NOW` plus so many days."""
    return NOW + timedelta(days=number)


def make_item(plan: str = "pro", **fields: object) -> SubscriptionItem:
    values: dict[str, object] = {
        "item_id": f"si_{plan}",
        "price_id": f"price_{plan}",
        "product_id": f"acme_{plan}",
        "price_key": "month",
        "revision": 1,
        "period_start": day(-10),
        "period_end": day(20),
        "is_paid_for": True,
    }
    return SubscriptionItem(**{**values, **fields})  # type: ignore[arg-type]  # overrides are checked by the rules


def make_subscription(
    status: str = "active", *, plan: str = "pro", items: tuple[SubscriptionItem, ...] = (), **fields: object
) -> Subscription:
    values: dict[str, object] = {
        "subscription_id": "sub_1",
        "status": status,
        "created_at": day(-40),
        "items": items or (make_item(plan),),
    }
    return Subscription(**{**values, **fields})  # type: ignore[arg-type]  # as above


def make_purchase(plan: str = "pass", **fields: object) -> Purchase:
    values: dict[str, object] = {
        "purchase_id": "cs_1/li_1",
        "object_id": "cs_1",
        "price_id": f"price_{plan}",
        "product_id": f"acme_{plan}",
        "price_key": "once",
        "revision": 1,
        "paid_at": day(-10),
        "captured_minor": 900,
    }
    return Purchase(**{**values, **fields})  # type: ignore[arg-type]  # as above


def make_grant(effect: str = "allow", target: str = "sso", **fields: object) -> Grant:
    values: dict[str, object] = {
        "grant_id": "gr_1",
        "effect": effect,
        "target_kind": "feature",
        "target": target,
        "created_at": day(-5),
        "starts_at": day(-5),
    }
    return Grant(**{**values, **fields})  # type: ignore[arg-type]  # as above


def make_refund(amount_minor: int, status: str = "succeeded") -> Refund:
    return Refund(refund_id="re_1", status=status, amount_minor=amount_minor)


def make_dispute(status: str, *, is_latest: bool = True, amount_minor: int = 900) -> Dispute:
    return Dispute(
        dispute_id="dp_1", status=status, amount_minor=amount_minor, is_latest_paid_invoice=is_latest
    )


def facts_of(*sources: Subscription | Purchase | Grant) -> Facts:
    return Facts(
        subscriptions=tuple(source for source in sources if isinstance(source, Subscription)),
        purchases=tuple(source for source in sources if isinstance(source, Purchase)),
        grants=tuple(source for source in sources if isinstance(source, Grant)),
    )


def ask(
    feature: str,
    *sources: Subscription | Purchase | Grant,
    at: datetime = NOW,
    catalog: Catalog = CATALOG,
    app: str = "tool",
) -> Entitlement:
    """The answer for one feature to a user with these sources."""
    return compute(facts_of(*sources), catalog, app, at)[feature]
