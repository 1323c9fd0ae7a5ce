"""Events: written when something happens, listed for 30 days, handed to the endpoints that want them."""

import time
from typing import TYPE_CHECKING, Any

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.errors import missing_object, refused
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.versions import API_VERSION, default_version, payload

if TYPE_CHECKING:
    from collections.abc import Callable

RETENTION_S = 30 * 24 * 3600
MOST_TYPES = 20
#: What an event carries when no API request caused it.
NO_REQUEST: Json = {"id": None, "idempotency_key": None}


def emit(
    account: Account,
    event_type: str,
    row: Json,
    *,
    previous: Json | None = None,
    request: Json | None = None,
) -> Json:
    """Record an event with a copy of the object as it is now, and owe it to every endpoint that wants it."""
    data: Json = {"object": snapshot(account, row)}
    if previous is not None:
        data["previous_attributes"] = previous
    return record_event(account, event_type, data, request=request)


def record_event(
    account: Account,
    event_type: str,
    data: Json,
    *,
    request: Json | None = None,
    overrides: Json | None = None,
) -> Json:
    """Like `emit`, for a payload that is already made; `overrides` replaces fields of the envelope."""
    endpoints = [row for row in account.rows.get("webhook_endpoint", {}).values() if wants(row, event_type)]
    event: Json = {
        "id": new_id("event"),
        "object": "event",
        "api_version": API_VERSION,
        "created": account.now(),
        "data": data,
        "livemode": False,
        "pending_webhooks": len(endpoints),
        "request": request or NO_REQUEST,
        "type": event_type,
        **(overrides or {}),
    }
    account.put("event", event)
    if account.moment is not None:
        # Stripe keeps an event for 30 real days, whatever time its object lives in.
        account.put("event_moment", {"id": event["id"], "written_at": int(time.time())})
    for endpoint in endpoints:
        owe(account, event["id"], endpoint["id"])
    return event


def owe(account: Account, event_id: str, endpoint_id: str) -> None:
    """A delivery row: exists until the endpoint has answered 2xx or every attempt is used up."""
    delivery_id = new_id("delivery")
    row = {"id": delivery_id, "event": event_id, "endpoint": endpoint_id, "attempts": 0, "due_at": 0.0}
    account.put("delivery", row)
    account.outbox.append(delivery_id)


def wants(endpoint: Json, event_type: str) -> bool:
    enabled = endpoint["enabled_events"]
    return endpoint["status"] == "enabled" and ("*" in enabled or event_type in enabled)


def changes(before: Json, after: Json) -> Json:
    """`previous_attributes`: the former value of each field that differs.

    A plain hash shows only its changed keys, as Stripe writes it; metadata that is new shows null.
    """
    found: Json = {}
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        both = isinstance(old, dict) and isinstance(new, dict) and "object" not in old
        found[name] = changes(old, new) if both and isinstance(old, dict) and isinstance(new, dict) else old
    return found


def list_events(call: Call) -> Json:
    account, asked = call.account, call.params
    types = set(asked.get("types", []))
    if "type" in asked:
        if types:
            raise refused("You may only specify one of these parameters: type, types.", "type")
        types = {asked["type"]}
    oldest = account.now() - RETENTION_S
    tests: list[Callable[[Json], bool]] = [lambda event: written_at(account, event) >= oldest]
    if types:
        tests.append(lambda event: event["type"] in types)
    if "delivery_success" in asked:
        tests.append(lambda event: (event["pending_webhooks"] == 0) is asked["delivery_success"])
    events = account.rows.get("event", {}).values()
    found = page(call, "event", (e for e in events if all(test(e) for test in tests)), "/v1/events")
    version = default_version(account)
    return {**found, "data": [payload(account, event, version) for event in found["data"]]}


def written_at(account: Account, event: Json) -> int:
    """When the event was written in real time; `created` is simulated for objects of a test clock."""
    known = account.find("event_moment", event["id"])
    return int(known["written_at"] if known else event["created"])


def retrieve_event(call: Call) -> Json:
    event = call.account.load("event", call.id)
    if written_at(call.account, event) < call.account.now() - RETENTION_S:
        raise missing_object("event", call.id)
    return payload(call.account, event, default_version(call.account))


def event_types(raw: params.Raw, name: str) -> Any:
    return params.list_of(params.text, at_most=MOST_TYPES)(raw, name)


OPERATIONS = (
    Operation(
        "GET",
        "/v1/events",
        list_events,
        list_params(type=params.text, types=event_types, delivery_success=params.boolean),
    ),
    Operation("GET", "/v1/events/{id}", retrieve_event),
)
