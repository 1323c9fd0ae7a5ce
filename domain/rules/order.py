"""What may be bought together: the items of a checkout, judged by the catalog."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Literal

from msgspec import Struct

from domain.errors import FieldError, Invalid
from domain.rules.catalog import Catalog, Plan, Price, find_price

#: Stripe's limit for the lines of a session that can hold a subscription.
MAX_ITEMS = 20

CheckoutMode = Literal["subscription", "payment"]


class Item(Struct, frozen=True):
    """A price of a plan, as apps name them."""

    plan: str
    price: str
    quantity: int = 1


class Order(Struct, frozen=True):
    """Items that can be one checkout."""

    mode: CheckoutMode
    #: ISO code in small letters: the first item's own.
    currency: str
    #: Every currency in which each of the items has an amount, `currency` among them.
    currencies: frozenset[str]
    #: The most trial days every plan of it allows; 0: none.
    trial_days: int
    #: Groups of the recurring items, sorted.
    groups: tuple[str, ...]


def judge_order(catalog: Catalog, items: Sequence[Item]) -> Order:
    """What these items are as one checkout.

    A subscription's items renew together, so they share one interval; one-time items may ride along on its
    first invoice. At most one plan of a group, because a user has at most one live subscription in it.

    Raises:
        Invalid: `errors` name every item that is unknown or does not fit, with the nearest name.
    """
    found = [_find(catalog, item, f"items[{index}]") for index, item in enumerate(items)]
    errors = [fault for fault in found if isinstance(fault, FieldError)]
    if errors or not items:
        raise _refused(*errors or [FieldError("items", "name at least one item")])
    bought = [pair for pair in found if not isinstance(pair, FieldError)]
    currency = bought[0][1].currency
    _refuse_misfits(items, bought, currency)
    recurring = [(plan, price) for plan, price in bought if not price.is_one_time]
    return Order(
        mode="subscription" if recurring else "payment",
        currency=currency,
        currencies=frozenset.intersection(*(frozenset(price.amounts) for _, price in bought)),
        trial_days=min((plan.trial_days for plan, _ in recurring), default=0),
        groups=tuple(sorted({plan.group for plan, _ in recurring if plan.group is not None})),
    )


def refuse_groups_together(order: Order) -> None:
    """Each group is a subscription of its own: within one, neither plan could be changed or ended alone.

    Raises:
        Invalid: plans of several groups in one checkout.
    """
    if len(order.groups) > 1:
        listed = ", ".join(order.groups)
        raise _refused(
            FieldError(
                "items",
                f"plans of several groups ({listed}): open a checkout for each, as each is a "
                "subscription of its own",
            )
        )


def _find(catalog: Catalog, item: Item, place: str) -> tuple[Plan, Price] | FieldError:
    plan = catalog.plans.get(item.plan)
    if plan is None:
        return FieldError(f"{place}.plan", _unknown("plan", item.plan, sorted(catalog.plans)))
    price = find_price(catalog, item.plan, item.price)
    if price is None:
        return FieldError(
            f"{place}.price", _unknown(f"price of plan {item.plan}", item.price, sorted(plan.prices))
        )
    return plan, price


def _refuse_misfits(items: Sequence[Item], bought: list[tuple[Plan, Price]], currency: str) -> None:
    intervals = {(p.interval, p.interval_count) for _, p in bought if not p.is_one_time}
    groups = [plan.group for plan, price in bought if plan.group is not None and not price.is_one_time]
    errors = [
        FieldError(f"items[{index}].price", f"has no amount in {currency}, the first item's currency")
        for index, (_, price) in enumerate(bought)
        if currency not in price.amounts
    ]
    if len(intervals) > 1:
        errors.append(FieldError("items", "subscription items of one checkout renew at one interval"))
    if len(set(groups)) < len(groups):
        errors.append(FieldError("items", "two plans of one group: a user has one subscription in it"))
    if len({(item.plan, item.price) for item in items}) < len(items):
        errors.append(FieldError("items", "one price twice: raise its quantity instead"))
    if errors:
        raise _refused(*errors)


def _refused(*errors: FieldError) -> Invalid:
    return Invalid("These items cannot be bought in one checkout.", errors=errors, code="items_invalid")


def _unknown(noun: str, name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"unknown {noun}; " + (f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}")
