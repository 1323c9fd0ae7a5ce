"""The API calls about subscription schedules: taken over from a subscription, changed, let go."""

from deploy.local.stripe_simulator import params, schedules
from deploy.local.stripe_simulator.errors import refused
from deploy.local.stripe_simulator.events import changes, emit
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.periods import period_end
from deploy.local.stripe_simulator.rendering import render, snapshot
from deploy.local.stripe_simulator.schedules import KIND
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscriptions import (
    ENDED,
    MOST_ITEMS,
    items_of,
    last_period_end,
    load_recurring_price,
    require_currency,
    require_distinct,
)

#: Stripe's limit of phases in one schedule.
MOST_PHASES = 10


def create_schedule(call: Call) -> Json:
    """From a subscription: its first phase is the running period as it is."""
    account = call.account
    row = account.load("subscription", call.params["from_subscription"], "from_subscription")
    if row["schedule"] is not None:
        raise refused(
            f"You cannot migrate a subscription that is already attached to a schedule: {row['schedule']}.",
            "from_subscription",
        )
    if row["status"] in ENDED | {"incomplete"}:
        raise refused(
            f"You cannot migrate a subscription in the `{row['status']}` status.", "from_subscription"
        )
    items = items_of(account, row)
    held = [{"price": item["price"], "quantity": item["quantity"]} for item in items]
    start, end = min(item["current_period_start"] for item in items), last_period_end(account, row)
    trial_end = row["trial_end"] if row["status"] == "trialing" else None
    phase = schedules.new_phase(held, row["currency"], start, end, trial_end=trial_end)
    schedule = schedules.new_schedule(account, row, phase)
    account.put(KIND, schedule)
    emit(account, f"{KIND}.created", schedule, request=call.request)
    schedules.attach(account, row, schedule["id"], call.request)
    return render(account, schedule)


def update_schedule(call: Call) -> Json:
    """Replace its phases from the current one on; what that one has is left as it is."""
    account, asked = call.account, call.params
    schedule = load_active(account, call.id, "update")
    before = snapshot(account, schedule)
    if "phases" in asked:
        phases = read_phases(account, schedule, asked["phases"])
        schedule["phases"] = phases
        schedule["current_phase"] = {name: phases[0][name] for name in ("end_date", "start_date")}
    schedule["end_behavior"] = asked.get("end_behavior", schedule["end_behavior"])
    schedule["metadata"] = params.changed_metadata(schedule["metadata"], asked.get("metadata"))
    account.put(KIND, schedule)
    previous = changes(before, snapshot(account, schedule))
    emit(account, f"{KIND}.updated", schedule, previous=previous, request=call.request)
    return render(account, schedule)


def release_schedule(call: Call) -> Json:
    """The subscription goes on as it is, and no phase changes it any more."""
    schedule = load_active(call.account, call.id, "release")
    schedules.end(call.account, schedule, "released", call.request)
    return render(call.account, schedule)


def retrieve_schedule(call: Call) -> Json:
    return render(call.account, call.account.load(KIND, call.id))


def list_schedules(call: Call) -> Json:
    return page(call, KIND, call.account.select(KIND, call.params, "customer"), TEMPLATE)


def load_active(account: Account, schedule_id: str, verb: str) -> Json:
    schedule = account.load(KIND, schedule_id)
    if schedule["status"] != "active":
        status = schedule["status"]
        raise refused(
            f"You cannot {verb} a subscription schedule that is currently in the `{status}` status."
        )
    return schedule


def read_phases(account: Account, schedule: Json, asked: list[Json]) -> list[Json]:
    subscription = account.load("subscription", schedule["subscription"])
    phases: list[Json] = []
    for number, given in enumerate(asked):
        name = f"phases[{number}]"
        start = phases[-1]["end_date"] if phases else schedule["current_phase"]["start_date"]
        if given.get("start_date", start) != start:
            raise refused("A phase begins where the one before it ends.", f"{name}[start_date]")
        require_items(account, subscription, given["items"], f"{name}[items]")
        end = end_of(account, given, start, name)
        rest = {key: given[key] for key in given.keys() & schedules.NEW_PHASE.keys()}
        if "invoice_settings" in rest:
            rest["invoice_settings"] = schedules.NEW_INVOICE_SETTINGS | rest["invoice_settings"]
        phases.append(schedules.new_phase(given["items"], subscription["currency"], start, end, **rest))
    if not phases or asked[0].get("start_date") is None:
        raise refused("The first phase says its `start_date`.", "phases[0][start_date]", "parameter_missing")
    require_unchanged(account, subscription, phases[0])
    return phases


def require_items(account: Account, subscription: Json, items: list[Json], name: str) -> None:
    held = {item["price"] for item in items_of(account, subscription)}
    require_distinct([item["price"] for item in items], name)
    for number, item in enumerate(items):
        if item["price"] not in held:
            price = load_recurring_price(account, item["price"], f"{name}[{number}][price]")
            require_currency(price, subscription["currency"], f"{name}[{number}][price]")


def end_of(account: Account, given: Json, start: int, name: str) -> int:
    """When a phase ends: as said, or after one interval of its first price."""
    if "end_date" in given and "duration" in given:
        raise refused("A phase has an `end_date` or a `duration`.", f"{name}[duration]")
    price = account.load("price", given["items"][0]["price"])
    end = given.get("end_date") or period_end(start, given.get("duration") or price["recurring"])
    if end <= start:
        raise refused("A phase ends after it begins.", f"{name}[end_date]")
    return int(end)


def require_unchanged(account: Account, subscription: Json, phase: Json) -> None:
    held = {item["price"]: item["quantity"] for item in items_of(account, subscription)}
    if held != {item["price"]: item["quantity"] for item in phase["items"]}:
        raise refused(
            "This local Stripe changes the items of the running phase by its subscription only.",
            "phases[0][items]",
        )


ITEM = params.hash_of(
    {
        "discounts": params.list_of(params.hash_of(dict.fromkeys(("coupon", "discount"), params.text))),
        "metadata": params.metadata,
        "price": params.text,
        "quantity": params.amount,
        "tax_rates": params.list_of(params.text),
    },
    required=("price",),
)
INVOICE_SETTINGS = params.hash_of(
    {
        "account_tax_ids": params.list_of(params.text),
        "days_until_due": params.integer,
        "issuer": params.hash_of(
            {"account": params.text, "type": params.one_of("account", "self")}, required=("type",)
        ),
    }
)
PHASE = params.hash_of(
    {
        "billing_cycle_anchor": params.one_of("automatic", "phase_start"),
        "collection_method": params.one_of("charge_automatically", "send_invoice"),
        "default_payment_method": params.text,
        "description": params.text,
        "discounts": params.list_of(params.hash_of(dict.fromkeys(("coupon", "discount"), params.text))),
        "duration": params.hash_of(
            {"interval": params.one_of("day", "month", "week", "year"), "interval_count": params.amount},
            required=("interval", "interval_count"),
        ),
        "end_date": params.integer,
        "invoice_settings": INVOICE_SETTINGS,
        "items": params.list_of(ITEM, at_most=MOST_ITEMS),
        "metadata": params.metadata,
        "proration_behavior": params.one_of("always_invoice", "create_prorations", "none"),
        "start_date": params.integer,
        "trial_end": params.integer,
    },
    required=("items",),
)
TEMPLATE = "/v1/subscription_schedules"
OPERATIONS = (
    # At Stripe, too, a schedule that is taken over from a subscription can be given nothing else.
    Operation(
        "POST",
        TEMPLATE,
        create_schedule,
        {"from_subscription": params.text},
        required=("from_subscription",),
    ),
    Operation("GET", TEMPLATE, list_schedules, list_params(customer=params.text)),
    Operation("GET", TEMPLATE + "/{id}", retrieve_schedule),
    Operation(
        "POST",
        TEMPLATE + "/{id}",
        update_schedule,
        {
            "end_behavior": params.one_of("cancel", "release"),
            "metadata": params.metadata,
            "phases": params.list_of(PHASE, at_most=MOST_PHASES),
            "proration_behavior": params.one_of("always_invoice", "create_prorations", "none"),
        },
    ),
    Operation("POST", TEMPLATE + "/{id}/release", release_schedule, {"preserve_cancel_date": params.boolean}),
)
