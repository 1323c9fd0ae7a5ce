"""Webhook endpoints: where events are sent, and the secrets that sign them."""

from urllib.parse import urlsplit

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.errors import refused
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.versions import read_version

#: Stripe's limit of endpoints in test mode.
MOST_ENDPOINTS = 16


def create_endpoint(call: Call) -> Json:
    """The only answer that carries the signing secret."""
    account, asked = call.account, call.params
    if len(account.rows.get("webhook_endpoint", {})) >= MOST_ENDPOINTS:
        raise refused(f"You have reached the maximum of {MOST_ENDPOINTS} test webhook endpoints.")
    row = new_endpoint(account, asked["url"], asked["enabled_events"])
    row["api_version"] = asked.get("api_version")
    row["description"] = asked.get("description")
    row["metadata"] = params.changed_metadata({}, asked.get("metadata"))
    secret = new_id("webhook_secret")
    store_endpoint(account, row, secret)
    return {**row, "secret": secret}


def new_endpoint(account: Account, url: str, enabled_events: list[str]) -> Json:
    return {
        "id": new_id("webhook_endpoint"),
        "object": "webhook_endpoint",
        "api_version": None,
        "application": None,
        "created": account.now(),
        "description": None,
        "enabled_events": enabled_events,
        "livemode": False,
        "metadata": {},
        "status": "enabled",
        "url": url,
    }


def store_endpoint(account: Account, row: Json, secret: str, payload: str = "snapshot") -> None:
    """`payload`: `snapshot`, or `thin` for events of the second API generation, which only name an object."""
    account.put("webhook_endpoint", row)
    account.put("endpoint_secret", {"id": row["id"], "secret": secret, "payload": payload})


def update_endpoint(call: Call) -> Json:
    account, asked = call.account, call.params
    row = account.load("webhook_endpoint", call.id)
    for name in asked.keys() & {"url", "enabled_events", "description"}:
        row[name] = asked[name]
    if "disabled" in asked:
        row["status"] = "disabled" if asked["disabled"] else "enabled"
    row["metadata"] = params.changed_metadata(row["metadata"], asked.get("metadata"))
    account.put("webhook_endpoint", row)
    return row


def delete_endpoint(call: Call) -> Json:
    """What was still owed to it is never sent: the sender drops deliveries without an endpoint."""
    account = call.account
    account.load("webhook_endpoint", call.id)
    account.remove("webhook_endpoint", call.id)
    account.remove("endpoint_secret", call.id)
    return {"id": call.id, "object": "webhook_endpoint", "deleted": True}


def retrieve_endpoint(call: Call) -> Json:
    return call.account.load("webhook_endpoint", call.id)


def list_endpoints(call: Call) -> Json:
    rows = call.account.rows.get("webhook_endpoint", {}).values()
    return page(call, "webhook_endpoint", rows, "/v1/webhook_endpoints")


def version(raw: params.Raw, name: str) -> str:
    return read_version(params.text(raw, name))


def web_url(raw: params.Raw, name: str) -> str:
    value = params.text(raw, name)
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise refused(
            "Invalid URL: An explicit scheme (such as https) must be provided.", name, "url_invalid"
        )
    return value


CHANGEABLE = {
    "url": web_url,
    "enabled_events": params.list_of(params.text),
    "description": params.nullable(params.text),
    "metadata": params.metadata,
}
OPERATIONS = (
    Operation(
        "POST",
        "/v1/webhook_endpoints",
        create_endpoint,
        {**CHANGEABLE, "api_version": version},
        required=("url", "enabled_events"),
    ),
    Operation("GET", "/v1/webhook_endpoints", list_endpoints, list_params()),
    Operation("GET", "/v1/webhook_endpoints/{id}", retrieve_endpoint),
    Operation(
        "POST",
        "/v1/webhook_endpoints/{id}",
        update_endpoint,
        {**CHANGEABLE, "disabled": params.boolean},
    ),
    Operation("DELETE", "/v1/webhook_endpoints/{id}", delete_endpoint),
)
