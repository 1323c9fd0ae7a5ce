"""What a user's subscriptions come to a month, by plan and app, as exact fractions. Pure.

Source: docs/metrics.md ("Subscriptions").
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from math import lcm

from domain.model import Reason, Subscription
from domain.money import Discount, RecurringItem, RecurringPart, Standing
from domain.rules.catalog import Catalog, plan_of
from domain.rules.revenue import app_shares
from domain.rules.sources import span_at
from domain.rules.subscription import known_end, subscription_sources

#: How often an interval comes in a month.
_A_MONTH = {
    "day": Fraction(365, 12),
    "week": Fraction(52, 12),
    "month": Fraction(1),
    "year": Fraction(1, 12),
}


def recurring_parts(
    subscriptions: Sequence[Subscription],
    items: Mapping[str, RecurringItem],
    catalog: Catalog,
    at: datetime,
) -> list[RecurringPart]:
    """What live subscriptions come to a month at `at`, in a fixed order; `items` by item id.

    A price in tiers or by usage comes to nothing, because nobody knows it in advance.
    """
    sums: dict[tuple[str, str, str, Standing], Fraction] = {}
    holders: dict[tuple[str, str, str, Standing], set[str]] = {}
    for subscription in subscriptions:
        standings = _standings(subscription, catalog, at)
        amounts = _amounts([items[one] for one in standings if one in items], at)
        for item_id, amount in amounts.items():
            item = items[item_id]
            plan = plan_of(catalog, item.price_id, item.product_id)
            for app, share in app_shares(plan, catalog).items():
                place = (item.currency, plan.key if plan else "", app, standings[item_id])
                sums[place] = sums.get(place, Fraction()) + amount * share
                holders.setdefault(place, set()).add(subscription.subscription_id)
    return [_part(place, sums[place], len(holders[place]), sums) for place in sorted(sums)]


def monthly_amount(item: RecurringItem) -> Fraction:
    """Before discounts, in minor units; 0 where nobody knows it in advance."""
    if item.charged_unit is None or item.quantity is None or item.interval not in _A_MONTH:
        return Fraction()
    often = _A_MONTH[item.interval] / (item.interval_count or 1)
    return Fraction(item.charged_unit) * item.quantity * often


def common_divisor(parts: Iterable[RecurringPart]) -> int:
    """The smallest number that makes all of them whole."""
    return lcm(*(part.monthly.denominator for part in parts))


def rounded(amount: Fraction) -> int:
    """To a whole minor unit, a half upwards."""
    return (2 * amount.numerator + amount.denominator) // (2 * amount.denominator)


def _part(
    place: tuple[str, str, str, Standing],
    monthly: Fraction,
    subscriptions: int,
    places: Iterable[tuple[str, str, str, Standing]],
) -> RecurringPart:
    currency, plan, app, standing = place
    first = min(other[2] for other in places if (*other[:2], other[3]) == (currency, plan, standing))
    return RecurringPart(
        currency=currency,
        plan=plan,
        app=app,
        standing=standing,
        monthly=monthly,
        subscriptions=subscriptions,
        is_counted=app == first,
    )


# ── who pays ────────────────────────────────────────────────────────────────────────────────────────


def _standings(subscription: Subscription, catalog: Catalog, at: datetime) -> dict[str, Standing]:
    """Item id → how it stands; items that nobody pays for are left out."""
    end = known_end(subscription)
    if (end is not None and end <= at) or subscription.pause_behavior is not None:
        return {}
    status = subscription.last_known_status if subscription.unknown_since else subscription.status
    if status in {"active", "trialing"}:
        standing: Standing = "paying" if status == "active" else "trial"
        return {item.item_id: standing for item in subscription.items}
    return {
        source.part: "grace"
        for source in subscription_sources(subscription, catalog)
        if span_at(source.life, at).reason == Reason.IN_GRACE
    }


# ── discounts ───────────────────────────────────────────────────────────────────────────────────────


def _amounts(items: Sequence[RecurringItem], at: datetime) -> dict[str, Fraction]:
    """Item id → its monthly amount after its own discounts, then after its subscription's."""
    amounts = {item.item_id: monthly_amount(item) for item in items}
    for item in items:
        for discount in item.discounts:
            amounts |= _discounted({item.item_id: amounts[item.item_id]}, [item], discount, at)
    for discount in items[0].subscription_discounts if items else ():
        amounts = _discounted(amounts, items, discount, at)
    return amounts


def _discounted(
    amounts: dict[str, Fraction], items: Sequence[RecurringItem], discount: Discount, at: datetime
) -> dict[str, Fraction]:
    """An amount off is taken once per invoice, of the items in proportion, when the first is billed."""
    named = [item for item in items if not discount.product_ids or item.product_id in discount.product_ids]
    whole = sum((amounts[item.item_id] for item in named), Fraction())
    is_over = discount.ends_at is not None and discount.ends_at <= at
    if is_over or discount.duration == "once" or whole <= 0:
        return amounts
    left = max(Fraction(), whole - _taken(discount, whole, named[0])) / whole
    return {**amounts, **{item.item_id: amounts[item.item_id] * left for item in named}}


def _taken(discount: Discount, whole: Fraction, first: RecurringItem) -> Fraction:
    if discount.percent_off is not None:
        return whole * Fraction(discount.percent_off) / 100
    if discount.amount_off_minor is None or first.interval not in _A_MONTH:
        return Fraction()
    return discount.amount_off_minor * _A_MONTH[first.interval] / (first.interval_count or 1)
