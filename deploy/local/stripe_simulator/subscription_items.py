"""Changes of a subscription's items: checked as a plan first, then applied."""

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.errors import missing_object, refused
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscriptions import (
    add_item,
    begin_period,
    items_of,
    load_recurring_price,
    require_currency,
    require_distinct,
)


def plan_items(account: Account, row: Json, wanted: list[Json], param: str = "items") -> list[Json]:
    """The wanted changes, checked before anything changes: each has `item` and `price`, or None."""
    plan = []
    for number, asked in enumerate(wanted):
        name = f"{param}[{number}]"
        item = account.find("subscription_item", asked["id"]) if "id" in asked else None
        if "id" in asked and (item is None or item["subscription"] != row["id"]):
            raise missing_object("subscription_item", asked["id"], f"{name}[id]")
        if item is None and "price" not in asked:
            raise refused(f"Missing required param: {name}[price].", f"{name}[price]", "parameter_missing")
        price = None
        if "price" in asked:
            price = load_recurring_price(account, asked["price"], f"{name}[price]")
            require_currency(price, row["currency"], f"{name}[price]")
        plan.append({**asked, "item": item, "price": price})
    require_distinct(planned_prices(account, row, plan), "items")
    return plan


def planned_prices(account: Account, row: Json, plan: list[Json]) -> list[str]:
    prices = {item["id"]: item["price"] for item in items_of(account, row)}
    added = []
    for change in plan:
        if change["item"] is None:
            added.append(change["price"]["id"])
        elif change.get("deleted"):
            del prices[change["item"]["id"]]
        elif change["price"] is not None:
            prices[change["item"]["id"]] = change["price"]["id"]
    left = [*prices.values(), *added]
    if not left:
        raise refused("A subscription must have at least one item.", "items")
    return left


def changes_interval(account: Account, row: Json, plan: list[Json]) -> bool:
    intervals = {interval_of(account.load("price", item["price"])) for item in items_of(account, row)}
    return any(change["price"] and interval_of(change["price"]) not in intervals for change in plan)


def interval_of(price: Json) -> tuple[str, int]:
    return price["recurring"]["interval"], price["recurring"]["interval_count"]


def apply_items(account: Account, row: Json, plan: list[Json]) -> None:
    for change in plan:
        item = change["item"]
        if item is None:
            choice = {**change, "metadata": params.changed_metadata({}, change.get("metadata"))}
            add_item(account, row, choice)
        elif change.get("deleted"):
            account.remove("subscription_item", item["id"])
        else:
            if change["price"] is not None:
                item["price"] = change["price"]["id"]
            item["quantity"] = change.get("quantity", item["quantity"])
            item["metadata"] = params.changed_metadata(item["metadata"], change.get("metadata"))
            account.put("subscription_item", item)


def restart_periods(account: Account, row: Json) -> None:
    row["billing_cycle_anchor"] = row["trial_end"] if row["status"] == "trialing" else account.now()
    for item in items_of(account, row):
        begin_period(account, row, item)
