"""What a customer does on the hosted page: pay, pay by bank (settles later), or have the card declined.

Each outcome makes the objects and emits the events of one Stripe purchase. The events of one purchase
share their second, so nobody can order them by `created`.
"""

from deploy.local.stripe_simulator import invoices, params, payment_methods, payments
from deploy.local.stripe_simulator.checkout import items_of_session
from deploy.local.stripe_simulator.customers import emit_customer_update, new_customer
from deploy.local.stripe_simulator.discounts import discount_row, give
from deploy.local.stripe_simulator.errors import refused
from deploy.local.stripe_simulator.events import emit
from deploy.local.stripe_simulator.invoice_lines import Line
from deploy.local.stripe_simulator.promotions import coupon_of
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.store import Account, Json, invoice_subscription
from deploy.local.stripe_simulator.subscriptions import (
    DAY_S,
    billing_lines,
    emit_update,
    new_subscription,
    unit_amount,
)

#: Who pays when neither the session nor the page names an e-mail address.
DEFAULT_EMAIL = "customer@example.com"


def complete(
    account: Account,
    session: Json,
    *,
    delayed: bool = False,
    email: str | None = None,
    method: Json | None = None,
) -> None:
    """The customer pays an open session, by card or (delayed) by a bank transfer that settles later.

    `method` None: a new one, as the page makes it; a given one must bring its money.
    """
    require_open(session)
    customer = find_or_make_customer(account, session, email)
    session["customer_details"] = customer_details(customer, session, email)
    if method is None and asks_for_method(session):
        method = new_page_method(account, session["customer_details"]["email"], delayed=delayed)
    if customer is not None and method is not None:
        method = payment_methods.attach_method(account, method["id"], customer["id"], None)
    if session["mode"] == "subscription":
        if customer is None:
            raise ValueError("a session in subscription mode always makes a customer")
        subscribe(account, session, customer, method)
    elif session["amount_total"] and method is not None:
        intent = intent_of(account, session)
        session["payment_status"] = pay_intent(account, intent, method)
    session |= {"status": "complete", "url": None}
    account.put("checkout.session", session)
    emit(account, "checkout.session.completed", session)


def asks_for_method(session: Json) -> bool:
    """A subscription of which nothing is due today can begin without one, when the session says so."""
    is_optional = session["mode"] == "subscription" and session["payment_method_collection"] == "if_required"
    return bool(session["amount_total"]) or not is_optional


def decline(account: Account, session: Json) -> None:
    """The bank refuses the card; the session stays open, its intent waits for another card."""
    require_open(session)
    if not session["amount_total"]:
        raise refused("Nothing is due in this session, so no card can be declined.")
    method = payment_methods.new_method(account, "card", payment_methods.card())
    payments.decline(account, intent_of(account, session), method)


def challenge(account: Account, session: Json) -> None:
    """The bank asks the customer to authenticate; the session waits until `complete` or `decline`."""
    require_open(session)
    if not session["amount_total"]:
        raise refused("Nothing is due in this session, so no bank asks for anything.")
    method = payment_methods.new_method(account, "card", payment_methods.card(last4="3220"))
    payments.require_action(account, intent_of(account, session), method)


def settle(account: Account, session: Json, *, succeeded: bool) -> None:
    """The bank transfer of a completed session arrives or fails.

    Raises refused (400) when no delayed payment of the session is waiting.
    """
    intent_id = account.load("checkout_draft", session["id"])["payment_intent"]
    intent = account.find("payment_intent", intent_id) if intent_id else None
    if session["status"] != "complete" or intent is None or intent["status"] != "processing":
        raise refused(f"The session {session['id']} has no delayed payment that waits to be settled.")
    method = account.load("payment_method", intent["payment_method"])
    act = payments.succeed if succeeded else payments.decline
    act(account, intent, method)
    if session["subscription"] is not None:
        settle_invoice(account, session, intent, succeeded=succeeded)
    session["payment_status"] = "paid" if succeeded else "unpaid"
    account.put("checkout.session", session)
    outcome = "succeeded" if succeeded else "failed"
    emit(account, f"checkout.session.async_payment_{outcome}", session)


def require_open(session: Json) -> None:
    if session["status"] != "open":
        raise refused(f"This Checkout Session is {session['status']} and cannot be paid.")


def find_or_make_customer(account: Account, session: Json, email: str | None) -> Json | None:
    """The session's customer, a new one where the mode makes one, or None for a guest."""
    if session["customer"] is not None:
        return account.load_live("customer", session["customer"], "customer")
    if session["customer_creation"] != "always":
        return None
    row = new_customer(account)
    row["email"] = session["customer_email"] or email or DEFAULT_EMAIL
    account.put("customer", row)
    emit(account, "customer.created", row)
    session["customer"] = row["id"]
    return row


def customer_details(customer: Json | None, session: Json, email: str | None) -> Json:
    known = customer or {}
    return {
        "address": known.get("address"),
        "business_name": None,
        "email": known.get("email") or session["customer_email"] or email or DEFAULT_EMAIL,
        "individual_name": None,
        "name": known.get("name"),
        "phone": known.get("phone"),
        "tax_exempt": known.get("tax_exempt", "none"),
        "tax_ids": [],
    }


def new_page_method(account: Account, email: str, *, delayed: bool) -> Json:
    kind, details = (
        ("us_bank_account", payment_methods.bank_account()) if delayed else ("card", payment_methods.card())
    )
    return payment_methods.new_method(account, kind, details, email)


def intent_of(account: Account, session: Json) -> Json:
    """The session's payment intent: made by the first attempt, kept for the next."""
    draft = account.load("checkout_draft", session["id"])
    if draft["payment_intent"] is not None:
        intent = account.load("payment_intent", draft["payment_intent"])
        intent["customer"] = session["customer"]
        return intent
    data = draft["payment_intent_data"]
    intent = payments.new_intent(
        account,
        session["amount_total"],
        session["currency"],
        customer=session["customer"],
        metadata=params.changed_metadata({}, data.get("metadata")),
    )
    intent["description"] = data.get("description")
    intent["setup_future_usage"] = data.get("setup_future_usage")
    intent["shipping"] = data.get("shipping")
    draft["payment_intent"] = intent["id"]
    account.put("checkout_draft", draft)
    if session["mode"] == "payment":
        session["payment_intent"] = intent["id"]
        account.put("checkout.session", session)
    return intent


def pay_intent(account: Account, intent: Json, method: Json) -> str:
    """Pay by this method; returns the session's payment status."""
    if method["type"] == "card":
        payments.succeed(account, intent, method)
        return "paid"
    payments.begin_delayed(account, intent, method)
    return "unpaid"


def subscribe(account: Account, session: Json, customer: Json, method: Json | None) -> None:
    before = snapshot(account, customer)
    data = account.load("checkout_draft", session["id"])["subscription_data"]
    lines = items_of_session(account, session)
    row = new_subscription(
        account,
        customer["id"],
        recurring_choices(account, lines),
        session["currency"],
        trial_end(account, data),
    )
    row["metadata"] = params.changed_metadata({}, data.get("metadata"))
    row["description"] = data.get("description")
    row["default_payment_method"] = method["id"] if method else None
    row["trial_settings"] = data.get("trial_settings", row["trial_settings"])
    give(account, row, session_discounts(account, session, row))
    account.put("subscription", row)
    one_time = one_time_lines(account, lines, session["currency"])
    # The first invoice exists before anyone hears of the subscription: its event names it.
    invoice = invoices.draft_invoice(
        account, row, billing_lines(account, row) + one_time, "subscription_create"
    )
    emit(account, "customer.subscription.created", row)
    invoices.finalize(account, invoice)
    session |= {"invoice": invoice["id"], "subscription": row["id"]}
    session["payment_status"] = pay_invoice(account, session, invoice, method)
    emit_customer_update(account, before, customer, None)


def session_discounts(account: Account, session: Json, subscription: Json) -> list[Json]:
    return [
        discount_row(
            account, subscription, {**one, "coupon": coupon_of(account, one)["id"]}, session_id=session["id"]
        )
        for one in session["discounts"]
    ]


def recurring_choices(account: Account, lines: list[Json]) -> list[Json]:
    choices = [{**line, "price": account.load("price", line["price"])} for line in lines]
    return [choice for choice in choices if choice["price"]["recurring"]]


def trial_end(account: Account, data: Json) -> int | None:
    """Seconds since 1970, from the `subscription_data` of the session; None: no trial."""
    days = data.get("trial_period_days")
    return account.now() + int(days) * DAY_S if days else data.get("trial_end")


def one_time_lines(account: Account, lines: list[Json], currency: str) -> list[Line]:
    """One-time prices of a subscription session are billed once, on its first invoice."""
    now = account.now()
    found = []
    for line in lines:
        price = account.load("price", line["price"])
        if price["recurring"] is None:
            amount = unit_amount(price, currency) * line["quantity"]
            found.append(Line(price, line["quantity"], amount, None, now, now, line["description"]))
    return found


def pay_invoice(account: Account, session: Json, invoice: Json, method: Json | None) -> str:
    """Returns the session's payment status."""
    if invoice["amount_due"] == 0 or method is None:
        invoices.mark_paid(account, invoice, None)
        return "no_payment_required"
    intent = intent_of(account, session)
    status = pay_intent(account, intent, method)
    if status == "paid":
        invoices.mark_paid(account, invoice, intent)
    return status


def settle_invoice(account: Account, session: Json, intent: Json, *, succeeded: bool) -> None:
    """A delayed first payment: the subscription was active meanwhile and is past due when it fails."""
    invoice = account.load("invoice", session["invoice"])
    if succeeded:
        invoices.mark_paid(account, invoice, intent)
        return
    invoices.mark_failed(account, invoice)
    subscription = account.load("subscription", invoice_subscription(invoice) or "")
    before = snapshot(account, subscription)
    subscription["status"] = "past_due"
    account.put("subscription", subscription)
    emit_update(account, before, subscription, None)
