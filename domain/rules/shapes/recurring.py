"""What a subscription comes to per interval: amounts in its own currency, and discounts that go on. Pure."""

from typing import Any

from msgspec import Struct

from domain.money import Discount
from domain.rules.shapes.convert import convert, instant

#: What to expand of a subscription; Stripe goes four levels deep.
_DISCOUNTS = "discounts.source.coupon.applies_to"
_CURRENCIES = "items.data.price.currency_options"
#: What to expand of a list of its items.
_ITEM_DISCOUNTS = "data.discounts.source.coupon"
_ITEM_CURRENCIES = "data.price.currency_options"


class ItemTerms(Struct, frozen=True, kw_only=True):
    #: Minor units of the subscription's currency, a decimal; None: tiers, or metered.
    charged_unit: str | None
    discounts: tuple[Discount, ...] = ()


class RecurringTerms(Struct, frozen=True, kw_only=True):
    currency: str | None
    discounts: tuple[Discount, ...]
    #: By item id.
    items: dict[str, ItemTerms]


class Unread(Struct, frozen=True, kw_only=True):
    """Paths to expand, so that an answer shows what it comes to."""

    of_subscription: tuple[str, ...] = ()
    of_items: tuple[str, ...] = ()


# ── what Stripe sends ───────────────────────────────────────────────────────────────────────────────


class _AppliesTo(Struct):
    products: list[str] = []


class _Coupon(Struct):
    id: str
    duration: str
    percent_off: float | None = None
    amount_off: int | None = None
    currency: str | None = None
    currency_options: dict[str, Any] | None = None
    applies_to: _AppliesTo | None = None


class _Source(Struct):
    coupon: _Coupon | str | None = None


class _Discount(Struct):
    id: str
    source: _Source | None = None
    end: int | None = None


class _Recurring(Struct):
    usage_type: str = "licensed"


class _Price(Struct):
    id: str
    currency: str
    unit_amount: int | None = None
    unit_amount_decimal: str | None = None
    recurring: _Recurring | None = None
    currency_options: dict[str, "_Option"] | None = None


class _Option(Struct):
    unit_amount: int | None = None
    unit_amount_decimal: str | None = None


class _Item(Struct):
    id: str
    price: _Price
    discounts: list[_Discount | str] = []


class _Items(Struct):
    data: list[_Item]


class _Subscription(Struct):
    id: str
    items: _Items
    currency: str | None = None
    discounts: list[_Discount | str] = []


def unread_terms(answer: dict[str, Any]) -> Unread:
    """What this answer, with all of its items, does not show.

    Raises:
        Broken: the answer has not the shape of the pinned version; so does the other one.
    """
    found = convert(answer, _Subscription)
    is_other = any(item.price.currency != found.currency for item in found.items.data)
    if any(item.discounts for item in found.items.data):
        own = (_DISCOUNTS,) if found.discounts else ()
        of_items = (_ITEM_DISCOUNTS, _ITEM_CURRENCIES) if is_other else (_ITEM_DISCOUNTS,)
        return Unread(of_subscription=own, of_items=of_items)
    wanted = (_DISCOUNTS if found.discounts else None, _CURRENCIES if is_other else None)
    return Unread(of_subscription=tuple(filter(None, wanted)))


def parse_terms(answer: dict[str, Any]) -> RecurringTerms:
    found = convert(answer, _Subscription)
    return RecurringTerms(
        currency=found.currency,
        discounts=_discounts(found.discounts, found.currency),
        items={
            item.id: ItemTerms(
                charged_unit=_unit(item.price, found.currency),
                discounts=_discounts(item.discounts, found.currency),
            )
            for item in found.items.data
        },
    )


def _unit(price: _Price, currency: str | None) -> str | None:
    if price.recurring is not None and price.recurring.usage_type == "metered":
        return None
    shown: _Price | _Option | None = price
    if price.currency != currency:
        shown = (price.currency_options or {}).get(currency or "")
    if shown is None:
        return None
    return shown.unit_amount_decimal or (None if shown.unit_amount is None else str(shown.unit_amount))


def _discounts(found: list[_Discount | str], currency: str | None) -> tuple[Discount, ...]:
    """In Stripe's order, which is the one they are applied in."""
    coupons = [
        (one, one.source.coupon)
        for one in found
        if isinstance(one, _Discount) and one.source is not None and isinstance(one.source.coupon, _Coupon)
    ]
    return tuple(
        Discount(
            percent_off=None if coupon.percent_off is None else str(coupon.percent_off),
            amount_off_minor=_amount_off(coupon, currency),
            currency=currency,
            duration=coupon.duration,
            ends_at=instant(one.end),
            product_ids=tuple(coupon.applies_to.products) if coupon.applies_to else (),
        )
        for one, coupon in coupons
    )


def _amount_off(coupon: _Coupon, currency: str | None) -> int | None:
    if coupon.currency in {None, currency}:
        return coupon.amount_off
    option = (coupon.currency_options or {}).get(currency or "")
    return option.get("amount_off") if isinstance(option, dict) else None
