"""Judge a checkout before anything is created: by the catalog in force and by what the user holds."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, FieldError, Invalid, Unknown
from domain.flows.gather_facts import gather_facts
from domain.flows.read_catalog import find_head
from domain.model import Subscription
from domain.rules.catalog import Catalog
from domain.rules.moment import judge, plans_given, plans_without_end, read_sources
from domain.rules.obstacles import (
    OnExisting,
    choose_currency,
    find_existing,
    list_lifetimes,
    list_lone_addons,
    list_trials,
    refuse_existing,
    refuse_lifetimes,
    refuse_lone_addons,
    refuse_second_trial,
)
from domain.rules.order import Item, Order, judge_order, refuse_groups_together
from domain.rules.purchase import purchase_sources
from domain.rules.redirect import find_redirect_fault
from domain.settings import Mode
from domain.store import catalogs, checkouts, customers, facts
from domain.store.session import Connection

RESERVED_PREFIX = "tollhouse_"
#: Stripe takes 50 pairs; the rest is ours and leaves room.
MAX_METADATA, MAX_METADATA_KEY, MAX_METADATA_VALUE = 40, 40, 500


class Person(Struct, frozen=True, kw_only=True):
    """What the app knows of the customer; each is optional and then written to the Stripe customer."""

    email: str | None = None
    name: str | None = None
    #: Language of Stripe's page, as Stripe names it.
    locale: str | None = None


class Wish(Struct, frozen=True, kw_only=True):
    """A checkout as an app asks for it."""

    user_id: str
    items: Sequence[Item]
    success_url: str
    cancel_url: str
    #: 0: none. A plan's own trial is not given unless asked for.
    trial_days: int = 0
    #: What customers type, or promo_…; None: none is given.
    promotion_code: str | None = None
    metadata: Mapping[str, str] = {}
    customer: Person | None = None
    on_existing: OnExisting = "refuse"


class Judged(Struct, frozen=True, kw_only=True):
    """A checkout that can be."""

    catalog: Catalog
    order: Order
    currency: str
    #: Stripe's line_items.
    lines: list[dict[str, Any]]
    #: The user's present Stripe customer; None: there is none yet.
    customer_id: str | None
    #: Trials of plans without a group, by their names; empty: none is asked for.
    trials: tuple[str, ...] = ()
    #: What is bought for a lifetime, by its names.
    lifetimes: tuple[str, ...] = ()

    @property
    def turns(self) -> tuple[str, ...]:
        """What the user may have one open page for."""
        return (*self.order.groups, *self.trials, *self.lifetimes)


class _Standing(Struct, frozen=True, kw_only=True):
    """What is known of a user; of one nobody knows, nothing."""

    subscriptions: Sequence[Subscription] = ()
    currency: str | None = None
    customer_id: str | None = None


async def judge_checkout(context: Context, project: str, app: str, wish: Wish) -> Judged:
    """The wish as the catalog head sees it.

    Raises:
        Unknown: there is no such project or app.
        Invalid: items, URLs, trial or metadata that cannot be; or an add-on without its plan.
        Conflict: a price has no Stripe price yet; or what the user holds is in the way.
    """
    async with context.database.connection() as connection:
        head = await find_head(connection, project)
        if head is None or app not in head.catalog.apps:
            raise Unknown(f"There is no app {app!r} of a project {project!r}.", code="unknown_app")
        catalog = head.catalog
        order = judge_order(catalog, wish.items)
        refuse_groups_together(order)
        _refuse_wrong(catalog, app, wish, order, context.stripe_or_raise.mode)
        standing, at = await _read_standing(context, connection, project, wish.user_id)
        if lone := list_lone_addons(catalog, wish.items):
            refuse_lone_addons(lone, await _list_given_plans(connection, catalog, app, wish.user_id, at))
        _refuse_obstacles(catalog, wish, order, standing, at)
        lifetimes = list_lifetimes(catalog, wish.items)
        if lifetimes:
            refuse_lifetimes(lifetimes, wish.items, await _list_owned(connection, catalog, wish.user_id, at))
        return Judged(
            catalog=catalog,
            order=order,
            currency=choose_currency(order, standing.currency),
            lines=[await _find_line(connection, project, item) for item in wish.items],
            customer_id=standing.customer_id,
            trials=list_trials(catalog, order, wish.items) if wish.trial_days else (),
            lifetimes=lifetimes,
        )


async def refuse_obstacles(context: Context, project: str, wish: Wish, judged: Judged) -> None:
    """The same question again, by whoever has the turn: another checkout may have been paid meanwhile.

    Raises:
        Conflict: a subscription, a trial or a lifetime of the user is in the way.
    """
    async with context.database.connection() as connection:
        standing, at = await _read_standing(context, connection, project, wish.user_id)
        if judged.lifetimes:
            owned = await _list_owned(connection, judged.catalog, wish.user_id, at)
            refuse_lifetimes(judged.lifetimes, wish.items, owned)
    _refuse_obstacles(judged.catalog, wish, judged.order, standing, at)


def _refuse_obstacles(catalog: Catalog, wish: Wish, order: Order, standing: _Standing, at: datetime) -> None:
    existing = find_existing(catalog, order.groups, standing.subscriptions, at)
    if existing is not None:
        raise refuse_existing(catalog, wish.user_id, wish.items, existing, wish.on_existing)
    if wish.trial_days:
        refuse_second_trial(catalog, order, wish.items, standing.subscriptions)


async def _list_given_plans(
    connection: Connection, catalog: Catalog, app: str, user_id: str, at: datetime
) -> set[str]:
    """Plans that give the user access now: subscribed to, bought or granted."""
    user = await customers.find_user(connection, catalog.project, user_id)
    if user is None:
        return set()
    known = await gather_facts(connection, catalog.project, user.user_key)
    return plans_given(judge(read_sources(known, catalog, app), at))


async def _list_owned(connection: Connection, catalog: Catalog, user_id: str, at: datetime) -> set[str]:
    """Plans that the user has bought once, refunds and disputes counted, and has without an end."""
    user = await customers.find_user(connection, catalog.project, user_id)
    if user is None:
        return set()
    known = await gather_facts(connection, catalog.project, user.user_key)
    return plans_without_end(judge(purchase_sources(known.purchases, catalog), at))


async def _read_standing(
    context: Context, connection: Connection, project: str, user_id: str
) -> tuple[_Standing, datetime]:
    """What is known, and the user's present moment."""
    user = await customers.find_user(connection, project, user_id)
    at = (user.clock_at if user is not None else None) or await context.now(connection)
    if user is None:
        return _Standing(), at
    primary = await checkouts.find_primary_customer(connection, project, user.user_key)
    standing = _Standing(
        subscriptions=await facts.list_subscriptions(connection, project, user.user_key),
        currency=await checkouts.find_held_currency(connection, project, user.user_key),
        customer_id=primary.stripe_customer_id if primary is not None else None,
    )
    return standing, at


def _refuse_wrong(catalog: Catalog, app: str, wish: Wish, order: Order, mode: Mode) -> None:
    origins = catalog.apps[app].redirect_origins
    errors = [
        FieldError(field, fault)
        for field, url in (("success_url", wish.success_url), ("cancel_url", wish.cancel_url))
        if (fault := find_redirect_fault(url, origins, mode)) is not None
    ]
    if wish.trial_days > order.trial_days:
        errors.append(FieldError("trial_days", f"the catalog allows {order.trial_days} for these items"))
    errors.extend(_metadata_faults(wish.metadata))
    if errors:
        raise Invalid("This checkout cannot be opened.", errors=tuple(errors), code="checkout_invalid")


def _metadata_faults(metadata: Mapping[str, str]) -> list[FieldError]:
    if len(metadata) > MAX_METADATA:
        return [FieldError("metadata", f"more than {MAX_METADATA} pairs")]
    faults = []
    for key, value in metadata.items():
        if key.lower().startswith(RESERVED_PREFIX):
            faults.append(FieldError(f"metadata.{key}", f"names that begin with {RESERVED_PREFIX} are ours"))
        elif not 1 <= len(key) <= MAX_METADATA_KEY or set(key) & set("[]"):
            faults.append(
                FieldError(
                    f"metadata.{key[:MAX_METADATA_KEY]}",
                    f"a name is 1 to {MAX_METADATA_KEY} characters, without square brackets",
                )
            )
        elif not 1 <= len(value) <= MAX_METADATA_VALUE:
            faults.append(FieldError(f"metadata.{key}", f"a value is 1 to {MAX_METADATA_VALUE} characters"))
    return faults


async def _find_line(connection: Connection, project: str, item: Item) -> dict[str, Any]:
    row = await catalogs.find_price_id(connection, project, item.plan, item.price)
    if row is None:
        raise Conflict(
            f"{item.plan}/{item.price} is in the catalog but not in Stripe yet: "
            "run `tollhouse catalog apply`.",
            code="price_not_in_stripe",
        )
    return {"price": row.price_id, "quantity": item.quantity}
