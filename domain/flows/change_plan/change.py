"""Change: other plans, add-ons or quantities; at once for the difference, or with the next period."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict
from domain.flows.change_plan.answers import Concluded, Preview, Status, conclude
from domain.flows.change_plan.money import Cost, cost_at_once, cost_of_next
from domain.flows.change_plan.refusals import (
    refusals_told,
    refuse_ending,
    refuse_not_running,
    refuse_unpaid,
)
from domain.flows.change_plan.restore import planned_again
from domain.flows.change_plan.schedule import plan_next_period
from domain.flows.change_plan.subject import (
    Asked,
    Scene,
    Subject,
    When,
    find_subject,
    no_subscription,
    scene_of,
)
from domain.flows.change_plan.undo import drop_unpaid_update, release_schedule
from domain.flows.sync import Syncer
from domain.model import SubscriptionItem
from domain.rules.catalog import plan_of
from domain.rules.foresight import foresee, with_items, with_subscription
from domain.rules.holdings import groups_of
from domain.rules.order import Item
from domain.rules.plan_change import (
    Held,
    Wanted,
    judge_change,
    keeps_price,
    list_item_changes,
)
from domain.store import catalogs
from domain.stripe_gateway import JsonObject


class Plan(Struct, frozen=True, kw_only=True):
    """The whole that the subscription is to become, and how Stripe is told."""

    wanted: Sequence[Wanted]
    #: Stripe's `items`; empty: it is so already.
    items: list[dict[str, Any]]
    when: When


async def change_subscription(
    context: Context, syncer: Syncer, asked: Asked, items: Sequence[Item], when: When
) -> Concluded | Preview:
    """Make `items` the whole of the group's subscription.

    `now`: one call that charges the difference, credits what was paid too much, and takes effect only if it
    is paid. It replaces whatever waited for the period's end. `period_end`: a schedule of Stripe's; nothing
    is prorated.

    Raises:
        Unknown: no such project or app, or no live subscription in the group.
        Invalid: items that the catalog does not let it become.
        Conflict: its state or Stripe forbids it, the code says which; another change is under way.
        Unavailable: Stripe or Postgres is away; asking again changes nothing twice.
    """
    async with scene_of(context, syncer, asked) as scene:
        subject, _ = await find_subject(scene)
        if subject is None:
            raise no_subscription(asked)
        groups = groups_of(subject.subscription, scene.catalog)
        judge_change(scene.catalog, asked.group, subject.currency, items, together=groups)
        plan = await _plan(scene, subject, items, when)
        _refuse(subject, when)
        async with refusals_told(scene, subject):
            if asked.is_preview:
                return await _preview(scene, subject, plan)
            do = _change_now if when == "now" else _change_later
            status, awaited = await do(scene, subject, plan)
        return await conclude(scene, subject, status, awaited=awaited)


def _refuse(subject: Subject, when: When) -> None:
    refuse_not_running(subject)
    refuse_unpaid(subject, at_once=when == "now")
    if when == "period_end":
        refuse_ending(subject)


async def _plan(scene: Scene, subject: Subject, items: Sequence[Item], when: When) -> Plan:
    held = _held(scene, subject)
    wanted = [await _wanted(scene, held, item) for item in items]
    return Plan(wanted=wanted, items=list_item_changes(scene.catalog, held, wanted), when=when)


def _held(scene: Scene, subject: Subject) -> list[Held]:
    held, alien = list[Held](), list[str]()
    for item in subject.subscription.items:
        plan = plan_of(scene.catalog, item.price_id, item.product_id)
        if plan is None:
            alien.append(item.price_id)
            continue
        listed = [key for key, price in plan.prices.items() if item.price_id in price.stripe_ids]
        held.append(
            Held(
                item_id=item.item_id,
                plan=plan.key,
                price=item.price_key or (listed[0] if listed else None),
                price_id=item.price_id,
                quantity=item.quantity,
            )
        )
    if alien:
        raise Conflict(
            f"The subscription has prices that the catalog does not know ({', '.join(alien)}): an operator "
            "changes it in Stripe, or names them in the catalog (stripe_ids).",
            code="items_unmapped",
        )
    return held


async def _wanted(scene: Scene, held: Sequence[Held], item: Item) -> Wanted:
    kept = keeps_price(held, item)
    if kept is not None:
        # A metered price counts by itself.
        quantity = None if kept.quantity is None else item.quantity
        return Wanted(plan=item.plan, price=item.price, price_id=kept.price_id, quantity=quantity)
    async with scene.context.database.connection() as connection:
        row = await catalogs.find_price_id(connection, scene.asked.project, item.plan, item.price)
    if row is None:
        raise Conflict(
            f"{item.plan}/{item.price} is in the catalog but not in Stripe yet: "
            "run `tollhouse catalog apply`.",
            code="price_not_in_stripe",
        )
    return Wanted(plan=item.plan, price=item.price, price_id=row.price_id, quantity=item.quantity)


async def _change_now(scene: Scene, subject: Subject, plan: Plan) -> tuple[Status, JsonObject | None]:
    if _is_waiting_for(subject, plan):
        return "action_required", subject.answer["latest_invoice"]
    if not plan.items:
        undone = [await drop_unpaid_update(scene, subject), await release_schedule(scene, subject)]
        return ("changed" if any(undone) else "unchanged"), None
    await _give_up_unpaid(scene, subject, {"items": plan.items, "proration_behavior": "always_invoice"})
    async with planned_again(scene, subject):
        await release_schedule(scene, subject)
        answer = await scene.write(subject.path, _terms(subject, plan), step="items")
    if answer.get("pending_update") is None:
        return "changed", None
    return "action_required", answer["latest_invoice"]


async def _give_up_unpaid(scene: Scene, subject: Subject, coming: Mapping[str, Any]) -> bool:
    """Drop an update that waits for its payment, for the one that is `coming`; whether there was one.

    Its invoice is void for good then, so Stripe is asked before whether it would take the other one.
    """
    if subject.answer.get("pending_update") is None:
        return False
    await cost_of_next(scene, subject, coming)
    return await drop_unpaid_update(scene, subject)


def _terms(subject: Subject, plan: Plan) -> dict[str, Any]:
    """The difference is billed at once; while it is not paid the subscription stays as it is.

    So nobody gets a dearer plan for a card that fails, and a bank that asks its customer can do so on the
    invoice's page. An invoice that is sent is owed and paid later: Stripe takes no such condition for it.
    """
    is_sent = subject.answer.get("collection_method") == "send_invoice"
    careful = {} if is_sent else {"payment_behavior": "pending_if_incomplete"}
    return {
        "items": plan.items,
        "proration_behavior": "always_invoice",
        "expand": ["latest_invoice"],
        **careful,
    }


def _is_waiting_for(subject: Subject, plan: Plan) -> bool:
    """Whether just this change waits for its payment: asking again is no second invoice."""
    waiting = subject.answer.get("pending_update")
    items = waiting.get("subscription_items") if isinstance(waiting, dict) else None
    if not items or subject.pay_url is None:
        return False
    found = sorted((item["price"]["id"], item.get("quantity") or 0) for item in items)
    return found == sorted((one.price_id, one.quantity or 0) for one in plan.wanted)


async def _change_later(scene: Scene, subject: Subject, plan: Plan) -> tuple[Status, None]:
    if not plan.items:
        undone = [await drop_unpaid_update(scene, subject), await release_schedule(scene, subject)]
        return ("changed" if any(undone) else "unchanged"), None
    coming = {"items": plan.items, "proration_behavior": "none"}
    dropped = await _give_up_unpaid(scene, subject, coming)
    if _is_scheduled(subject, plan):
        return ("scheduled" if dropped else "unchanged"), None
    await plan_next_period(scene, subject, plan.wanted)
    return "scheduled", None


def _is_scheduled(subject: Subject, plan: Plan) -> bool:
    schedule = subject.schedule
    if schedule is None or schedule.changes_at != subject.period_end:
        return False
    found = sorted((item.price_id, item.quantity or 0) for item in schedule.items)
    return found == sorted((one.price_id, one.quantity or 0) for one in plan.wanted)


# ── preview ─────────────────────────────────────────────────────────────────────────────────────────


async def _preview(scene: Scene, subject: Subject, plan: Plan) -> Preview:
    at = scene.at if plan.when == "now" else subject.period_end
    cost = await _cost(scene, subject, plan)
    present = subject.facts(scene)
    items = [_foreseen(scene, subject, one, at) for one in plan.wanted]
    coming = with_subscription(present, with_items(subject.subscription, items))
    return Preview(
        effective_at=at,
        currency=subject.currency,
        due_now_minor=cost.due_now_minor,
        credit_minor=cost.credit_minor,
        lines=cost.lines,
        next_invoice=cost.next_invoice,
        entitlements=foresee(present, coming, scene.catalog, scene.asked.app, at),
    )


async def _cost(scene: Scene, subject: Subject, plan: Plan) -> Cost:
    if not plan.items:
        return await cost_of_next(scene, subject, {})
    if plan.when == "now":
        return await cost_at_once(scene, subject, plan.items)
    return await cost_of_next(scene, subject, {"items": plan.items, "proration_behavior": "none"})


def _foreseen(scene: Scene, subject: Subject, one: Wanted, at: datetime) -> SubscriptionItem:
    """The item as it would be read then; its period matters to nothing that is asked of it here."""
    held = next((item for item in subject.subscription.items if item.price_id == one.price_id), None)
    if held is not None:
        return msgspec.structs.replace(held, quantity=one.quantity)
    return SubscriptionItem(
        item_id=f"new/{one.plan}/{one.price}",
        price_id=one.price_id,
        product_id=scene.catalog.plans[one.plan].product_id,
        price_key=one.price,
        quantity=one.quantity,
        period_start=at,
        period_end=subject.period_end,
    )
