"""Changes that happen only when their payment succeeds: tried on a copy of the customer first.

`error_if_incomplete` refuses the call when the payment would fail; `pending_if_incomplete` keeps the
change on the subscription and its invoice open, for 23 hours.
"""

from deploy.local.stripe_simulator import collection, invoices, pending_updates
from deploy.local.stripe_simulator.errors import card_declined, refused
from deploy.local.stripe_simulator.invoice_lines import Line
from deploy.local.stripe_simulator.rehearsal import copy_of
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscription_changes import change_subscription
from deploy.local.stripe_simulator.subscriptions import ENDED, emit_update, items_of

#: What may still be changed of a subscription that has ended.
CHANGEABLE_AFTER_END = {"cancellation_details", "metadata"}
#: And of one whose first invoice is not paid.
CHANGEABLE_BEFORE_START = {*CHANGEABLE_AFTER_END, "default_payment_method", "description"}
#: What a change that may have to wait can consist of.
PENDABLE = {
    "billing_cycle_anchor",
    "items",
    "payment_behavior",
    "proration_behavior",
    "proration_date",
    "trial_end",
}


def change_as_asked(account: Account, row: Json, asked: Json, request: Json | None) -> None:
    """Change the subscription by its payment behaviour; refused when it has ended or not begun."""
    if row["status"] in ENDED and (alien := asked.keys() - CHANGEABLE_AFTER_END):
        raise refused(
            "A canceled subscription can only update its cancellation_details and metadata.", min(alien)
        )
    if row["status"] == "incomplete" and (alien := asked.keys() - CHANGEABLE_BEFORE_START):
        raise refused(
            f"The first invoice of this subscription is not paid: `{min(alien)}` cannot be changed yet.",
            min(alien),
        )
    if row["schedule"] is not None and asked.keys() & {"cancel_at", "cancel_at_period_end"}:
        raise refused(
            f"The subscription is managed by the subscription schedule `{row['schedule']}`, and updating any "
            "cancelation behavior directly is not allowed. Please update the schedule instead."
        )
    if row["status"] == "paused" and "trial_end" in asked:
        raise refused("A paused subscription has no trial: resume it first.", "trial_end")
    if asked.get("payment_behavior") in {"error_if_incomplete", "pending_if_incomplete"}:
        change_carefully(account, row, asked, request)
    else:
        change_subscription(account, row, asked, request)


def change_carefully(account: Account, row: Json, asked: Json, request: Json | None) -> None:
    """Like `change_subscription`, for the two behaviours that look at the payment first."""
    is_pending = asked["payment_behavior"] == "pending_if_incomplete"
    if is_pending and (alien := asked.keys() - PENDABLE):
        name = min(alien)
        raise refused(f"`{name}` cannot be changed with `payment_behavior=pending_if_incomplete`.", name)
    copy = copy_of(account, row["customer"])
    tried = copy.load("subscription", row["id"])
    change_subscription(copy, tried, asked)
    invoice = copy.find("invoice", tried["latest_invoice"] or "")
    is_new = invoice is not None and account.find("invoice", invoice["id"]) is None
    if invoice is None or not is_new or invoice["status"] != "open" or is_promised(copy, invoice):
        change_subscription(account, row, asked, request)
    elif is_pending:
        hold(account, row, asked, copy, request)
    else:
        raise card_declined()


def is_promised(copy: Account, invoice: Json) -> bool:
    """A bank transfer is under way: the change need not wait for it."""
    return bool(collection.intent_of(copy, invoice)["status"] == "processing")


def hold(account: Account, row: Json, asked: Json, copy: Account, request: Json | None) -> None:
    """Bill what the change costs, and keep the change until that is paid."""
    before = snapshot(account, row)
    tried = copy.load("subscription", row["id"])
    invoice = invoices.draft_invoice(account, row, new_lines(account, copy, tried), "subscription_update")
    pending_updates.keep(
        account,
        row,
        items=asked.get("items", []),
        shown=[snapshot(copy, item) for item in items_of(copy, tried)],
        restarts=tried["billing_cycle_anchor"] != row["billing_cycle_anchor"],
        invoice=invoice["id"],
    )
    emit_update(account, before, row, request)
    collection.issue(account, invoice)


def new_lines(account: Account, copy: Account, tried: Json) -> list[Line]:
    """What the copy's invoice bills beside the invoice items that the account knows and bills by itself."""
    lines = []
    for row in copy.where("line_item", "invoice", tried["latest_invoice"]):
        details = row["parent"][row["parent"]["type"]]
        if account.find("invoiceitem", details["invoice_item"] or "") is not None:
            continue
        item_id = details.get("subscription_item")
        lines.append(
            Line(
                price=account.load("price", row["pricing"]["price_details"]["price"]),
                quantity=row["quantity"],
                amount=row["amount"],
                subscription_item=item_id if account.find("subscription_item", item_id or "") else None,
                period_start=row["period"]["start"],
                period_end=row["period"]["end"],
                description=row["description"],
                is_proration=details["proration"],
            )
        )
    return lines
