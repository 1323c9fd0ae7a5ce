"""A change with the next period: a schedule of Stripe's with the running period and the one after it."""

from collections.abc import Sequence
from typing import Any

from domain.errors import Broken
from domain.flows.change_plan.subject import Scene, Subject
from domain.rules.catalog import find_price
from domain.rules.plan_change import Wanted
from domain.stripe_gateway import JsonObject

SCHEDULES = "/v1/subscription_schedules"
#: What a phase says beside its items: left out, Stripe takes it for unset and the subscription loses it.
_CARRIED = ("collection_method", "default_payment_method", "description", "on_behalf_of")
#: Of a phase's `invoice_settings`. What is None is the schedule's own setting, and stays it.
_INVOICE = ("custom_fields", "days_until_due", "description", "footer")


async def plan_next_period(scene: Scene, subject: Subject, wanted: Sequence[Wanted]) -> None:
    """Let the subscription become `wanted` at its period's end, in the place of what was planned before.

    A call that dies half-way leaves a schedule without a next phase: it changes nothing, and the next call
    goes on with it.
    """
    schedule = await _schedule(scene, subject)
    following = {
        **_carried(_current_phase(schedule)),
        "items": [_wish(one) for one in wanted],
        "duration": _duration(scene, wanted),
        "proration_behavior": "none",
    }
    await _write_phases(scene, subject, schedule, following)


async def put_back(scene: Scene, subject: Subject, released: JsonObject) -> None:
    """Plan again what the schedule that this call has `released` had planned for the period's end."""
    end = int(subject.period_end.timestamp())
    planned = next((phase for phase in released["phases"] if phase["start_date"] >= end), None)
    if planned is None:
        return
    schedule = await scene.write(SCHEDULES, {"from_subscription": subject.id}, step="schedule")
    following = {
        **_carried(planned),
        **_metadata(planned),
        "items": [_item(item) for item in planned["items"]],
        "end_date": planned["end_date"],
        "proration_behavior": planned["proration_behavior"],
    }
    await _write_phases(scene, subject, schedule, following)


async def _write_phases(scene: Scene, subject: Subject, schedule: JsonObject, following: JsonObject) -> None:
    """The running phase as it is to the period's end, and the one after it."""
    current = _current_phase(schedule)
    running = {
        **_carried(current),
        **_metadata(current),
        "items": [_item(item) for item in current["items"]],
        "start_date": current["start_date"],
        "end_date": int(subject.period_end.timestamp()),
    }
    if current.get("trial_end") is not None:
        running["trial_end"] = current["trial_end"]
    phases = {"phases": [running, following], "end_behavior": "release", "proration_behavior": "none"}
    await scene.write(f"{SCHEDULES}/{schedule['id']}", phases, step="phases")


async def _schedule(scene: Scene, subject: Subject) -> JsonObject:
    if subject.schedule is None:
        return await scene.write(SCHEDULES, {"from_subscription": subject.id}, step="schedule")
    path = f"{SCHEDULES}/{subject.schedule.schedule_id}"
    return await scene.context.stripe_or_raise.read(path, scene.reserve)


def _current_phase(schedule: JsonObject) -> JsonObject:
    current = schedule.get("current_phase") or {}
    for phase in schedule["phases"]:
        if phase["start_date"] == current.get("start_date"):
            found: JsonObject = phase
            return found
    raise Broken(f"schedule {schedule['id']} has no current phase")


def _carried(phase: JsonObject) -> JsonObject:
    """The terms of the running phase that the next one keeps."""
    carried = {name: phase[name] for name in _CARRIED if phase.get(name) is not None}
    if discounts := _discounts(phase):
        carried["discounts"] = discounts
    if rates := phase.get("default_tax_rates"):
        carried["default_tax_rates"] = [_id(rate) for rate in rates]
    if (tax := phase.get("automatic_tax")) is not None:
        carried["automatic_tax"] = {"enabled": tax["enabled"], **_party(tax, "liability")}
    if settings := _invoice_settings(phase.get("invoice_settings") or {}):
        carried["invoice_settings"] = settings
    return carried


def _metadata(phase: JsonObject) -> JsonObject:
    """A phase's own, for the same phase alone: when one begins Stripe adds its metadata to the
    subscription's, which stays without it, and may have been changed by then.
    """
    return {"metadata": phase["metadata"]} if phase.get("metadata") else {}


def _invoice_settings(settings: JsonObject) -> JsonObject:
    carried = {name: settings[name] for name in _INVOICE if settings.get(name) is not None}
    if taxes := settings.get("account_tax_ids"):
        carried["account_tax_ids"] = [_id(tax) for tax in taxes]
    return {**carried, **_party(settings, "issuer")}


def _party(holder: JsonObject, name: str) -> JsonObject:
    """Who owes the tax, or issues the invoice: the account itself, or a connected one."""
    party = holder.get(name)
    if party is None:
        return {}
    account = {"account": _id(party["account"])} if party.get("account") else {}
    return {name: {"type": party["type"], **account}}


def _discounts(holder: JsonObject) -> list[dict[str, Any]]:
    """Each by the discount it is, so that its remaining time is kept; else by its coupon."""
    names = ("discount", "promotion_code", "coupon")
    found = [
        next(({name: _id(one[name])} for name in names if one.get(name)), None)
        for one in holder.get("discounts") or ()
    ]
    return [one for one in found if one is not None]


def _item(item: JsonObject) -> JsonObject:
    """An item of the running phase, as a call takes it."""
    held: JsonObject = {"price": _id(item["price"])}
    if item.get("quantity") is not None:
        held["quantity"] = item["quantity"]
    if discounts := _discounts(item):
        held["discounts"] = discounts
    if metadata := item.get("metadata"):
        held["metadata"] = metadata
    if rates := item.get("tax_rates"):
        held["tax_rates"] = [_id(rate) for rate in rates]
    return held


def _wish(one: Wanted) -> JsonObject:
    quantity = {} if one.quantity is None else {"quantity": one.quantity}
    return {"price": one.price_id, **quantity}


def _duration(scene: Scene, wanted: Sequence[Wanted]) -> JsonObject:
    """One period: afterwards the schedule lets the subscription go as it is."""
    price = find_price(scene.catalog, wanted[0].plan, wanted[0].price)
    if price is None or price.interval is None:
        raise Broken(f"{wanted[0].plan}/{wanted[0].price} is no recurring price")
    return {"interval": price.interval, "interval_count": price.interval_count}


def _id(reference: Any) -> str:
    return str(reference["id"] if isinstance(reference, dict) else reference)
