"""Refunds: money given back, at once by card, later by bank, and sometimes not after all.

A refund that has failed or was canceled gives its amount back to the charge: `amount_refunded` counts the
others only. What a bank says later is told by the control plane: `POST /_sim/refunds/{id}`.
"""

from typing import Any

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.errors import StripeError, refused
from deploy.local.stripe_simulator.events import changes, emit
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.payment_methods import last4_of
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.store import Account, Json

#: A refund's present status → the statuses that may follow.
NEXT_STATUSES = {
    "pending": {"canceled", "failed", "requires_action", "succeeded"},
    "requires_action": {"canceled", "failed", "pending", "succeeded"},
    "succeeded": {"failed"},
}
GIVES_BACK = {"canceled", "failed"}
FAILURE_REASONS = {
    "charge_for_pending_refund_disputed",
    "declined",
    "expired_or_canceled_card",
    "insufficient_funds",
    "lost_or_stolen_card",
    "merchant_request",
    "unknown",
}
#: Last digits of the test card whose refunds wait; see `payment_methods.TEST_CARDS`.
PENDING_CARD = "7726"


def create_refund(call: Call) -> Json:
    account, asked = call.account, call.params
    charge = charge_to_refund(account, asked)
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = asked.get("amount", left)
    require_refundable(charge, amount, left)
    require_undisputed(account, charge)
    row = refund_row(account, charge, amount, first_status(account, charge))
    row["reason"] = asked.get("reason")
    row["metadata"] = params.changed_metadata({}, asked.get("metadata"))
    account.put("refund", row)
    before = snapshot(account, charge)
    recount(account, charge)
    emit(account, "refund.created", row, request=call.request)
    difference = changes(before, snapshot(account, charge))
    emit(account, "charge.refunded", charge, previous=difference, request=call.request)
    return row


def charge_to_refund(account: Account, asked: Json) -> Json:
    given = [name for name in ("charge", "payment_intent") if name in asked]
    if len(given) != 1:
        raise refused("One of the following params should be provided: payment_intent or charge.", "charge")
    if "charge" in asked:
        return account.load("charge", asked["charge"], "charge")
    intent = account.load("payment_intent", asked["payment_intent"], "payment_intent")
    charge = account.find("charge", intent["latest_charge"]) if intent["latest_charge"] else None
    if charge is None or charge["status"] != "succeeded":
        raise refused(
            f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
            "payment_intent",
        )
    return charge


def require_refundable(charge: Json, amount: int, left: int) -> None:
    charge_id = charge["id"]
    if charge["status"] != "succeeded":
        raise refused(f"Charge {charge_id} has not succeeded, so it cannot be refunded.", "charge")
    if not charge["captured"]:
        raise refused(f"Charge {charge_id} has not been captured, so it cannot be refunded.", "charge")
    if left == 0:
        raise refused(
            f"Charge {charge_id} has already been refunded.", "charge", code="charge_already_refunded"
        )
    if not 1 <= amount <= left:
        raise refused(
            f"Refund amount ({amount}) must be at least 1 and at most the unrefunded amount on charge "
            f"({left}).",
            "amount",
        )


def require_undisputed(account: Account, charge: Json) -> None:
    """What the bank has taken back cannot be given back once more; an inquiry takes nothing."""
    if not all(row["is_charge_refundable"] for row in account.where("dispute", "charge", charge["id"])):
        raise refused(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.",
            "charge",
            code="charge_disputed",
        )


def first_status(account: Account, charge: Json) -> str:
    """By card at once, by bank later."""
    method = account.load("payment_method", charge["payment_method"])
    waits = method["type"] != "card" or last4_of(method) == PENDING_CARD
    return "pending" if waits else "succeeded"


def refund_row(account: Account, charge: Json, amount: int, status: str) -> Json:
    kind = charge["payment_method_details"]["type"]
    details: Json = {"reference_status": "pending", "reference_type": "acquirer_reference_number"}
    return {
        "id": new_id("refund"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": account.now(),
        "currency": charge["currency"],
        "customer": charge["customer"],
        "customer_account": None,
        "destination_details": {
            kind: {**details, "type": "refund"} if kind == "card" else {},
            "type": kind if kind == "card" else "us_bank_transfer",
        },
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": None,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": status,
        "transfer_reversal": None,
        **({"pending_reason": "processing"} if status == "pending" else {}),
    }


def recount(account: Account, charge: Json) -> None:
    """The charge counts every refund that gave or still gives its amount."""
    rows = account.where("refund", "charge", charge["id"])
    refunded = sum(row["amount"] for row in rows if row["status"] not in GIVES_BACK)
    charge |= {"amount_refunded": refunded, "refunded": refunded == charge["amount_captured"]}
    account.put("charge", charge)


def move(
    account: Account, row: Json, status: str, *, reason: str | None = None, request: Json | None = None
) -> None:
    """What the bank says later; emits refund.updated, charge.refund.updated and, of a failure, refund.failed.

    Raises StripeError (400) for a status that cannot follow the present one.
    """
    allowed = NEXT_STATUSES.get(row["status"], set())
    if status not in allowed:
        choices = ", ".join(sorted(allowed)) or "nothing"
        raise StripeError(
            f"refund {row['id']} is {row['status']} and cannot become {status!r}; possible: {choices}"
        )
    why = failure_reason(reason)
    before = snapshot(account, row)
    row["status"] = status
    row.pop("pending_reason", None)
    if status == "failed":
        row["failure_reason"] = why
    account.put("refund", row)
    recount(account, account.load("charge", row["charge"]))
    if status == "failed":
        emit(account, "refund.failed", row, request=request)
    emit_update(account, before, row, request)


def failure_reason(reason: str | None) -> str:
    if reason is not None and reason not in FAILURE_REASONS:
        raise StripeError(f"failure_reason is {reason!r}: use one of {', '.join(sorted(FAILURE_REASONS))}")
    return reason or "expired_or_canceled_card"


def emit_update(account: Account, before: Json, row: Json, request: Json | None) -> None:
    """Both names of one happening: the old one is what endpoints of older versions know."""
    if difference := changes(before, snapshot(account, row)):
        for event_type in ("refund.updated", "charge.refund.updated"):
            emit(account, event_type, row, previous=difference, request=request)


def update_refund(call: Call) -> Json:
    account = call.account
    row = account.load("refund", call.id)
    before = snapshot(account, row)
    row["metadata"] = params.changed_metadata(row["metadata"], call.params.get("metadata"))
    account.put("refund", row)
    emit_update(account, before, row, call.request)
    return row


def cancel_refund(call: Call) -> Json:
    row = call.account.load("refund", call.id)
    if row["status"] != "requires_action":
        raise refused(
            f"You cannot cancel this refund because it has a status of {row['status']}. Only a refund with "
            "a status of requires_action can be canceled."
        )
    move(call.account, row, "canceled", request=call.request)
    return row


def retrieve_refund(call: Call) -> Json:
    return call.account.load("refund", call.id)


def list_refunds(call: Call) -> Json:
    rows = call.account.select("refund", call.params, "charge", "payment_intent")
    return page(call, "refund", rows, "/v1/refunds")


def list_charge_refunds(call: Call) -> Json:
    charge = call.account.load("charge", call.id)
    rows = call.account.where("refund", "charge", charge["id"])
    return page(call, "refund", rows, f"/v1/charges/{charge['id']}/refunds")


def positive(raw: params.Raw, name: str) -> Any:
    value = params.integer(raw, name)
    if value < 1:
        raise refused("This value must be greater than or equal to 1.", name, "parameter_invalid_integer")
    return value


OPERATIONS = (
    Operation(
        "POST",
        "/v1/refunds",
        create_refund,
        {
            "amount": positive,
            "charge": params.text,
            "metadata": params.metadata,
            "payment_intent": params.text,
            "reason": params.one_of("duplicate", "fraudulent", "requested_by_customer"),
        },
    ),
    Operation(
        "GET",
        "/v1/refunds",
        list_refunds,
        list_params(charge=params.text, payment_intent=params.text),
    ),
    Operation("GET", "/v1/refunds/{id}", retrieve_refund),
    Operation("POST", "/v1/refunds/{id}", update_refund, {"metadata": params.metadata}),
    Operation("POST", "/v1/refunds/{id}/cancel", cancel_refund),
    Operation("GET", "/v1/charges/{id}/refunds", list_charge_refunds, list_params()),
)
