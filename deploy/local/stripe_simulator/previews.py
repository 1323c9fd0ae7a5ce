"""Invoice previews: the change or the purchase is done on a copy of the customer, and its invoice shown."""

from deploy.local.stripe_simulator import due, invoices, params, pause_calls
from deploy.local.stripe_simulator.errors import StripeError, refused
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.rehearsal import copy_of
from deploy.local.stripe_simulator.rendering import render
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscription_calls import CHANGED_ITEM, trial_moment
from deploy.local.stripe_simulator.subscription_changes import change_subscription, trial_end_of
from deploy.local.stripe_simulator.subscription_starts import choose
from deploy.local.stripe_simulator.subscriptions import (
    ENDED,
    MOST_ITEMS,
    billing_lines,
    cancel_now,
    new_subscription,
    require_currency,
)

#: What an invoice that was issued on the copy shows as a preview: fields of a draft.
DRAFT_FIELDS = (
    "amount_paid",
    "attempt_count",
    "attempted",
    "effective_at",
    "ending_balance",
    "hosted_invoice_url",
    "next_payment_attempt",
    "number",
    "status",
    "status_transitions",
)


def preview(call: Call) -> Json:
    """What the next invoice would bill; nothing is stored and nobody is told.

    A change that is billed at once shows that invoice, any other the next renewal with its prorations.
    """
    account, asked = call.account, call.params
    details = asked.get("subscription_details", {})
    if "subscription" in asked:
        known = account.load("subscription", asked["subscription"], "subscription")
        copy = copy_of(account, known["customer"])
        invoice = changed_invoice(copy, copy.load("subscription", known["id"]), details)
    elif "customer" in asked:
        customer = account.load_live("customer", asked["customer"], "customer")
        copy = copy_of(account, customer["id"])
        invoice = first_invoice(copy, customer["id"], asked)
    else:
        raise refused("You must pass `customer` or `subscription`.", "customer", "parameter_missing")
    return shown(copy, invoice)


def changed_invoice(copy: Account, row: Json, details: Json) -> Json:
    before = row["latest_invoice"]
    if row["status"] in ENDED:
        raise nothing_upcoming(row["customer"])
    if details.get("cancel_now"):
        cancel_now(copy, row, None)
        raise nothing_upcoming(row["customer"])
    if details.get("resume_at"):
        pause_calls.resume(copy, row, {"payment_behavior": "resume_on_payment_success"})
    elif details:
        wanted = {name: value for name, value in details.items() if name != "cancel_now"}
        change_subscription(copy, row, {**wanted, "payment_behavior": "default_incomplete"})
    if row["latest_invoice"] == before:
        renew_once(copy, row)
    if row["latest_invoice"] == before:
        raise nothing_upcoming(row["customer"])
    return copy.load("invoice", row["latest_invoice"])


def renew_once(copy: Account, row: Json) -> None:
    """Do what comes next of the subscription until it is billed or has ended."""
    before = row["latest_invoice"]
    while row["latest_invoice"] == before:
        deed = due.earliest(copy, row)
        if deed is None:
            return
        copy.moment = max(copy.now(), deed.at)
        deed.act(copy, row)


def first_invoice(copy: Account, customer_id: str, asked: Json) -> Json:
    """The first invoice of a subscription that does not exist yet."""
    details = asked.get("subscription_details", {})
    if "items" not in details:
        raise nothing_upcoming(customer_id)
    chosen = [
        choose(copy, item, f"subscription_details[items][{number}]")
        for number, item in enumerate(details["items"])
    ]
    currency = asked.get("currency") or chosen[0]["price"]["currency"]
    for number, choice in enumerate(chosen):
        require_currency(choice["price"], currency, f"subscription_details[items][{number}][price]")
    row = new_subscription(copy, customer_id, chosen, currency, trial_end_of(copy, details))
    return invoices.draft_invoice(copy, row, billing_lines(copy, row), "subscription_create")


def shown(copy: Account, invoice: Json) -> Json:
    """All lines, since a preview cannot be read again; totals as they would be."""
    preview_id = invoice["id"].replace("in_", "upcoming_in_", 1)
    lines = [render(copy, line) for line in copy.where("line_item", "invoice", invoice["id"])]
    url = f"/v1/invoices/{preview_id}/lines"
    return {
        **invoice,
        **{name: invoices.NEW_INVOICE[name] for name in DRAFT_FIELDS},
        "amount_remaining": invoice["amount_due"],
        "id": preview_id,
        "lines": {
            "object": "list",
            "data": [{**line, "invoice": preview_id} for line in lines],
            "has_more": False,
            "url": url,
        },
    }


def nothing_upcoming(customer_id: str) -> StripeError:
    return StripeError(
        f"No upcoming invoices for customer: {customer_id}", status=404, code="invoice_upcoming_none"
    )


DETAILS = params.hash_of(
    {
        "billing_cycle_anchor": params.one_of("now", "unchanged"),
        "cancel_at": params.nullable(params.integer),
        "cancel_at_period_end": params.boolean,
        "cancel_now": params.boolean,
        "items": params.list_of(params.hash_of(CHANGED_ITEM), at_most=MOST_ITEMS),
        "proration_behavior": params.one_of("always_invoice", "create_prorations", "none"),
        "proration_date": params.integer,
        "resume_at": params.one_of("now"),
        "trial_end": trial_moment,
    }
)
OPERATIONS = (
    Operation(
        "POST",
        "/v1/invoices/create_preview",
        preview,
        {
            "currency": params.currency,
            "customer": params.text,
            "subscription": params.text,
            "subscription_details": DETAILS,
        },
    ),
)
