"""The API calls about payment intents: create, confirm, cancel, retrieve and list."""

from deploy.local.stripe_simulator import collection, params, payments
from deploy.local.stripe_simulator.errors import StripeError, card_declined, refused
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.payment_methods import usable_method
from deploy.local.stripe_simulator.store import Json

#: From these an intent can be confirmed; from these and `processing` by a bank it can be canceled.
WAITING = {"requires_action", "requires_confirmation", "requires_payment_method"}


def create_intent(call: Call) -> Json:
    account, asked = call.account, call.params
    if asked["amount"] < 1:
        raise refused("This value must be greater than or equal to 1.", "amount", "parameter_invalid_integer")
    if "customer" in asked:
        account.load_live("customer", asked["customer"], "customer")
    row = payments.new_intent(
        account,
        asked["amount"],
        asked["currency"],
        customer=asked.get("customer"),
        metadata=params.changed_metadata({}, asked.get("metadata")),
    )
    row["capture_method"] = asked.get("capture_method", row["capture_method"])
    row["confirmation_method"] = asked.get("confirmation_method", row["confirmation_method"])
    for name in ("description", "setup_future_usage", "shipping"):
        row[name] = asked.get(name)
    account.put("payment_intent", row)
    return pay(call, row) if asked.get("confirm") else row


def confirm_intent(call: Call) -> Json:
    row = call.account.load("payment_intent", call.id)
    if row["status"] not in WAITING:
        raise unexpected_state(row, "confirm")
    return pay(call, row)


def pay(call: Call, row: Json) -> Json:
    """Attempt the payment; a declined card is an error of the call, and its charge stays."""
    account, asked = call.account, call.params
    if "payment_method" not in asked:
        raise refused(
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            code="payment_intent_unexpected_state",
        )
    method = usable_method(account, asked["payment_method"], row["customer"])
    status = payments.attempt(account, row, method)
    collection.intent_ended(account, row)
    if status == "requires_payment_method":
        raise card_declined(row)
    return row


def capture_intent(call: Call) -> Json:
    row = call.account.load("payment_intent", call.id)
    if row["status"] != "requires_capture":
        raise refused(
            f"This PaymentIntent could not be captured because it has a status of {row['status']}. Only a "
            "PaymentIntent with one of the following statuses may be captured: requires_capture.",
            code="payment_intent_unexpected_state",
        )
    most: int = row["amount_capturable"]
    amount: int = call.params.get("amount_to_capture", most)
    if not 1 <= amount <= most:
        raise refused(f"The amount must be at least 1 and at most {most}.", "amount_to_capture")
    payments.capture(call.account, row, amount, call.request)
    return row


def cancel_intent(call: Call) -> Json:
    row = call.account.load("payment_intent", call.id)
    if row["status"] not in WAITING:
        raise unexpected_state(row, "cancel")
    payments.cancel(call.account, row, call.params.get("cancellation_reason"), call.request)
    return row


def unexpected_state(row: Json, verb: str) -> StripeError:
    return refused(
        f"You cannot {verb} this PaymentIntent because it has a status of {row['status']}. Only a "
        f"PaymentIntent with one of the following statuses may be {verb}ed: {', '.join(sorted(WAITING))}.",
        code="payment_intent_unexpected_state",
    )


def list_intents(call: Call) -> Json:
    rows = call.account.select("payment_intent", call.params, "customer")
    return page(call, "payment_intent", rows, "/v1/payment_intents")


def retrieve_intent(call: Call) -> Json:
    return call.account.load("payment_intent", call.id)


CONFIRM: dict[str, params.Reader] = {"payment_method": params.text, "return_url": params.text}
ENABLED = params.hash_of(
    {"allow_redirects": params.one_of("always", "never"), "enabled": params.boolean}, required=("enabled",)
)
#: That the customer agreed to a debit: read, and nowhere shown.
MANDATE = params.hash_of(
    {"customer_acceptance": params.hash_of({"accepted_at": params.integer, "type": params.text})}
)
OPERATIONS = (
    Operation(
        "POST",
        "/v1/payment_intents",
        create_intent,
        {
            **CONFIRM,
            "amount": params.integer,
            "automatic_payment_methods": ENABLED,
            "capture_method": params.one_of("automatic", "automatic_async", "manual"),
            "confirm": params.boolean,
            "confirmation_method": params.one_of("automatic", "manual"),
            "currency": params.currency,
            "customer": params.text,
            "description": params.text,
            "metadata": params.metadata,
            "mandate_data": MANDATE,
            "setup_future_usage": params.one_of("off_session", "on_session"),
            "shipping": params.SHIPPING,
        },
        required=("amount", "currency"),
        older={"payment_method_types": params.list_of(params.text)},
    ),
    Operation("GET", "/v1/payment_intents", list_intents, list_params(customer=params.text)),
    Operation("GET", "/v1/payment_intents/{id}", retrieve_intent),
    Operation("POST", "/v1/payment_intents/{id}/confirm", confirm_intent, CONFIRM),
    Operation(
        "POST", "/v1/payment_intents/{id}/capture", capture_intent, {"amount_to_capture": params.integer}
    ),
    Operation(
        "POST",
        "/v1/payment_intents/{id}/cancel",
        cancel_intent,
        {
            "cancellation_reason": params.one_of(
                "abandoned", "duplicate", "fraudulent", "requested_by_customer"
            )
        },
    ),
)
