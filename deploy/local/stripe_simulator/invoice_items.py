"""Invoice items: amounts that wait for an invoice, made by a caller or by a proration."""

from datetime import UTC, datetime

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.errors import missing_object, refused
from deploy.local.stripe_simulator.events import changes, emit
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.invoice_lines import add_up, line_of_item, put_lines
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.moments import invoice_owner
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscriptions import load_price, require_currency, unit_amount

KIND = "invoiceitem"


def new_invoice_item(
    account: Account,
    customer: Json,
    *,
    amount: int,
    currency: str,
    price: Json | None = None,
    **fields: object,
) -> Json:
    """A stored item that no invoice bills yet; `fields` replace its defaults. Nothing is emitted."""
    now = account.now()
    quantity = fields.get("quantity", 1)
    row: Json = {
        "id": new_id(KIND),
        "object": KIND,
        "amount": amount,
        "currency": currency,
        "customer": customer["id"],
        "customer_account": None,
        "date": now,
        "description": None,
        "discountable": True,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": {},
        "net_amount": amount,
        "parent": None,
        "period": {"end": now, "start": now},
        "pricing": pricing_of(price, currency) if price else None,
        "proration": False,
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "tax_rates": [],
        "test_clock": customer["test_clock"],
        **fields,
    }
    account.put(KIND, row)
    return row


def pricing_of(price: Json, currency: str) -> Json:
    return {
        "price_details": {"price": price["id"], "product": price["product"]},
        "type": "price_details",
        "unit_amount_decimal": str(unit_amount(price, currency)),
    }


def parent_of(subscription: Json, item_id: str | None = None) -> Json:
    details = {"subscription": subscription["id"]}
    if item_id is not None:
        details["subscription_item"] = item_id
    return {"subscription_details": details, "type": "subscription_details"}


def day(moment: int) -> str:
    """As Stripe writes days in descriptions: 22 Nov 2026."""
    return datetime.fromtimestamp(moment, UTC).strftime("%d %b %Y")


def create_item(call: Call) -> Json:
    account, asked = call.account, call.params
    customer = account.load_live("customer", asked["customer"], "customer")
    price = None
    if "pricing" in asked:
        price = load_price(account, asked["pricing"]["price"], "pricing[price]")
        if price["recurring"] is not None:
            raise refused("An invoice item takes a price with `type=one_time`.", "pricing[price]")
    elif "amount" not in asked:
        raise refused("You must pass either `amount` or `pricing[price]`.", "amount", "parameter_missing")
    currency = asked.get("currency") or (price["currency"] if price else customer["currency"] or "usd")
    if price is not None:
        require_currency(price, currency, "pricing[price]")
    quantity = asked.get("quantity", 1)
    amount = unit_amount(price, currency) * quantity if price else asked["amount"]
    invoice, subscription = target_invoice(account, asked), target_subscription(account, asked)
    fields: Json = {name: asked[name] for name in asked.keys() & {"description", "period"}}
    if price is not None and "description" not in fields:
        fields["description"] = account.load("product", price["product"])["name"]
    fields |= {"quantity": quantity, "metadata": params.changed_metadata({}, asked.get("metadata"))}
    if subscription is not None:
        fields["parent"] = parent_of(subscription)
    row = new_invoice_item(account, customer, amount=amount, currency=currency, price=price, **fields)
    emit(account, "invoiceitem.created", row, request=call.request)
    if invoice is not None:
        bill_item(account, invoice, row)
    return row


def target_invoice(account: Account, asked: Json) -> Json | None:
    if "invoice" not in asked:
        return None
    invoice = account.load("invoice", asked["invoice"], "invoice")
    if invoice["customer"] != asked["customer"]:
        raise missing_object("invoice", asked["invoice"], "invoice")
    require_draft(invoice)
    return invoice


def require_draft(invoice: Json) -> None:
    if invoice["status"] != "draft":
        raise refused(
            f"This invoice is {invoice['status']}: only the items of a draft can be changed.",
            "invoice",
            "invoice_not_editable",
        )


def target_subscription(account: Account, asked: Json) -> Json | None:
    if "subscription" not in asked:
        return None
    return account.load("subscription", asked["subscription"], "subscription")


def bill_item(account: Account, invoice: Json, item: Json) -> None:
    """Put the item on a draft."""
    item["invoice"] = invoice["id"]
    account.put(KIND, item)
    put_lines(account, invoice, invoice_owner(account, invoice), [line_of_item(account, item)])


def update_item(call: Call) -> Json:
    account, asked = call.account, call.params
    row = load_editable(account, call.id)
    before = snapshot(account, row)
    for name in asked.keys() & {"amount", "description"}:
        row[name] = asked[name]
    row["net_amount"] = row["amount"]
    row["metadata"] = params.changed_metadata(row["metadata"], asked.get("metadata"))
    account.put(KIND, row)
    if row["invoice"] is not None:
        invoice = account.load("invoice", row["invoice"])
        remove_line(account, invoice, row)
        bill_item(account, invoice, row)
    if difference := changes(before, snapshot(account, row)):
        emit(account, "invoiceitem.updated", row, previous=difference, request=call.request)
    return row


def delete_item(call: Call) -> Json:
    account = call.account
    row = load_editable(account, call.id)
    if row["invoice"] is not None:
        remove_line(account, account.load("invoice", row["invoice"]), row)
    emit(account, "invoiceitem.deleted", row, request=call.request)
    account.remove(KIND, row["id"])
    return {"id": row["id"], "object": KIND, "deleted": True}


def load_editable(account: Account, item_id: str) -> Json:
    row = account.load(KIND, item_id)
    if row["invoice"] is not None:
        require_draft(account.load("invoice", row["invoice"]))
    return row


def remove_line(account: Account, invoice: Json, item: Json) -> None:
    for line in account.where("line_item", "invoice", invoice["id"]):
        details = line["parent"][line["parent"]["type"]]
        if details["invoice_item"] == item["id"]:
            account.remove("line_item", line["id"])
    add_up(account, invoice)


def retrieve_item(call: Call) -> Json:
    return call.account.load(KIND, call.id)


def list_items(call: Call) -> Json:
    asked = call.params
    rows = call.account.select(KIND, asked, "customer", "invoice")
    if "pending" in asked:
        rows = [row for row in rows if (row["invoice"] is None) is asked["pending"]]
    return page(call, KIND, rows, "/v1/invoiceitems")


CHANGEABLE: dict[str, params.Reader] = {
    "amount": params.integer,
    "description": params.text,
    "metadata": params.metadata,
}
PERIOD = params.hash_of({"end": params.integer, "start": params.integer}, required=("end", "start"))
OPERATIONS = (
    Operation(
        "POST",
        "/v1/invoiceitems",
        create_item,
        {
            **CHANGEABLE,
            "currency": params.currency,
            "customer": params.text,
            "invoice": params.text,
            "period": PERIOD,
            "pricing": params.hash_of({"price": params.text}, required=("price",)),
            "quantity": params.amount,
            "subscription": params.text,
        },
        required=("customer",),
    ),
    Operation(
        "GET",
        "/v1/invoiceitems",
        list_items,
        list_params(customer=params.text, invoice=params.text, pending=params.boolean),
    ),
    Operation("GET", "/v1/invoiceitems/{id}", retrieve_item),
    Operation("POST", "/v1/invoiceitems/{id}", update_item, CHANGEABLE),
    Operation("DELETE", "/v1/invoiceitems/{id}", delete_item),
)
