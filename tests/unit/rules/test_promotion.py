"""Which of Stripe's promotion codes an app may give."""

from typing import Any

import pytest

from domain.errors import Broken
from domain.rules.promotion import find_usable_code

OURS, BOUGHT = {"acme_pro", "acme_pass"}, {"acme_pro"}


def code(**changes: Any) -> dict[str, Any]:
    coupon = {"id": "c", "valid": True, "applies_to": {"products": ["acme_pro"]}} | changes.pop("coupon", {})
    made = {
        "id": "promo_1",
        "active": True,
        "customer": None,
        "promotion": {"type": "coupon", "coupon": coupon},
    }
    return {**made, **changes}


@pytest.mark.parametrize(
    ("found", "used"),
    [
        ([code()], "promo_1"),
        ([code(coupon={"applies_to": {"products": ["acme_pro", "acme_pass"]}})], "promo_1"),
        ([code(customer="cus_1")], "promo_1"),
        ([code(customer={"id": "cus_1"})], "promo_1"),
        ([code(), code(id="promo_mine", customer="cus_1")], "promo_mine"),
        ([], None),
        ([code(active=False)], None),
        ([code(coupon={"valid": False})], None),
        ([code(customer="cus_2")], None),
        # Nothing that is bought gets cheaper by it.
        ([code(coupon={"applies_to": {"products": ["acme_pass"]}})], None),
        # Another project's, partly another project's, and everybody's.
        ([code(coupon={"applies_to": {"products": ["globex_pro"]}})], None),
        ([code(coupon={"applies_to": {"products": ["acme_pro", "globex_pro"]}})], None),
        ([code(coupon={"applies_to": {"products": []}})], None),
        ([code(coupon={"applies_to": None})], None),
        ([code(promotion={"type": "coupon", "coupon": "c"})], None),
    ],
)
def test_only_an_active_code_for_this_customer_of_this_projects_products_alone(
    found: list[dict[str, Any]], used: str | None
) -> None:
    assert find_usable_code(found, OURS, "cus_1", bought=BOUGHT) == used


def test_a_code_for_somebody_is_not_for_a_user_without_a_customer() -> None:
    assert find_usable_code([code(customer="cus_1")], OURS, None, bought=BOUGHT) is None


def test_an_answer_of_another_shape_is_not_guessed_at() -> None:
    with pytest.raises(Broken):
        find_usable_code([{"id": "promo_1", "active": "yes"}], OURS, None, bought=BOUGHT)
