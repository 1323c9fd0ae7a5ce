"""A change of a subscription's items: what the catalog lets them become, and which of Stripe's items change.

What is wished is the whole: base plan and add-ons. Whatever the subscription has beside it goes. Pure.
"""

from collections.abc import Collection, Sequence
from typing import Any

from msgspec import Struct

from domain.errors import FieldError, Invalid
from domain.rules.catalog import Catalog, find_price
from domain.rules.order import Item, judge_order


class Held(Struct, frozen=True, kw_only=True):
    """An item that the subscription has, as the catalog names it."""

    item_id: str
    plan: str
    #: None: made in the dashboard under a known product.
    price: str | None
    price_id: str
    #: None: metered.
    quantity: int | None


class Wanted(Struct, frozen=True, kw_only=True):
    """An item that it is to have, with the Stripe price that stands for it."""

    plan: str
    price: str
    price_id: str
    #: None: metered.
    quantity: int | None


def judge_change(
    catalog: Catalog, group: str, currency: str, items: Sequence[Item], *, together: Collection[str] = ()
) -> None:
    """Whether these items can be one subscription of the group, in the currency it is billed in.

    `together`: other groups whose plans it holds already, made so by others; they may stay.

    Raises:
        Invalid: `errors` name every item that does not fit.
    """
    order = judge_order(catalog, items)
    errors = [
        fault
        for index, item in enumerate(items)
        for fault in _faults(catalog, {group, *together}, index, item)
    ]
    if order.groups.count(group) == 0:
        errors.append(FieldError("items", f"name a plan of the group {group}: the items are the whole"))
    named = {item.plan for item in items}
    for index, item in enumerate(items):
        requires = catalog.plans[item.plan].requires
        if requires is not None and requires not in named:
            errors.append(FieldError(f"items[{index}].plan", f"counts only with the plan {requires}"))
        price = find_price(catalog, item.plan, item.price)
        if price is not None and currency not in price.amounts:
            what = f"has no amount in {currency}, in which the subscription is billed"
            errors.append(FieldError(f"items[{index}].price", what))
    if errors:
        raise Invalid("The subscription cannot become this.", errors=tuple(errors), code="items_invalid")


def _faults(catalog: Catalog, groups: Collection[str], index: int, item: Item) -> list[FieldError]:
    plan, price = catalog.plans[item.plan], find_price(catalog, item.plan, item.price)
    faults = []
    if price is not None and price.is_one_time:
        faults.append(FieldError(f"items[{index}].price", "is sold once: open a checkout for it"))
    elif plan.group is not None and plan.group not in groups:
        what = f"is of the group {plan.group}: a subscription of its own"
        faults.append(FieldError(f"items[{index}].plan", what))
    return faults


def keeps_price(held: Sequence[Held], item: Item) -> Held | None:
    """The item that stands for the wished one already: its Stripe price stays, be it an older revision.

    Somebody who changes a quantity is not moved to a new amount by that.
    """
    return next((one for one in held if (one.plan, one.price) == (item.plan, item.price)), None)


def list_item_changes(
    catalog: Catalog, held: Sequence[Held], wanted: Sequence[Wanted]
) -> list[dict[str, Any]]:
    """Stripe's `items` of the one call that makes `held` into `wanted`; empty: they are the same.

    An item keeps its id where its plan stays, and so does the base plan's whatever it becomes.
    """
    pairs = _pairs(catalog, list(held), list(wanted))
    changes = [_changed(one, wish) for one, wish in pairs]
    return [change for change in changes if change]


Pair = tuple[Held | None, Wanted | None]


def _pairs(catalog: Catalog, held: list[Held], wanted: list[Wanted]) -> list[Pair]:
    """Each item with what it becomes: the same price first, then the same plan, then base by base."""

    def is_base(plan: str) -> bool:
        return catalog.plans[plan].kind == "base"

    def same_price(one: Held, wish: Wanted) -> bool:
        return one.price_id == wish.price_id

    def same_plan(one: Held, wish: Wanted) -> bool:
        return one.plan == wish.plan

    def both_base(one: Held, wish: Wanted) -> bool:
        return is_base(one.plan) and is_base(wish.plan)

    pairs: list[Pair] = []
    for fits in (same_price, same_plan, both_base):
        for wish in list(wanted):
            one = next((one for one in held if fits(one, wish)), None)
            if one is not None:
                pairs.append((one, wish))
                held.remove(one)
                wanted.remove(wish)
    return [*pairs, *((None, wish) for wish in wanted), *((one, None) for one in held)]


def _changed(one: Held | None, wish: Wanted | None) -> dict[str, Any]:
    if wish is None:
        return {"id": one.item_id, "deleted": True} if one is not None else {}
    quantity = {} if wish.quantity is None else {"quantity": wish.quantity}
    if one is None:
        return {"price": wish.price_id, **quantity}
    if one.price_id != wish.price_id:
        return {"id": one.item_id, "price": wish.price_id, **quantity}
    return {"id": one.item_id, **quantity} if one.quantity != wish.quantity else {}
