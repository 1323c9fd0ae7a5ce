"""Billing portal configurations: what a customer may do on the portal page.

The default one is made by saving the portal's settings in the dashboard: here `POST /_sim/portal`.
"""

from copy import deepcopy
from typing import Any

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.errors import missing_object, refused
from deploy.local.stripe_simulator.events import changes, emit
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.portal_features import FEATURES, NOTHING_ALLOWED, check_features, merged
from deploy.local.stripe_simulator.rendering import render, snapshot
from deploy.local.stripe_simulator.store import Account, Json

KIND = "billing_portal.configuration"
PROFILE = ("headline", "privacy_policy_url", "terms_of_service_url")


def create_configuration(call: Call) -> Json:
    account = call.account
    row = new_configuration(account, call.params)
    emit(account, f"{KIND}.created", row, request=call.request)
    return render(account, row)


def new_configuration(account: Account, asked: Json, *, is_default: bool = False) -> Json:
    """A stored configuration; raises refused for features that contradict themselves."""
    now = account.now()
    row: Json = {
        "id": new_id(KIND),
        "object": KIND,
        "active": True,
        "application": None,
        "business_profile": dict.fromkeys(PROFILE),
        "created": now,
        "default_return_url": None,
        "features": deepcopy(NOTHING_ALLOWED),
        "is_default": is_default,
        "livemode": False,
        "login_page": {"enabled": False, "url": None},
        "metadata": {},
        "name": None,
        "updated": now,
    }
    apply_changes(account, row, asked)
    return row


def apply_changes(account: Account, row: Json, asked: Json) -> None:
    features = merged(row["features"], asked.get("features", {}))
    check_features(account, features)
    for name in asked.keys() & {"active", "default_return_url", "name"}:
        row[name] = asked[name]
    row |= {
        "business_profile": {**row["business_profile"], **asked.get("business_profile", {})},
        "features": features,
        "metadata": params.changed_metadata(row["metadata"], asked.get("metadata")),
        "updated": account.now(),
    }
    account.put(KIND, row)


def update_configuration(call: Call) -> Json:
    account, asked = call.account, call.params
    row = account.load(KIND, call.id)
    if row["is_default"] and asked.get("active") is False:
        raise refused("You cannot deactivate the default configuration.", "active")
    before = snapshot(account, row)
    apply_changes(account, row, asked)
    if difference := changes(before, snapshot(account, row)):
        emit(account, f"{KIND}.updated", row, previous=difference, request=call.request)
    return render(account, row)


def save_default(account: Account, asked: Json) -> Json:
    """What the dashboard does: change the default configuration, or make it."""
    row = find_default(account)
    if row is None:
        row = new_configuration(account, asked, is_default=True)
        emit(account, f"{KIND}.created", row)
        return row
    before = snapshot(account, row)
    apply_changes(account, row, asked)
    if difference := changes(before, snapshot(account, row)):
        emit(account, f"{KIND}.updated", row, previous=difference)
    return row


def find_default(account: Account) -> Json | None:
    rows = account.rows.get(KIND, {}).values()
    return next((row for row in rows if row["is_default"]), None)


def configuration_of(account: Account, asked: str | None) -> Json:
    """The one a session asks for, or the default; refused when there is none or it is not active."""
    row = account.load(KIND, asked, "configuration") if asked is not None else find_default(account)
    if row is None:
        raise refused(
            "No configuration provided and your test mode default configuration has not been created. "
            "Provide a configuration or create your default by saving your customer portal settings in test "
            "mode at https://dashboard.stripe.com/test/settings/billing/portal. (In this local Stripe: "
            "POST /_sim/portal.)"
        )
    if not row["active"]:
        raise refused(f"The configuration {row['id']} is not active.", "configuration")
    return row


def retrieve_configuration(call: Call) -> Json:
    row = call.account.find(KIND, call.id)
    if row is None:
        raise missing_object("configuration", call.id)
    return render(call.account, row)


def list_configurations(call: Call) -> Json:
    asked = call.params
    rows = [
        row
        for row in call.account.rows.get(KIND, {}).values()
        if all(row[name] is asked[name] for name in ("active", "is_default") if name in asked)
    ]
    return page(call, KIND, rows, "/v1/billing_portal/configurations")


def headline(raw: params.Raw, name: str) -> Any:
    """Stripe's limit is 60 characters."""
    value = params.text(raw, name)
    if len(value) > 60:  # noqa: PLR2004 (said above)
        raise refused("Invalid string: must be at most 60 characters.", name)
    return value


CREATE: dict[str, params.Reader] = {
    "business_profile": params.hash_of(
        {
            "headline": params.nullable(headline),
            "privacy_policy_url": params.text,
            "terms_of_service_url": params.text,
        }
    ),
    "default_return_url": params.nullable(params.text),
    "features": params.hash_of(FEATURES),
    "metadata": params.metadata,
    "name": params.nullable(params.text),
}
ADDRESS = "/v1/billing_portal/configurations"
OPERATIONS = (
    Operation("POST", ADDRESS, create_configuration, CREATE, required=("features",)),
    Operation(
        "GET",
        ADDRESS,
        list_configurations,
        list_params(active=params.boolean, is_default=params.boolean),
    ),
    Operation("GET", f"{ADDRESS}/{{id}}", retrieve_configuration),
    Operation("POST", f"{ADDRESS}/{{id}}", update_configuration, {**CREATE, "active": params.boolean}),
)
