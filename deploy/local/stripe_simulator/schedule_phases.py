"""What a schedule does when a phase ends: the next one's items, or the end of the schedule."""

from deploy.local.stripe_simulator import schedules
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.schedules import schedule_of
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscription_changes import change_subscription
from deploy.local.stripe_simulator.subscription_items import apply_items, changes_interval
from deploy.local.stripe_simulator.subscriptions import ENDED, cancel_now, emit_update, items_of


def phase_ends_at(account: Account, row: Json) -> int | None:
    schedule = None if row["status"] in ENDED else schedule_of(account, row)
    return int(schedule["current_phase"]["end_date"]) if schedule is not None else None


def end_phase(account: Account, row: Json) -> None:
    """Begin the next phase; after the last one let the subscription go, or cancel it."""
    schedule = schedule_of(account, row)
    if schedule is None:
        return
    ended_at = schedule["current_phase"]["end_date"]
    following = next((phase for phase in schedule["phases"] if phase["start_date"] >= ended_at), None)
    if following is not None:
        moments = {name: following[name] for name in ("end_date", "start_date")}
        schedule["current_phase"] = moments
        account.put(schedules.KIND, schedule)
        begin_phase(account, row, following)
    elif schedule["end_behavior"] == "cancel":
        cancel_now(account, row, None)
    else:
        schedules.end(account, schedule, "released")


def begin_phase(account: Account, row: Json, phase: Json) -> None:
    """With a period that begins in this second, the renewal bills the new items; else they are prorated."""
    plan = planned(account, row, phase["items"])
    if any(item["current_period_end"] > account.now() for item in items_of(account, row)):
        asked = [{key: value for key, value in change.items() if key != "item"} for change in plan]
        named = [
            {**change, "price": change["price"]["id"]} if change["price"] else change for change in asked
        ]
        items = [{key: value for key, value in change.items() if value is not None} for change in named]
        change_subscription(account, row, {"items": items, "proration_behavior": phase["proration_behavior"]})
        return
    before = snapshot(account, row)
    if changes_interval(account, row, plan) or phase["billing_cycle_anchor"] == "phase_start":
        row["billing_cycle_anchor"] = account.now()
    apply_items(account, row, plan)
    for item in items_of(account, row):
        if item["current_period_start"] == account.now():
            # Made just now: its first period is the one that the renewal begins.
            account.put("subscription_item", item | {"current_period_end": account.now()})
    account.put("subscription", row)
    emit_update(account, before, row, None)


def planned(account: Account, row: Json, wanted: list[Json]) -> list[Json]:
    """The changes that make the wanted items the only ones, as `apply_items` takes them: an item is known
    by its price.
    """
    left = {item["price"]: item for item in items_of(account, row)}
    plan = []
    for asked in wanted:
        item = left.pop(asked["price"], None)
        price = account.load("price", asked["price"])
        quantity = {} if asked.get("quantity") is None else {"quantity": asked["quantity"]}
        named = {} if item is None else {"id": item["id"]}
        plan.append({**named, **quantity, "item": item, "price": price})
    gone = [{"id": item["id"], "item": item, "price": None, "deleted": True} for item in left.values()]
    return [*plan, *gone]
