"""Test clocks: the only simulated time. What is due up to the new time happens within the `advance` call."""

import time

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.customers import remove_customer
from deploy.local.stripe_simulator.due import run_until
from deploy.local.stripe_simulator.errors import refused
from deploy.local.stripe_simulator.events import emit
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.periods import shifted
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscriptions import ENDED, items_of

KIND = "test_helpers.test_clock"
#: A clock may be moved this many intervals of its shortest price at once, or years without a subscription.
FARTHEST = 2
YEAR: Json = {"interval": "year", "interval_count": 1}
#: Real seconds until Stripe deletes a forgotten clock: 30 days. This Stripe only says so.
KEPT_S = 30 * 24 * 3600


def create_clock(call: Call) -> Json:
    account, now = call.account, int(time.time())
    row: Json = {
        "id": new_id(KIND),
        "object": KIND,
        "created": now,
        "deletes_after": now + KEPT_S,
        "frozen_time": call.params["frozen_time"],
        "livemode": False,
        "name": call.params.get("name"),
        "status": "ready",
        "status_details": {},
    }
    customer = customer_to_attach(account, call.params)
    account.put(KIND, row)
    emit(account, f"{KIND}.created", row, request=call.request)
    if customer is not None:
        attach(account, row, customer, call.request)
    return row


def customer_to_attach(account: Account, asked: Json) -> Json | None:
    if "customer" not in asked:
        return None
    customer = account.load_live("customer", asked["customer"], "customer")
    if customer["test_clock"] is not None:
        raise refused("This customer is already attached to a test clock.", "customer")
    return customer


def attach(account: Account, clock: Json, customer: Json, request: Json | None) -> None:
    """From now on the customer and what it has live in the clock's time; there is no way back."""
    for kind in ("invoice", "invoiceitem", "subscription"):
        for row in account.where(kind, "customer", customer["id"]):
            row["test_clock"] = clock["id"]
            account.put(kind, row)
    for session in account.where("checkout.session", "customer", customer["id"]):
        account.put("checkout.session", session)
    customer["test_clock"] = clock["id"]
    account.put("customer", customer)
    emit(account, "customer.updated", customer, previous={"test_clock": None}, request=request)


def advance_clock(call: Call) -> Json:
    """Answers `advancing`, as Stripe does; the next read finds it `ready`, with all that was due done."""
    account, target = call.account, call.params["frozen_time"]
    row = account.load(KIND, call.id)
    check_target(account, row, target)
    return move(account, row, target, call.request)


def move(account: Account, row: Json, target: int, request: Json | None) -> Json:
    """Do all that is due up to the new time; returns the clock as it was while it advanced."""
    row |= {"status": "advancing", "status_details": {"advancing": {"target_frozen_time": target}}}
    account.put(KIND, row)
    emit(account, f"{KIND}.advancing", row, request=request)
    advancing = snapshot(account, row)
    run_until(account, row["id"], target)
    row |= {"frozen_time": target, "status": "ready", "status_details": {}}
    account.put(KIND, row)
    with account.standing_at(target):
        emit(account, f"{KIND}.ready", row, request=request)
    return advancing


def check_target(account: Account, row: Json, target: int) -> None:
    now = row["frozen_time"]
    if target <= now:
        raise refused(f"The `frozen_time` must be after the current frozen time of {now}.", "frozen_time")
    shortest = min((shifted(now, terms, FARTHEST) for terms in intervals_of(account, row)), default=None)
    if shortest is None and target > shifted(now, YEAR, FARTHEST):
        raise refused("A test clock can be advanced by two years at most.", "frozen_time")
    if shortest is not None and target > shortest:
        raise refused(
            "Cannot advance a test clock more than two intervals ahead of its current frozen time, based on "
            f"the shortest subscription interval: {shortest} is the latest possible time.",
            "frozen_time",
        )


def intervals_of(account: Account, clock: Json) -> list[Json]:
    live = [
        row for row in account.where("subscription", "test_clock", clock["id"]) if row["status"] not in ENDED
    ]
    items = [item for row in live for item in items_of(account, row)]
    return [account.load("price", item["price"])["recurring"] for item in items]


def delete_clock(call: Call) -> Json:
    """Its customers go with it, and with them what they pay for."""
    account = call.account
    row = account.load(KIND, call.id)
    for customer in account.where("customer", "test_clock", row["id"]):
        remove_customer(account, customer, call.request)
    emit(account, f"{KIND}.deleted", row, request=call.request)
    account.remove(KIND, row["id"])
    return {"id": row["id"], "object": KIND, "deleted": True}


def retrieve_clock(call: Call) -> Json:
    return call.account.load(KIND, call.id)


def list_clocks(call: Call) -> Json:
    return page(call, KIND, call.account.rows.get(KIND, {}).values(), "/v1/test_helpers/test_clocks")


TEMPLATE = "/v1/test_helpers/test_clocks"
OPERATIONS = (
    Operation(
        "POST",
        TEMPLATE,
        create_clock,
        {"customer": params.text, "frozen_time": params.amount, "name": params.text},
        required=("frozen_time",),
    ),
    Operation("GET", TEMPLATE, list_clocks, list_params()),
    Operation("GET", TEMPLATE + "/{id}", retrieve_clock),
    Operation("DELETE", TEMPLATE + "/{id}", delete_clock),
    Operation(
        "POST",
        TEMPLATE + "/{id}/advance",
        advance_clock,
        {"frozen_time": params.amount},
        required=("frozen_time",),
    ),
)
