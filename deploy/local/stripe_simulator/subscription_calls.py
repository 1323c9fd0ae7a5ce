"""The API calls about subscriptions: create, change, cancel and list."""

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.errors import missing_object, refused
from deploy.local.stripe_simulator.events import emit
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.rendering import render, snapshot
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscriptions import (
    DAY_S,
    MOST_ITEMS,
    add_item,
    begin_period,
    bill,
    cancel_now,
    emit_update,
    items_of,
    load_recurring_price,
    method_of,
    new_subscription,
    paying_method,
    require_currency,
    require_distinct,
    set_cancellation,
    unit_amount,
)

ENDED = {"canceled", "incomplete_expired"}
#: What may still be changed of a subscription that has ended.
CHANGEABLE_AFTER_END = {"cancellation_details", "metadata"}


def create_subscription(call: Call) -> Json:
    account, asked = call.account, call.params
    customer = account.load_live("customer", asked["customer"], "customer")
    chosen = [choose(account, item, f"items[{number}]") for number, item in enumerate(asked["items"])]
    require_distinct([choice["price"]["id"] for choice in chosen], "items")
    currency = asked.get("currency") or chosen[0]["price"]["currency"]
    for number, choice in enumerate(chosen):
        require_currency(choice["price"], currency, f"items[{number}][price]")
    trial_end = trial_end_of(account, asked)
    require_method(account, asked)
    method = None
    if trial_end is None and any(unit_amount(choice["price"], currency) for choice in chosen):
        default = customer["invoice_settings"]["default_payment_method"]
        method = method_of(account, asked.get("default_payment_method"), default)
    row = new_subscription(account, customer["id"], chosen, currency, trial_end)
    describe(row, asked)
    set_cancellation(account, row, asked)
    account.put("subscription", row)
    emit(account, "customer.subscription.created", row, request=call.request)
    bill(account, row, "subscription_create", method)
    return render(account, row)


def choose(account: Account, item: Json, name: str) -> Json:
    price = load_recurring_price(account, item["price"], f"{name}[price]")
    metadata = params.changed_metadata({}, item.get("metadata"))
    return {"price": price, "quantity": item.get("quantity", 1), "metadata": metadata}


def describe(row: Json, asked: Json) -> None:
    for name in asked.keys() & {"default_payment_method", "description", "pause_collection"}:
        row[name] = asked[name]
    if row["pause_collection"] is not None:
        row["pause_collection"] = {"resumes_at": None, **row["pause_collection"]}
    row["metadata"] = params.changed_metadata(row["metadata"], asked.get("metadata"))
    details = asked.get("cancellation_details", {})
    row["cancellation_details"] = {**row["cancellation_details"], **details}


def require_method(account: Account, asked: Json) -> None:
    if "default_payment_method" in asked:
        account.load("payment_method", asked["default_payment_method"], "default_payment_method")


def trial_end_of(account: Account, asked: Json) -> int | None:
    """When the trial that a call asks for ends, in seconds since 1970; None: no trial."""
    if days := asked.get("trial_period_days"):
        return account.now() + int(days) * DAY_S
    end = asked.get("trial_end")
    if end is None or end == "now":
        return None
    if end <= account.now():
        raise refused("`trial_end` must be in the future, or `now`.", "trial_end")
    return int(end)


def update_subscription(call: Call) -> Json:
    account, asked = call.account, call.params
    row = account.load("subscription", call.id)
    if row["status"] in ENDED and asked.keys() - CHANGEABLE_AFTER_END:
        raise refused(
            "A canceled subscription can only update its cancellation_details and metadata.",
            next(iter(asked.keys() - CHANGEABLE_AFTER_END)),
        )
    plan = plan_items(call, row)
    new_trial = trial_end_of(account, asked)
    require_method(account, asked)
    ends_trial = row["status"] == "trialing" and asked.get("trial_end") == "now"
    starts_period = ends_trial or (row["status"] != "trialing" and changes_interval(account, row, plan))
    method = paying_method(account, row) if starts_period else None
    before = snapshot(account, row)
    apply_items(account, row, plan)
    describe(row, asked)
    if new_trial is not None:
        row |= {"status": "trialing", "trial_end": new_trial, "trial_start": account.now()}
    if ends_trial:
        row |= {"status": "active", "trial_end": account.now()}
    if new_trial is not None or starts_period:
        restart_periods(account, row)
    set_cancellation(account, row, asked)
    account.put("subscription", row)
    if starts_period:
        bill(account, row, "subscription_cycle" if ends_trial else "subscription_update", method)
    emit_update(account, before, row, call.request)
    return render(account, row)


def plan_items(call: Call, row: Json) -> list[Json]:
    """The asked changes, checked before anything changes: each has `item` (or None) and `price` (or None)."""
    account = call.account
    plan = []
    for number, asked in enumerate(call.params.get("items", [])):
        name = f"items[{number}]"
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


def cancel_subscription(call: Call) -> Json:
    account = call.account
    row = account.load("subscription", call.id)
    if row["status"] in ENDED:
        raise missing_object("subscription", call.id)
    cancel_now(account, row, call.request, call.params.get("cancellation_details"))
    return render(account, row)


def list_subscriptions(call: Call) -> Json:
    """Without a status the ended ones are left out; `ended` asks for them, `all` for everything."""
    account, asked = call.account, call.params
    rows = account.select("subscription", asked, "customer")
    status = asked.get("status")
    if status == "ended":
        rows = [row for row in rows if row["status"] in ENDED]
    elif status is None:
        rows = [row for row in rows if row["status"] != "canceled"]
    elif status != "all":
        rows = [row for row in rows if row["status"] == status]
    if price := asked.get("price"):
        rows = [row for row in rows if price in {item["price"] for item in items_of(account, row)}]
    return page(call, "subscription", rows, "/v1/subscriptions")


def retrieve_subscription(call: Call) -> Json:
    return render(call.account, call.account.load("subscription", call.id))


def list_items(call: Call) -> Json:
    subscription = call.account.load("subscription", call.params["subscription"], "subscription")
    rows = items_of(call.account, subscription)
    return page(call, "subscription_item", rows, "/v1/subscription_items", oldest_first=True)


def retrieve_item(call: Call) -> Json:
    return render(call.account, call.account.load("subscription_item", call.id))


def trial_moment(raw: params.Raw, name: str) -> int | str:
    return "now" if raw == "now" else params.integer(raw, name)


NULLABLE_TEXT = params.nullable(params.text)
ITEM: dict[str, params.Reader] = {
    "metadata": params.metadata,
    "price": params.text,
    "quantity": params.amount,
}
CANCELLATION = params.hash_of(
    {
        "comment": NULLABLE_TEXT,
        "feedback": params.nullable(
            params.one_of(
                "customer_service",
                "low_quality",
                "missing_features",
                "other",
                "switched_service",
                "too_complex",
                "too_expensive",
                "unused",
            )
        ),
    }
)
CHANGEABLE: dict[str, params.Reader] = {
    "cancel_at": params.nullable(params.integer),
    "cancel_at_period_end": params.boolean,
    "default_payment_method": params.text,
    "description": NULLABLE_TEXT,
    "metadata": params.metadata,
    # Prorations are not simulated, so the other behaviours are refused and not silently ignored.
    "proration_behavior": params.one_of("none"),
    "trial_end": trial_moment,
}
OPERATIONS = (
    Operation(
        "POST",
        "/v1/subscriptions",
        create_subscription,
        {
            **CHANGEABLE,
            "collection_method": params.one_of("charge_automatically"),
            "currency": params.currency,
            "customer": params.text,
            "items": params.list_of(params.hash_of(ITEM, required=("price",)), at_most=MOST_ITEMS),
            "payment_behavior": params.one_of("allow_incomplete", "error_if_incomplete"),
            "trial_period_days": params.amount,
        },
        required=("customer", "items"),
    ),
    Operation(
        "GET",
        "/v1/subscriptions",
        list_subscriptions,
        list_params(
            customer=params.text,
            price=params.text,
            status=params.one_of(
                "active",
                "all",
                "canceled",
                "ended",
                "incomplete",
                "incomplete_expired",
                "past_due",
                "paused",
                "trialing",
                "unpaid",
            ),
        ),
    ),
    Operation("GET", "/v1/subscriptions/{id}", retrieve_subscription),
    Operation(
        "POST",
        "/v1/subscriptions/{id}",
        update_subscription,
        {
            **CHANGEABLE,
            "cancellation_details": CANCELLATION,
            "items": params.list_of(
                params.hash_of({**ITEM, "deleted": params.boolean, "id": params.text}), at_most=MOST_ITEMS
            ),
            "pause_collection": params.nullable(
                params.hash_of(
                    {
                        "behavior": params.one_of("keep_as_draft", "mark_uncollectible", "void"),
                        "resumes_at": params.integer,
                    },
                    required=("behavior",),
                )
            ),
        },
    ),
    Operation(
        "DELETE",
        "/v1/subscriptions/{id}",
        cancel_subscription,
        {"cancellation_details": CANCELLATION},
    ),
    Operation(
        "GET",
        "/v1/subscription_items",
        list_items,
        list_params(subscription=params.text),
        required=("subscription",),
    ),
    Operation("GET", "/v1/subscription_items/{id}", retrieve_item),
)
