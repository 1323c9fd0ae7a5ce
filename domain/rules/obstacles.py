"""What a user holds that stands in the way of a checkout: a subscription, a trial, a lifetime, a currency.

Pure.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from domain.errors import Conflict, FieldError, Invalid, ReadyCall
from domain.model import Subscription
from domain.rules.catalog import Catalog, Plan, plan_of
from domain.rules.holdings import is_running
from domain.rules.order import Item, Order

#: What becomes of a user who has a subscription in a group of the checkout. Stripe's page cannot change one,
#: so no session is opened whichever it is; they differ in the call that the refusal proposes.
OnExisting = Literal["refuse", "add", "switch"]

#: Before a plan's key: its trial, where it is in no group; and that it is had for life.
TRIAL_PREFIX, LIFETIME_PREFIX = "trial:", "lifetime:"
CHANGE_PATH = "/api/v1/subscription/change"


def choose_currency(order: Order, held: str | None) -> str:
    """The currency to sell in: that of the customer's running subscriptions (`held`), where there is one.

    Stripe bills one customer's subscriptions in one currency.

    Raises:
        Conflict: an item has no amount in it.
    """
    if held is None or order.mode == "payment":
        return order.currency
    if held not in order.currencies:
        listed = ", ".join(sorted(order.currencies))
        raise Conflict(
            f"This user pays in {held}, and a customer's subscriptions have one currency; these items have "
            f"amounts in {listed}. Give their prices an amount in {held}, or let the other subscription end "
            "first.",
            code="currency_mismatch",
            errors=(FieldError("items", f"have amounts in {listed}, not in {held}"),),
        )
    return held


def refuse_second_trial(
    catalog: Catalog, order: Order, items: Sequence[Item], subscriptions: Sequence[Subscription]
) -> None:
    """One trial per user and group; of a plan without a group, one per plan.

    Raises:
        Conflict: a subscription of the user, whatever became of it, had one.
    """
    plans = {item.plan for item in items if catalog.plans[item.plan].group is None}
    for subscription in subscriptions:
        if subscription.trial_end is None:
            continue
        for plan in _plans_of(catalog, subscription):
            if plan.group in order.groups or plan.key in plans:
                where = f"of the group {plan.group!r}" if plan.group else f"of the plan {plan.key!r}"
                raise Conflict(
                    f"This user has had the trial {where}, until {subscription.trial_end.isoformat()}: leave "
                    "trial_days out.",
                    code="trial_used",
                    errors=(FieldError("trial_days", f"the trial {where} was used"),),
                )


def list_trials(catalog: Catalog, order: Order, items: Sequence[Item]) -> tuple[str, ...]:
    """Names of the trials that are no group's, sorted: of each recurring plan without one.

    None of them is a group's name: keys have no colon.
    """
    if order.mode == "payment":
        return ()
    bought = [(catalog.plans[item.plan], item.price) for item in items]
    lone = {plan.key for plan, price in bought if plan.group is None and not plan.prices[price].is_one_time}
    return tuple(f"{TRIAL_PREFIX}{plan}" for plan in sorted(lone))


def refuse_trial_elsewhere(trials: Sequence[str]) -> Conflict:
    """The refusal where a page with one of these trials was paid a moment ago, not in the mirror yet."""
    named = ", ".join(trial.removeprefix(TRIAL_PREFIX) for trial in trials)
    return Conflict(
        f"This user has just begun the trial of one of these plans on another page: {named}. "
        "Leave trial_days out.",
        code="trial_used",
        errors=(FieldError("trial_days", "the trial was used on another page"),),
    )


def list_lifetimes(catalog: Catalog, items: Sequence[Item]) -> tuple[str, ...]:
    """Names of what is bought once for a lifetime, sorted: none of them is a group's name.

    Only what a second purchase adds nothing to: add-ons add up, and of units there may be more.
    """
    bought = [(catalog.plans[item.plan], item.price) for item in items]
    plans = {
        plan.key
        for plan, price in bought
        if plan.prices[price].is_one_time and plan.prices[price].duration_days is None
        if plan.kind == "base" and not any(given.per_unit for given in plan.grants.values())
    }
    return tuple(f"{LIFETIME_PREFIX}{plan}" for plan in sorted(plans))


def refuse_lifetimes(lifetimes: Sequence[str], items: Sequence[Item], owned: Collection[str]) -> None:
    """Nobody pays twice for what lasts. `owned`: plans that the user has bought, without an end.

    Raises:
        Conflict: one of these is among them.
    """
    named = {lifetime.removeprefix(LIFETIME_PREFIX) for lifetime in lifetimes} & set(owned)
    if named:
        raise _already_bought(
            sorted(named),
            tuple(
                FieldError(f"items[{index}].plan", "the user has bought it for a lifetime: leave it out")
                for index, item in enumerate(items)
                if item.plan in named
            ),
        )


def refuse_lifetime_elsewhere(lifetimes: Sequence[str]) -> Conflict:
    """The refusal where a page with one of these was paid a moment ago, not in the mirror yet."""
    plans = [lifetime.removeprefix(LIFETIME_PREFIX) for lifetime in lifetimes]
    return _already_bought(plans, (FieldError("items", "one of them was paid on another page"),))


def _already_bought(plans: Sequence[str], errors: tuple[FieldError, ...]) -> Conflict:
    return Conflict(
        f"This user has bought {', '.join(plans)} for a lifetime: once more would give nothing. Leave it "
        "out; after a full refund it can be bought again.",
        code="already_bought",
        errors=errors,
    )


def list_lone_addons(catalog: Catalog, items: Sequence[Item]) -> list[tuple[int, str]]:
    """(index, required plan) of the add-ons whose plan is not bought along with them."""
    named = {item.plan for item in items}
    wanted = [(index, catalog.plans[item.plan].requires) for index, item in enumerate(items)]
    return [(index, plan) for index, plan in wanted if plan is not None and plan not in named]


def refuse_lone_addons(lone: Sequence[tuple[int, str]], given: Collection[str]) -> None:
    """Nobody pays for what gives nothing. `given`: plans that give the user access now.

    Raises:
        Invalid: an add-on whose plan the user neither has nor buys.
    """
    errors = tuple(
        FieldError(f"items[{index}].plan", f"counts only with the plan {plan}: name that one, too")
        for index, plan in lone
        if plan not in given
    )
    if errors:
        raise Invalid(
            "The user has not got the plan that an add-on counts with.", errors=errors, code="items_invalid"
        )


def find_existing(
    catalog: Catalog, groups: Sequence[str], subscriptions: Sequence[Subscription], at: datetime
) -> tuple[Subscription, str] | None:
    """The newest running subscription in one of the groups, and that group; None: none is in the way."""
    newest = sorted(subscriptions, key=lambda one: (one.created_at, one.subscription_id), reverse=True)
    for subscription in newest:
        held = {plan.group for plan in _plans_of(catalog, subscription)} & set(groups)
        if held and is_running(subscription, at):
            return subscription, min(group for group in held if group is not None)
    return None


def refuse_existing(
    catalog: Catalog,
    user_id: str,
    items: Sequence[Item],
    existing: tuple[Subscription | None, str],
    on_existing: OnExisting,
) -> Conflict:
    """The refusal, with the change that the caller was probably after: ready to be sent.

    `existing`: the subscription (None: bought a moment ago, not in the mirror yet), and its group.
    """
    subscription, group = existing
    wanted = [item for item in items if not catalog.plans[item.plan].prices[item.price].is_one_time]
    if on_existing == "add" and subscription is not None:
        wanted = _beside(catalog, subscription, wanted)
    body = {
        "user_id": user_id,
        "group": group,
        "items": [msgspec.to_builtins(item) for item in wanted],
        "when": "now",
    }
    return Conflict(
        f"This user has a running subscription in the group {group!r}, and a checkout cannot change it: send "
        "the call under `instead`, with `preview` first where somebody is to see what it costs.",
        code="subscription_exists",
        instead=ReadyCall(method="POST", path=CHANGE_PATH, body=body),
    )


def _beside(catalog: Catalog, subscription: Subscription, wanted: Sequence[Item]) -> list[Item]:
    """What the subscription holds and what is wanted; of one plan, or of two of one group, what is wanted."""
    plans = {item.plan for item in wanted}
    groups = {catalog.plans[plan].group for plan in plans} - {None}
    kept = [
        Item(plan.key, item.price_key, item.quantity or 1)
        for item in subscription.items
        if (plan := plan_of(catalog, item.price_id, item.product_id)) is not None
        and item.price_key in plan.prices
        and plan.key not in plans
        and plan.group not in groups
    ]
    return [*kept, *wanted]


def _plans_of(catalog: Catalog, subscription: Subscription) -> list[Plan]:
    found = [plan_of(catalog, item.price_id, item.product_id) for item in subscription.items]
    return [plan for plan in found if plan is not None]
