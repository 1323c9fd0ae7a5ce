"""The API calls that pause a subscription and resume it."""

from deploy.local.stripe_simulator import collection, invoices, params, pauses
from deploy.local.stripe_simulator.errors import refused
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.prorations import prorate, put_share, shares_of
from deploy.local.stripe_simulator.rendering import render
from deploy.local.stripe_simulator.renewals import INCOMPLETE_S
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscription_items import restart_periods
from deploy.local.stripe_simulator.subscriptions import (
    billing_lines,
    change_plan,
    items_of,
    paying_method,
    unit_amount,
)

PAUSABLE = {"active", "past_due", "trialing", "unpaid"}


def pause_subscription(call: Call) -> Json:
    """Credits the unused time, by default as an invoice item that waits."""
    account, asked = call.account, call.params
    row = account.load("subscription", call.id)
    if row["status"] not in PAUSABLE:
        raise refused(f"You cannot pause a subscription with the status `{row['status']}`.")
    start = asked.get("bill_for", {}).get("unused_time_from", {"type": "now"})["type"]
    shares = {} if start == "none" else shares_of(account, row)
    for share in shares.values():
        put_share(account, row, share, share.start if start != "now" else account.now(), sign=-1)
    if shares and asked.get("invoicing_behavior") == "invoice":
        collection.issue(account, invoices.draft_invoice(account, row, [], "subscription_update"))
    pauses.pause(account, row, "pause_requested", call.request)
    return render(account, row)


def resume_subscription(call: Call) -> Json:
    """Bill a new period, or what is left of the running one; see `settle_resumption` for the status."""
    row = call.account.load("subscription", call.id)
    resume(call.account, row, call.params)
    return render(call.account, row)


def resume(account: Account, row: Json, asked: Json) -> None:
    if row["status"] != "paused":
        raise refused(f"This subscription is not paused: its status is `{row['status']}`.")
    if row["collection_method"] != "charge_automatically":
        raise refused("Only a subscription that is charged automatically can be resumed.")
    anew = asked.get("billing_cycle_anchor", {"type": "now"})["type"] == "now"
    behavior = asked.get("proration_behavior", "create_prorations")
    if anew and costs(account, row):
        paying_method(account, row)
    if anew:
        restart_periods(account, row)
    elif behavior != "none":
        after = shares_of(account, {**row, "status": "active"})
        prorate(account, row, {}, after, asked.get("proration_date", account.now()))
    account.put("subscription", row)
    if not anew and behavior != "always_invoice":
        pauses.complete_resumption(account, row)
        return
    lines = billing_lines(account, row) if anew else []
    invoice = invoices.draft_invoice(account, row, lines, "subscription_update")
    change_plan(account, row, resumption_invoice=invoice["id"], resumption_until=account.now() + INCOMPLETE_S)
    collection.issue(account, invoice)
    settle_resumption(account, row, invoice, asked.get("payment_behavior", "resume_on_payment_attempt"))


def settle_resumption(account: Account, row: Json, invoice: Json, behavior: str) -> None:
    """A paid invoice has already resumed it. After a failed attempt it goes on as past due, or stays paused
    until the invoice is paid (`resume_on_payment_success`), for 23 hours.
    """
    if invoice["status"] == "open" and behavior == "resume_on_payment_attempt":
        pauses.complete_resumption(account, row, status="past_due")


def costs(account: Account, row: Json) -> bool:
    prices = [account.load("price", item["price"]) for item in items_of(account, row)]
    return any(unit_amount(price, row["currency"]) for price in prices)


def typed(*kinds: str) -> params.Reader:
    return params.hash_of({"type": params.one_of(*kinds)}, required=("type",))


OPERATIONS = (
    Operation(
        "POST",
        "/v1/subscriptions/{id}/pause",
        pause_subscription,
        {
            "bill_for": params.hash_of(
                {
                    "outstanding_usage_through": typed("none", "now"),
                    "unused_time_from": typed("item_current_period_start", "none", "now"),
                }
            ),
            "invoicing_behavior": params.one_of("invoice", "pending_invoice_item"),
            "type": params.one_of("subscription"),
        },
    ),
    Operation(
        "POST",
        "/v1/subscriptions/{id}/resume",
        resume_subscription,
        {
            "billing_cycle_anchor": typed("now", "unchanged"),
            "payment_behavior": params.one_of("resume_on_payment_attempt", "resume_on_payment_success"),
            "proration_behavior": params.one_of("always_invoice", "create_prorations", "none"),
            "proration_date": params.integer,
        },
    ),
)
