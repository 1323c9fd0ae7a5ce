"""Disputes: the customer's bank asks (an inquiry) or takes the money back (a chargeback).

Only banks open and decide disputes, so `POST /_sim/disputes` and `/_sim/disputes/{id}` do it here, beside the
test cards of `payment_methods.TEST_CARDS`. A merchant can answer with evidence, or accept by `close`.
"""

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.dispute_rows import dispute_row, funds_row, show_case
from deploy.local.stripe_simulator.errors import StripeError, refused
from deploy.local.stripe_simulator.events import changes, emit
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.store import Account, Json

#: A dispute's present status → the statuses that may follow.
NEXT_STATUSES = {
    "warning_needs_response": {"needs_response", "warning_closed", "warning_under_review"},
    "warning_under_review": {"needs_response", "warning_closed"},
    "needs_response": {"lost", "prevented", "under_review", "won"},
    "under_review": {"lost", "needs_response", "won"},
    "lost": {"appeal_needs_response", "won"},
    "won": {"lost"},
    "appeal_needs_response": {"appeal_under_review", "lost"},
    "appeal_under_review": {"lost", "won"},
}
#: A dispute may begin as prevented: settled before it counts as one.
FIRST_STATUSES = {"needs_response", "prevented", "warning_needs_response"}
#: The bank has the money in these; in the others the merchant has it.
MONEY_IS_GONE = {
    "appeal_needs_response",
    "appeal_under_review",
    "lost",
    "needs_response",
    "prevented",
    "under_review",
}
CLOSED = {"lost", "prevented", "warning_closed", "won"}
REASONS = {
    "bank_cannot_process",
    "check_returned",
    "credit_not_processed",
    "customer_initiated",
    "debit_not_authorized",
    "duplicate",
    "fraudulent",
    "general",
    "incorrect_account_details",
    "insufficient_funds",
    "product_not_received",
    "product_unacceptable",
    "subscription_canceled",
    "unrecognized",
}
#: Last digits of the test cards whose charges are disputed at once → status and reason.
DISPUTED_CARDS = {
    "0259": ("needs_response", "fraudulent"),
    "1976": ("warning_needs_response", "fraudulent"),
    "2685": ("needs_response", "product_not_received"),
}


def open_dispute(
    account: Account,
    charge: Json,
    *,
    status: str = "needs_response",
    reason: str = "fraudulent",
    amount: int | None = None,
) -> Json:
    """The bank opens a dispute; emits charge.dispute.created and, for a chargeback, funds_withdrawn.

    `amount` in minor units, None: the whole charge. Raises StripeError (400) for what no bank does.
    """
    whole = charge["amount_captured"]
    asked = whole if amount is None else amount
    require_openable(account, charge, status, reason)
    if not 1 <= asked <= whole:
        raise StripeError(f"amount is {asked}: at least 1, at most what charge {charge['id']} took ({whole})")
    charge["disputed"] = True
    account.put("charge", charge)
    row = dispute_row(account, charge, asked, status, reason)
    account.put("dispute", row)
    emit(account, "charge.dispute.created", row)
    move_funds(account, row)
    if status in CLOSED:
        emit(account, "charge.dispute.closed", row)
    return row


def require_openable(account: Account, charge: Json, status: str, reason: str) -> None:
    if status not in FIRST_STATUSES:
        raise StripeError(f"a dispute cannot begin as {status!r}: use {', '.join(sorted(FIRST_STATUSES))}")
    if reason not in REASONS:
        raise StripeError(f"reason is {reason!r}: use one of {', '.join(sorted(REASONS))}")
    if charge["status"] != "succeeded":
        raise StripeError(f"charge {charge['id']} is {charge['status']}: only a paid charge can be disputed")
    for row in account.where("dispute", "charge", charge["id"]):
        if row["status"] not in CLOSED:
            raise StripeError(f"charge {charge['id']} is disputed already: {row['id']}, {row['status']}")


def open_by_test_card(account: Account, charge: Json, last4: str | None) -> None:
    """Some test cards dispute what they have just paid."""
    if last4 in DISPUTED_CARDS:
        status, reason = DISPUTED_CARDS[last4]
        open_dispute(account, charge, status=status, reason=reason)


def move(account: Account, row: Json, status: str, request: Json | None = None) -> None:
    """The bank, or the merchant, takes the next step; funds follow the status.

    Emits charge.dispute.updated, or closed when it ends; then funds_withdrawn or funds_reinstated when money
    moves. Raises StripeError (400) for a status that cannot follow the present one.
    """
    allowed = NEXT_STATUSES.get(row["status"], set())
    if status not in allowed:
        choices = ", ".join(sorted(allowed)) or "nothing"
        raise StripeError(
            f"dispute {row['id']} is {row['status']} and cannot become {status!r}; possible: {choices}"
        )
    before = snapshot(account, row)
    row["status"] = status
    show_case(account, row)
    account.put("dispute", row)
    name = "charge.dispute.closed" if status in CLOSED else "charge.dispute.updated"
    emit(account, name, row, previous=changes(before, snapshot(account, row)), request=request)
    move_funds(account, row, request)


def move_funds(account: Account, row: Json, request: Json | None = None) -> None:
    """Take or return the amount where the status says that somebody else has it now."""
    withdrawn = sum(entry["amount"] for entry in row["balance_transactions"]) < 0
    is_gone = row["status"] in MONEY_IS_GONE
    if is_gone == withdrawn:
        return
    before = snapshot(account, row)
    entry = funds_row(account, row, -row["amount"] if is_gone else row["amount"])
    row["balance_transactions"] = [*row["balance_transactions"], entry]
    account.put("dispute", row)
    event_type = f"charge.dispute.funds_{'withdrawn' if is_gone else 'reinstated'}"
    emit(account, event_type, row, previous=changes(before, snapshot(account, row)), request=request)


def submit(account: Account, row: Json, request: Json | None) -> None:
    """The evidence goes to the bank. Stripe's two magic texts make it decide at once."""
    under_review = row["status"].replace("needs_response", "under_review")
    row["evidence_details"] = {
        **row["evidence_details"],
        "has_evidence": True,
        "submission_count": row["evidence_details"]["submission_count"] + 1,
    }
    move(account, row, under_review, request)
    text = row["evidence"]["uncategorized_text"]
    if text == "winning_evidence":
        move(account, row, "warning_closed" if under_review.startswith("warning") else "won")
    elif text == "losing_evidence":
        move(account, row, "needs_response" if under_review.startswith("warning") else "lost")


def accept(account: Account, row: Json, request: Json | None) -> None:
    """The merchant gives in: lost at once, and an inquiry is closed."""
    if row["status"] in CLOSED:
        raise refused("This dispute is already closed")
    if row["status"].startswith("warning"):
        move(account, row, "warning_closed", request)
    else:
        move(account, row, "lost", request)


def change(account: Account, row: Json, asked: Json, request: Json | None) -> None:
    """Evidence and metadata as a merchant sends them; evidence is submitted unless told otherwise."""
    if "evidence" in asked and "needs_response" not in row["status"]:
        raise refused(f"This dispute is {row['status']}: its evidence can no longer be changed.", "evidence")
    before = snapshot(account, row)
    row["evidence"] = {**row["evidence"], **asked.get("evidence", {})}
    row["metadata"] = params.changed_metadata(row["metadata"], asked.get("metadata"))
    account.put("dispute", row)
    if "evidence" in asked and asked.get("submit", True):
        submit(account, row, request)
    elif difference := changes(before, snapshot(account, row)):
        emit(account, "charge.dispute.updated", row, previous=difference, request=request)
