"""Which of Stripe's promotion codes an app may give to a user of its project. Pure."""

from collections.abc import Collection, Iterable
from typing import Any

from msgspec import Struct

from domain.rules.shapes.convert import Reference, convert, id_of


class _AppliesTo(Struct):
    products: tuple[str, ...] = ()


class _Coupon(Struct):
    id: str
    valid: bool
    #: Only shown where it was expanded; None: every product of the account.
    applies_to: _AppliesTo | None = None


class _Promotion(Struct):
    coupon: _Coupon | str | None = None


class _Code(Struct):
    id: str
    active: bool
    promotion: _Promotion
    customer: Reference = None


def find_usable_code(
    found: Iterable[dict[str, Any]],
    products: Collection[str],
    customer_id: str | None,
    *,
    bought: Collection[str],
) -> str | None:
    """The promo_… to use, of those that Stripe found with their coupons expanded; None: there is none.

    It is active, for everybody or for this customer, and its coupon is limited to `products`: those of the
    project. One that is limited to nothing discounts other projects too, and is no app's to give. One that
    discounts nothing of what is `bought` would let the customer pay the whole where a discount was promised.

    Raises:
        Broken: an answer of Stripe's that has not the shape of the pinned version.
    """
    usable = [
        code
        for answer in found
        if _is_usable(code := convert(answer, _Code), set(products), set(bought), customer_id)
    ]
    # One made for this customer was made for now.
    return max(usable, key=lambda code: id_of(code.customer) is not None).id if usable else None


def _is_usable(code: _Code, products: set[str], bought: set[str], customer_id: str | None) -> bool:
    coupon = code.promotion.coupon
    if not code.active or not isinstance(coupon, _Coupon) or not coupon.valid or coupon.applies_to is None:
        return False
    limited_to = set(coupon.applies_to.products)
    is_for_order = limited_to <= products and bool(limited_to & bought)
    return is_for_order and id_of(code.customer) in {None, customer_id}
