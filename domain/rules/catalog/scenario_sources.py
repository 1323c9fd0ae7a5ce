"""The sources of a scenario: `{ subscription = "pro", status = "past_due" }` → the fact Stripe would tell.

Keys are the words of `Facts`; whatever is left out is the ordinary case.
"""

from datetime import datetime
from typing import Literal, Protocol, get_args

from domain.model import (
    Dispute,
    FeatureValue,
    Grant,
    GrantEffect,
    GrantTarget,
    Purchase,
    Refund,
    Subscription,
    SubscriptionItem,
)
from domain.rules.catalog.fields import Table, show, suggest
from domain.rules.catalog.nouns import Catalog, Plan, Price
from domain.rules.catalog.values import read_value

SubscriptionStatus = Literal[
    "trialing", "active", "past_due", "unpaid", "canceled", "incomplete", "incomplete_expired", "paused"
]
PauseBehavior = Literal["keep_as_draft", "mark_uncollectible", "void"]
RefundStatus = Literal["succeeded", "pending", "failed", "canceled", "requires_action"]
DisputeStatus = Literal[
    "warning_needs_response",
    "warning_under_review",
    "warning_closed",
    "needs_response",
    "under_review",
    "won",
    "lost",
    "prevented",
]

STATUSES: tuple[SubscriptionStatus, ...] = get_args(SubscriptionStatus)
PAUSES: tuple[PauseBehavior, ...] = get_args(PauseBehavior)
REFUNDS: tuple[RefundStatus, ...] = get_args(RefundStatus)
DISPUTES: tuple[DisputeStatus, ...] = get_args(DisputeStatus)
#: Stripe has several appeal statuses; a rule judges them by this beginning.
APPEAL = "appeal_"
EFFECTS: tuple[GrantEffect, ...] = get_args(GrantEffect)
TARGETS: tuple[GrantTarget, ...] = get_args(GrantTarget)


class Times(Protocol):
    """How a scenario reads its times."""

    at: datetime

    def instant(self, table: Table, key: str, default: str | None = None) -> datetime | None: ...


def read_subscription(row: Table, catalog: Catalog, times: Times, number: int) -> Subscription:
    """One item of the plan. An add-on is another subscription of the same user."""
    plan, price = _read_sold(row, "subscription", catalog, is_one_time=False)
    created_at = times.instant(row, "created_at", "-30d") or times.at
    return Subscription(
        subscription_id=f"sub_{number}",
        status=row.choice("status", STATUSES, "active"),
        created_at=created_at,
        items=(_read_item(row, catalog, times, plan, price, created_at, number),),
        trial_end=times.instant(row, "trial_end"),
        cancel_at=times.instant(row, "cancel_at"),
        cancel_at_period_end=row.boolean("cancel_at_period_end", default=False),
        ended_at=times.instant(row, "ended_at"),
        pause_behavior=row.choice("pause_behavior", PAUSES, "void") if row.has("pause_behavior") else None,
        pause_cause=row.optional_text("pause_cause"),
        first_failure_at=times.instant(row, "first_failure_at"),
        is_failing_after_trial=row.boolean("is_failing_after_trial", default=False),
        paid_through=times.instant(row, "paid_through"),
        disputes=_read_disputes(row, 0),
    )


def read_purchase(row: Table, catalog: Catalog, times: Times, number: int) -> Purchase:
    plan, price = _read_sold(row, "purchase", catalog, is_one_time=True)
    quantity = row.integer("quantity", 1)
    amount = price.amounts.get(price.currency, 0) * quantity if price is not None else 0
    captured = row.integer("captured", amount)
    return Purchase(
        purchase_id=f"cs_{number}/li_1",
        object_id=f"cs_{number}",
        price_id=_price_id(catalog, plan, price),
        product_id=plan.product_id if plan is not None else "",
        price_key=price.key if price is not None else None,
        revision=1 if price is not None else None,
        quantity=quantity,
        paid_at=times.instant(row, "paid_at", "-1d") or times.at,
        captured_minor=captured,
        refunds=tuple(
            _read_refund(refund, captured, f"re_{number}_{position}")
            for position, refund in enumerate(row.rows("refunds"), 1)
        ),
        disputes=_read_disputes(row, captured),
    )


def read_grant(row: Table, catalog: Catalog, times: Times, number: int) -> Grant | None:
    """None where it does not say whom or what it gives: that is noted."""
    effect = row.choice("grant", EFFECTS, None)
    target = _read_target(row, catalog)
    starts_at = times.instant(row, "starts_at", "-1d") or times.at
    expires_at = times.instant(row, "expires_at")
    revoked_at = times.instant(row, "revoked_at")
    value = _read_granted(row, catalog, effect, target)
    if target is None:
        return None
    return Grant(
        grant_id=f"gr_{number}",
        effect=effect,
        target_kind=target[0],
        target=target[1],
        value=value,
        created_at=starts_at,
        starts_at=starts_at,
        expires_at=expires_at,
        revoked_at=revoked_at,
    )


def _read_item(
    row: Table,
    catalog: Catalog,
    times: Times,
    plan: Plan | None,
    price: Price | None,
    created_at: datetime,
    number: int,
) -> SubscriptionItem:
    return SubscriptionItem(
        item_id=f"si_{number}",
        price_id=_price_id(catalog, plan, price),
        product_id=plan.product_id if plan is not None else "",
        price_key=price.key if price is not None else None,
        revision=1 if price is not None else None,
        quantity=row.integer("quantity", 1),
        period_start=created_at,
        period_end=times.instant(row, "period_end", "+30d") or times.at,
        is_paid_for=row.boolean("is_paid_for", default=True),
    )


# ── plans and prices ────────────────────────────────────────────────────────────────────────────────


def _read_sold(
    row: Table, kind: str, catalog: Catalog, *, is_one_time: bool
) -> tuple[Plan | None, Price | None]:
    """The plan, and the price of it that is named or is the only one that fits."""
    name = row.text(kind, None)
    price_key = row.optional_text("price")
    plan = catalog.plans.get(name) if name and row.known(kind, [name], catalog.plans, "plan") else None
    if plan is None:
        return None, None
    fitting = {price.key: price for price in plan.prices.values() if price.is_one_time is is_one_time}
    if price_key is not None:
        known = row.known("price", [price_key], fitting, f"{kind} price of {plan.key}")
        return plan, fitting[price_key] if known else None
    if is_one_time and len(fitting) != 1:
        _refuse_prices(row, kind, plan, fitting)
    return plan, next(iter(fitting.values()), None)


def _refuse_prices(row: Table, kind: str, plan: Plan, fitting: dict[str, Price]) -> None:
    """How long a purchase lasts is said by its price."""
    if fitting:
        row.wrong("price", f'is missing; "{plan.key}" has several: {", ".join(fitting)}')
    else:
        row.wrong(kind, f'names "{plan.key}", which sells no one-time price; use subscription instead')


def _price_id(catalog: Catalog, plan: Plan | None, price: Price | None) -> str:
    if plan is None or price is None:
        return "price_none"
    return f"price_{catalog.project}.{plan.key}.{price.key}"


# ── refunds, disputes, grants ───────────────────────────────────────────────────────────────────────


def _read_refund(row: Table, captured: int, refund_id: str) -> Refund:
    refund = Refund(
        refund_id=refund_id,
        status=row.choice("status", REFUNDS, "succeeded"),
        amount_minor=row.integer("amount", captured),
    )
    row.close()
    return refund


def _read_disputes(row: Table, amount: int) -> tuple[Dispute, ...]:
    """By their statuses; of a subscription they are about its latest paid invoice."""
    statuses = row.texts("disputes")
    for status in statuses:
        if status not in DISPUTES and not status.startswith(APPEAL):
            row.wrong("disputes", f'lists "{status}"; {suggest(status, DISPUTES)}')
    return tuple(
        Dispute(dispute_id=f"dp_{number}", status=status, amount_minor=amount)
        for number, status in enumerate(statuses, 1)
    )


def _read_target(row: Table, catalog: Catalog) -> tuple[GrantTarget, str] | None:
    named = {kind: row.text(kind, None) for kind in TARGETS if row.has(kind)}
    if len(named) != 1:
        row.wrong("grant", f"must have exactly one target: {', '.join(TARGETS)}")
        return None
    kind, target = next(iter(named.items()))
    known = {
        "feature": tuple(catalog.features),
        "plan": tuple(catalog.plans),
        "app": tuple(catalog.apps),
        "project": (catalog.project,),
    }
    return (kind, target) if row.known(kind, [target], known[kind], kind) else None


def _read_granted(
    row: Table, catalog: Catalog, effect: GrantEffect, target: tuple[GrantTarget, str] | None
) -> FeatureValue:
    """What the grant gives; None: what its target gives by itself, or without end."""
    if not row.has("value"):
        return None
    written = row.raw("value")
    if effect == "deny" or target is None or target[0] != "feature":
        row.wrong("value", f"is {show(written)}; only allow, add and override of one feature have a value")
        return None
    value = read_value(catalog.features[target[1]], written)
    if isinstance(value, str):
        row.wrong("value", value)
        return None
    if value.per_unit:
        row.wrong("value", "has per_unit; a grant has no quantity, write the number itself")
    return value.value
