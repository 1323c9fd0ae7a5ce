"""The API calls about invoices: one-off invoices from draft to paid, and what can be done to any invoice."""

from deploy.local.stripe_simulator import collection, invoices, params, standing
from deploy.local.stripe_simulator.errors import StripeError, card_declined, refused
from deploy.local.stripe_simulator.events import changes, emit
from deploy.local.stripe_simulator.invoice_items import bill_item, require_draft
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.payment_methods import usable_method
from deploy.local.stripe_simulator.rendering import render, snapshot
from deploy.local.stripe_simulator.store import Account, Json

DAY_S = 24 * 3600


def create_invoice(call: Call) -> Json:
    """An empty draft; with `pending_invoice_items_behavior=include` it bills what waits for the customer."""
    account, asked = call.account, call.params
    customer = account.load_live("customer", asked["customer"], "customer")
    waiting = [row for row in account.where("invoiceitem", "customer", customer["id"]) if not row["invoice"]]
    waiting = [row for row in waiting if row["parent"] is None]
    if asked.get("pending_invoice_items_behavior", "exclude") == "exclude":
        waiting = []
    currency = asked.get("currency") or (waiting[0]["currency"] if waiting else customer["currency"] or "usd")
    row = invoices.invoice_row(account, customer, currency)
    row |= {"auto_advance": False, "billing_reason": "manual"}
    describe(account, row, asked)
    account.put("invoice", row)
    for item in waiting:
        bill_item(account, row, item)
    emit(account, "invoice.created", row, request=call.request)
    return render(account, row)


def describe(account: Account, row: Json, asked: Json) -> None:
    for name in asked.keys() & {"auto_advance", "collection_method", "default_payment_method", "description"}:
        row[name] = asked[name]
    row["metadata"] = params.changed_metadata(row["metadata"], asked.get("metadata"))
    if row["collection_method"] == "send_invoice":
        days = asked.get("days_until_due")
        row["due_date"] = asked.get("due_date") or (
            account.now() + days * DAY_S if days is not None else None
        )
        if row["due_date"] is None:
            raise refused(
                "If `collection_method` is `send_invoice`, `days_until_due` or `due_date` is needed.",
                "days_until_due",
                "parameter_missing",
            )
    is_automatic = row["status"] == "draft" and row["auto_advance"]
    moment = max(account.now(), row["created"] + invoices.DRAFT_S)
    row["automatically_finalizes_at"] = moment if is_automatic else None


def update_invoice(call: Call) -> Json:
    account, asked = call.account, call.params
    row = account.load("invoice", call.id)
    if asked.keys() - {"auto_advance", "metadata"}:
        require_draft(row)
    before = snapshot(account, row)
    describe(account, row, {"due_date": row["due_date"], **asked})
    account.put("invoice", row)
    if difference := changes(before, snapshot(account, row)):
        emit(account, "invoice.updated", row, previous=difference, request=call.request)
    return render(account, row)


def delete_invoice(call: Call) -> Json:
    account = call.account
    row = account.load("invoice", call.id)
    if row["status"] != "draft" or row["billing_reason"] != "manual":
        raise refused(
            "Only one-off drafts can be deleted: void any other invoice.", code="invoice_not_editable"
        )
    for item in account.where("invoiceitem", "invoice", row["id"]):
        item["invoice"] = None
        account.put("invoiceitem", item)
    emit(account, "invoice.deleted", row, request=call.request)
    account.remove("invoice", row["id"])
    return {"id": row["id"], "object": "invoice", "deleted": True}


def finalize_invoice(call: Call) -> Json:
    """Opens it; it is charged at once only when it advances by itself."""
    account = call.account
    row = account.load("invoice", call.id)
    if row["status"] != "draft":
        raise refused(
            f"This invoice is already finalized: its status is {row['status']}.", code="invoice_not_editable"
        )
    row["auto_advance"] = call.params.get("auto_advance", row["auto_advance"])
    collection.issue(account, row, attempts=row["auto_advance"])
    return render(account, row)


def pay_invoice(call: Call) -> Json:
    """Charge it now, or note that it was paid outside; a declined card is an error, and its attempt stays."""
    account, asked = call.account, call.params
    row = account.load("invoice", call.id)
    if row["status"] == "draft":
        invoices.finalize(account, row)
    if row["status"] not in {"open", "uncollectible"}:
        raise refused(f"This invoice cannot be paid: its status is {row['status']}.")
    if asked.get("paid_out_of_band") or row["amount_due"] == 0:
        invoices.mark_paid(account, row, None, off_stripe=bool(row["amount_due"]))
        standing.settled(account, row)
        return render(account, row)
    chosen = asked.get("payment_method")
    method = usable_method(account, chosen, row["customer"]) if chosen else None
    if method is None and collection.method_for(account, row) is None:
        raise refused("There is no `default_payment_method` set on this Customer or Invoice.")
    intent = collection.collect(account, row, method)
    if row["status"] != "paid" and intent["status"] != "processing":
        raise unpaid(intent)
    return render(account, row)


def unpaid(intent: Json) -> StripeError:
    if intent["status"] != "requires_action":
        return card_declined(intent)
    return StripeError(
        "This payment requires additional user action before it can be completed successfully.",
        status=402,
        error_type="card_error",
        code="invoice_payment_intent_requires_action",
        extra={"payment_intent": intent},
    )


def void_invoice(call: Call) -> Json:
    row = load_issued(call, "voided")
    invoices.void(call.account, row, call.request)
    standing.voided(call.account, row)
    return render(call.account, row)


def mark_uncollectible(call: Call) -> Json:
    row = load_issued(call, "marked uncollectible")
    if row["status"] == "uncollectible":
        raise refused("This invoice is already uncollectible.")
    invoices.mark_uncollectible(call.account, row, call.request)
    standing.settled(call.account, row)
    return render(call.account, row)


def load_issued(call: Call, done: str) -> Json:
    row = call.account.load("invoice", call.id)
    if row["status"] not in {"open", "uncollectible"}:
        raise refused(f"This invoice cannot be {done}: its status is {row['status']}.")
    return row


def send_invoice(call: Call) -> Json:
    account = call.account
    row = account.load("invoice", call.id)
    if row["collection_method"] != "send_invoice" or row["status"] not in {"draft", "open"}:
        raise refused("Only an unpaid invoice with `collection_method=send_invoice` can be sent.")
    if row["status"] == "draft":
        collection.issue(account, row)
    else:
        emit(account, "invoice.sent", row, request=call.request)
    return render(account, row)


def list_invoices(call: Call) -> Json:
    asked = call.params
    rows = call.account.select("invoice", asked, "subscription", "customer")
    same = [name for name in ("collection_method", "status") if name in asked]
    chosen = [row for row in rows if all(row[name] == asked[name] for name in same)]
    return page(call, "invoice", chosen, "/v1/invoices")


def retrieve_invoice(call: Call) -> Json:
    return render(call.account, call.account.load("invoice", call.id))


def list_lines(call: Call) -> Json:
    invoice = call.account.load("invoice", call.id)
    lines = call.account.where("line_item", "invoice", invoice["id"])
    return page(call, "line_item", lines, f"/v1/invoices/{invoice['id']}/lines", oldest_first=True)


def list_payments(call: Call) -> Json:
    asked = call.params
    rows = call.account.select("invoice_payment", asked, "invoice")
    intent = asked.get("payment", {}).get("payment_intent")
    if intent is not None:
        rows = [row for row in rows if row["payment"].get("payment_intent") == intent]
    chosen = [row for row in rows if asked.get("status", row["status"]) == row["status"]]
    return page(call, "invoice_payment", chosen, "/v1/invoice_payments")


def retrieve_payment(call: Call) -> Json:
    return call.account.load("invoice_payment", call.id)


METHOD = params.one_of("charge_automatically", "send_invoice")
CHANGEABLE: dict[str, params.Reader] = {
    "auto_advance": params.boolean,
    "collection_method": METHOD,
    "days_until_due": params.amount,
    "default_payment_method": params.text,
    "description": params.text,
    "due_date": params.integer,
    "metadata": params.metadata,
}
INVOICE = "/v1/invoices/{id}"
OPERATIONS = (
    Operation(
        "POST",
        "/v1/invoices",
        create_invoice,
        {
            **CHANGEABLE,
            "currency": params.currency,
            "customer": params.text,
            "pending_invoice_items_behavior": params.one_of("exclude", "include"),
        },
        required=("customer",),
    ),
    Operation(
        "GET",
        "/v1/invoices",
        list_invoices,
        list_params(
            collection_method=METHOD,
            customer=params.text,
            status=params.one_of("draft", "open", "paid", "uncollectible", "void"),
            subscription=params.text,
        ),
    ),
    Operation("GET", INVOICE, retrieve_invoice),
    Operation("POST", INVOICE, update_invoice, CHANGEABLE),
    Operation("DELETE", INVOICE, delete_invoice),
    Operation("POST", INVOICE + "/finalize", finalize_invoice, {"auto_advance": params.boolean}),
    Operation(
        "POST",
        INVOICE + "/pay",
        pay_invoice,
        {"off_session": params.boolean, "paid_out_of_band": params.boolean, "payment_method": params.text},
    ),
    Operation("POST", INVOICE + "/void", void_invoice),
    Operation("POST", INVOICE + "/mark_uncollectible", mark_uncollectible),
    Operation("POST", INVOICE + "/send", send_invoice),
    Operation("GET", INVOICE + "/lines", list_lines, list_params()),
    Operation(
        "GET",
        "/v1/invoice_payments",
        list_payments,
        list_params(
            invoice=params.text,
            payment=params.hash_of(
                {"type": params.one_of("payment_intent"), "payment_intent": params.text}, required=("type",)
            ),
            status=params.one_of("canceled", "open", "paid"),
        ),
    ),
    Operation("GET", "/v1/invoice_payments/{id}", retrieve_payment),
)
