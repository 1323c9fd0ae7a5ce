"""The API calls about disputes, and how the control plane names what is disputed."""

from collections.abc import Callable

from deploy.local.stripe_simulator import disputes, params
from deploy.local.stripe_simulator.dispute_rows import EVIDENCE
from deploy.local.stripe_simulator.errors import StripeError
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.store import Account, Json


def update_dispute(call: Call) -> Json:
    row = call.account.load("dispute", call.id)
    disputes.change(call.account, row, call.params, call.request)
    return row


def close_dispute(call: Call) -> Json:
    row = call.account.load("dispute", call.id)
    disputes.accept(call.account, row, call.request)
    return row


def retrieve_dispute(call: Call) -> Json:
    return call.account.load("dispute", call.id)


def list_disputes(call: Call) -> Json:
    rows = call.account.select("dispute", call.params, "charge", "payment_intent")
    return page(call, "dispute", rows, "/v1/disputes")


def find_charge(account: Account, payment: str) -> Json:
    """The charge of what is named: a charge, payment intent, invoice, session, or a subscription's latest
    paid invoice. Raises StripeError when nothing of it was paid.
    """
    kind, _, _rest = payment.partition("_")
    if kind not in FINDERS:
        raise StripeError(f"{payment!r} names no payment: use an id that begins with {', '.join(FINDERS)}")
    place, intent_of = FINDERS[kind]
    row = account.load(place, payment)
    intent_id = intent_of(account, row)
    intent = account.find("payment_intent", intent_id) if intent_id else None
    charge_id = row["id"] if kind == "ch" else (intent or {}).get("latest_charge")
    if charge_id is None:
        raise StripeError(f"{payment} has no charge: pay it first")
    return account.load("charge", charge_id)


def intent_of_invoice(account: Account, invoice: Json) -> str | None:
    rows = account.where("invoice_payment", "invoice", invoice["id"])
    paid = [row["payment"].get("payment_intent") for row in rows if row["status"] == "paid"]
    return paid[-1] if paid else None


def intent_of_session(account: Account, session: Json) -> str | None:
    if session["invoice"] is not None:
        return intent_of_invoice(account, account.load("invoice", session["invoice"]))
    intent: str | None = session["payment_intent"]
    return intent


def intent_of_subscription(account: Account, subscription: Json) -> str | None:
    invoices = account.where("invoice", "subscription", subscription["id"])
    intents = [intent_of_invoice(account, invoice) for invoice in invoices]
    return next((intent for intent in reversed(intents) if intent), None)


#: Prefix of an id → kind of the row, and how its payment intent is found.
FINDERS: dict[str, tuple[str, Callable[[Account, Json], str | None]]] = {
    "ch": ("charge", lambda _account, row: row["payment_intent"]),
    "cs": ("checkout.session", intent_of_session),
    "in": ("invoice", intent_of_invoice),
    "pi": ("payment_intent", lambda _account, row: row["id"]),
    "sub": ("subscription", intent_of_subscription),
}
OPERATIONS = (
    Operation(
        "GET",
        "/v1/disputes",
        list_disputes,
        list_params(charge=params.text, payment_intent=params.text),
    ),
    Operation("GET", "/v1/disputes/{id}", retrieve_dispute),
    Operation(
        "POST",
        "/v1/disputes/{id}",
        update_dispute,
        {
            "evidence": params.hash_of(dict.fromkeys(EVIDENCE, params.nullable(params.text))),
            "metadata": params.metadata,
            "submit": params.boolean,
        },
    ),
    Operation("POST", "/v1/disputes/{id}/close", close_dispute),
)
