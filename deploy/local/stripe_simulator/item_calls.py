"""The API calls about single subscription items: each is a change of its subscription."""

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.careful_changes import change_as_asked
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.rendering import render
from deploy.local.stripe_simulator.store import Json
from deploy.local.stripe_simulator.subscription_calls import ITEM
from deploy.local.stripe_simulator.subscriptions import items_of

#: What is of the subscription and not of the item.
TERMS: dict[str, params.Reader] = {
    "payment_behavior": params.one_of(
        "allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete"
    ),
    "proration_behavior": params.one_of("always_invoice", "create_prorations", "none"),
    "proration_date": params.integer,
}


def create_item(call: Call) -> Json:
    account = call.account
    subscription = account.load("subscription", call.params["subscription"], "subscription")
    known = {item["id"] for item in items_of(account, subscription)}
    change(call, subscription, {})
    made = [item for item in items_of(account, subscription) if item["id"] not in known]
    return render(account, made[0] if made else subscription)


def update_item(call: Call) -> Json:
    row, subscription = load_item(call)
    change(call, subscription, {"id": row["id"]})
    return render(call.account, row)


def delete_item(call: Call) -> Json:
    row, subscription = load_item(call)
    change(call, subscription, {"id": row["id"], "deleted": True})
    return {"id": row["id"], "object": "subscription_item", "deleted": True}


def load_item(call: Call) -> tuple[Json, Json]:
    row = call.account.load("subscription_item", call.id)
    return row, call.account.load("subscription", row["subscription"])


def change(call: Call, subscription: Json, item: Json) -> None:
    asked = call.params
    item |= {name: asked[name] for name in asked.keys() & ITEM.keys()}
    terms = {name: asked[name] for name in asked.keys() & TERMS.keys()}
    change_as_asked(call.account, subscription, {"items": [item], **terms}, call.request)


def list_items(call: Call) -> Json:
    subscription = call.account.load("subscription", call.params["subscription"], "subscription")
    rows = items_of(call.account, subscription)
    return page(call, "subscription_item", rows, "/v1/subscription_items", oldest_first=True)


def retrieve_item(call: Call) -> Json:
    return render(call.account, call.account.load("subscription_item", call.id))


OPERATIONS = (
    Operation(
        "POST",
        "/v1/subscription_items",
        create_item,
        {**ITEM, **TERMS, "subscription": params.text},
        required=("price", "subscription"),
    ),
    Operation("POST", "/v1/subscription_items/{id}", update_item, {**ITEM, **TERMS}),
    Operation("DELETE", "/v1/subscription_items/{id}", delete_item, TERMS),
    Operation(
        "GET",
        "/v1/subscription_items",
        list_items,
        list_params(subscription=params.text),
        required=("subscription",),
    ),
    Operation("GET", "/v1/subscription_items/{id}", retrieve_item),
)
