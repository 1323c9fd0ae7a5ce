"""The API calls about subscriptions: create, change, cancel and list."""

from deploy.local.stripe_simulator import collection, invoices, params
from deploy.local.stripe_simulator.careful_changes import change_as_asked
from deploy.local.stripe_simulator.checkout import TRIAL_SETTINGS
from deploy.local.stripe_simulator.discounts import DISCOUNTS
from deploy.local.stripe_simulator.errors import missing_object
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.prorations import prorate, shares_of
from deploy.local.stripe_simulator.rendering import render
from deploy.local.stripe_simulator.store import Json
from deploy.local.stripe_simulator.subscription_starts import create_subscription
from deploy.local.stripe_simulator.subscriptions import ENDED, MOST_ITEMS, cancel_now, items_of


def update_subscription(call: Call) -> Json:
    account, asked = call.account, call.params
    row = account.load("subscription", call.id)
    change_as_asked(account, row, asked, call.request)
    return render(account, row)


def cancel_subscription(call: Call) -> Json:
    """At once. With `prorate` the unused time is credited, with `invoice_now` what waits is billed."""
    account, asked = call.account, call.params
    row = account.load("subscription", call.id)
    if row["status"] in ENDED:
        raise missing_object("subscription", call.id)
    if asked.get("prorate"):
        prorate(account, row, shares_of(account, row), {}, account.now())
    if asked.get("invoice_now"):
        collection.issue(account, invoices.draft_invoice(account, row, [], "subscription_update"))
    cancel_now(account, row, call.request, asked.get("cancellation_details"))
    return render(account, row)


def list_subscriptions(call: Call) -> Json:
    """Without a status the ended ones are left out; `ended` asks for them, `all` for everything."""
    account, asked = call.account, call.params
    rows = account.select("subscription", asked, "customer", "test_clock")
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


def trial_moment(raw: params.Raw, name: str) -> int | str:
    return "now" if raw == "now" else params.integer(raw, name)


NULLABLE_TEXT = params.nullable(params.text)
ITEM: dict[str, params.Reader] = {
    "metadata": params.metadata,
    "price": params.text,
    "quantity": params.amount,
}
CHANGED_ITEM: dict[str, params.Reader] = {**ITEM, "deleted": params.boolean, "id": params.text}
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
    "collection_method": params.one_of("charge_automatically", "send_invoice"),
    "days_until_due": params.amount,
    "default_payment_method": params.text,
    "description": NULLABLE_TEXT,
    "discounts": DISCOUNTS,
    "metadata": params.metadata,
    "proration_behavior": params.one_of("always_invoice", "create_prorations", "none"),
    "trial_end": trial_moment,
    "trial_settings": TRIAL_SETTINGS,
}
OPERATIONS = (
    Operation(
        "POST",
        "/v1/subscriptions",
        create_subscription,
        {
            **CHANGEABLE,
            "billing_cycle_anchor": params.integer,
            "currency": params.currency,
            "customer": params.text,
            "items": params.list_of(params.hash_of(ITEM, required=("price",)), at_most=MOST_ITEMS),
            "payment_behavior": params.one_of(
                "allow_incomplete", "default_incomplete", "error_if_incomplete"
            ),
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
            test_clock=params.text,
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
            "billing_cycle_anchor": params.one_of("now", "unchanged"),
            "cancellation_details": CANCELLATION,
            "items": params.list_of(params.hash_of(CHANGED_ITEM), at_most=MOST_ITEMS),
            "pause_collection": params.nullable(
                params.hash_of(
                    {
                        "behavior": params.one_of("keep_as_draft", "mark_uncollectible", "void"),
                        "resumes_at": params.integer,
                    },
                    required=("behavior",),
                )
            ),
            "payment_behavior": params.one_of(
                "allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete"
            ),
            "proration_date": params.integer,
        },
    ),
    Operation(
        "DELETE",
        "/v1/subscriptions/{id}",
        cancel_subscription,
        {
            "cancellation_details": CANCELLATION,
            "invoice_now": params.boolean,
            "prorate": params.boolean,
        },
    ),
)
