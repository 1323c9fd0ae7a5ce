"""Billing portal sessions: a link to the portal page (`portal_page.py`), perhaps straight to one action."""

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.errors import malformed, missing_object, refused
from deploy.local.stripe_simulator.events import emit
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.portal_configurations import configuration_of
from deploy.local.stripe_simulator.portal_features import prices_offered
from deploy.local.stripe_simulator.store import Account, Json

KIND = "billing_portal.session"
#: Flow → the feature it needs.
FEATURE_OF = {
    "payment_method_update": "payment_method_update",
    "subscription_cancel": "subscription_cancel",
    "subscription_update": "subscription_update",
    "subscription_update_confirm": "subscription_update",
}
ENDED = {"canceled", "incomplete_expired"}


def create_session(call: Call) -> Json:
    account, asked = call.account, call.params
    customer = account.load_live("customer", asked["customer"], "customer")
    configuration = configuration_of(account, asked.get("configuration"))
    flow = asked.get("flow_data")
    if flow is not None:
        check_flow(account, customer, configuration, flow)
    session_id = new_id(KIND)
    row: Json = {
        "id": session_id,
        "object": KIND,
        "configuration": configuration["id"],
        "created": account.now(),
        "customer": customer["id"],
        "customer_account": None,
        "flow": None if flow is None else shown_flow(flow),
        "livemode": False,
        "locale": asked.get("locale"),
        "on_behalf_of": None,
        "return_url": asked.get("return_url", configuration["default_return_url"]),
        "url": f"{call.base_url}/p/session/{session_id}",
    }
    account.put(KIND, row)
    emit(account, f"{KIND}.created", row, request=call.request)
    return row


def check_flow(account: Account, customer: Json, configuration: Json, flow: Json) -> None:
    kind = flow["type"]
    feature = FEATURE_OF[kind]
    if not configuration["features"][feature]["enabled"]:
        raise refused(
            f"The `{kind}` flow cannot be used: the feature `{feature}` in the portal configuration "
            f"{configuration['id']} is disabled.",
            "flow_data[type]",
        )
    if kind == "payment_method_update":
        return
    if kind not in flow:
        name = f"flow_data[{kind}]"
        raise malformed(f"Missing required param: {name}.", name, "parameter_missing")
    subscription = own_subscription(account, customer, flow[kind]["subscription"], kind)
    if kind == "subscription_cancel":
        require_cancelable(subscription)
    else:
        require_updatable(account, subscription, kind)
    if kind == "subscription_update_confirm":
        check_confirmation(account, configuration, subscription, flow[kind]["items"])


def own_subscription(account: Account, customer: Json, subscription_id: str, kind: str) -> Json:
    row = account.find("subscription", subscription_id)
    if row is None or row["customer"] != customer["id"]:
        raise missing_object("subscription", subscription_id, f"flow_data[{kind}][subscription]")
    return row


def require_cancelable(subscription: Json) -> None:
    if subscription["status"] in ENDED or subscription["cancel_at"] is not None:
        raise refused(
            f"The subscription `{subscription['id']}` is already set to be canceled.",
            "flow_data[subscription_cancel][subscription]",
        )


def require_updatable(account: Account, subscription: Json, kind: str) -> None:
    param = f"flow_data[{kind}][subscription]"
    if subscription["status"] in ENDED or subscription["cancel_at"] is not None:
        raise refused(
            f"The subscription `{subscription['id']}` is canceled or set to be canceled, so it cannot be "
            "updated in the portal.",
            param,
        )
    if len(account.where("subscription_item", "subscription", subscription["id"])) > 1:
        raise refused(
            f"The subscription `{subscription['id']}` has multiple items: subscriptions with multiple "
            "items cannot be updated in the portal.",
            param,
        )


def check_confirmation(account: Account, configuration: Json, subscription: Json, items: list[Json]) -> None:
    param = "flow_data[subscription_update_confirm][items]"
    if len(items) != 1:
        raise refused("Exactly one item may be updated by this flow.", param)
    (item,) = items
    row = account.find("subscription_item", item["id"])
    if row is None or row["subscription"] != subscription["id"]:
        raise missing_object("subscription_item", item["id"], f"{param}[0][id]")
    price = item.get("price")
    if price is not None and price not in prices_offered(configuration):
        raise refused(
            f"The price `{price}` is not among the products of the portal configuration "
            f"{configuration['id']}.",
            f"{param}[0][price]",
        )
    is_same = price in {None, row["price"]} and item.get("quantity", row["quantity"]) == row["quantity"]
    if is_same:
        raise refused("The subscription update would change nothing.", f"{param}[0]")


def shown_flow(flow: Json) -> Json:
    """A session's `flow`: every kind of detail, null where the flow is another."""
    after = flow.get("after_completion", {"type": "portal_homepage"})
    names = ("subscription_cancel", "subscription_update", "subscription_update_confirm")
    shown: Json = {name: flow.get(name) if name == flow["type"] else None for name in names}
    if shown["subscription_cancel"] is not None:
        shown["subscription_cancel"] = {"retention": None, **shown["subscription_cancel"]}
    if shown["subscription_update_confirm"] is not None:
        shown["subscription_update_confirm"] = {"discounts": None, **shown["subscription_update_confirm"]}
    return {
        "after_completion": {"hosted_confirmation": None, "redirect": None, **after},
        **shown,
        "type": flow["type"],
    }


SUBSCRIPTION = params.hash_of({"subscription": params.text}, required=("subscription",))
FLOW = params.hash_of(
    {
        "after_completion": params.hash_of(
            {
                "hosted_confirmation": params.hash_of({"custom_message": params.text}),
                "redirect": params.hash_of({"return_url": params.text}, required=("return_url",)),
                "type": params.one_of("hosted_confirmation", "portal_homepage", "redirect"),
            },
            required=("type",),
        ),
        "subscription_cancel": SUBSCRIPTION,
        "subscription_update": SUBSCRIPTION,
        "subscription_update_confirm": params.hash_of(
            {
                "items": params.list_of(
                    params.hash_of(
                        {"id": params.text, "price": params.text, "quantity": params.amount},
                        required=("id",),
                    )
                ),
                "subscription": params.text,
            },
            required=("items", "subscription"),
        ),
        "type": params.one_of(*FEATURE_OF),
    },
    required=("type",),
)
OPERATIONS = (
    Operation(
        "POST",
        "/v1/billing_portal/sessions",
        create_session,
        {
            "configuration": params.text,
            "customer": params.text,
            "flow_data": FLOW,
            "locale": params.text,
            "return_url": params.text,
        },
        required=("customer",),
    ),
)
