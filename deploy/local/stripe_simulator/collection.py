"""How an open invoice gets its money: the first attempt, retries, and what is done when none succeeds.

What an invoice's end means for its subscription is in `standing.py`.
"""

from deploy.local.stripe_simulator import invoices, payments, standing
from deploy.local.stripe_simulator.billing_settings import settings_of
from deploy.local.stripe_simulator.events import emit
from deploy.local.stripe_simulator.moments import invoice_owner
from deploy.local.stripe_simulator.payment_methods import last4_of
from deploy.local.stripe_simulator.store import Account, Json

DAY_S = 24 * 3600


def issue(account: Account, invoice: Json, *, attempts: bool = True) -> None:
    """Finalize a draft; charge it when nobody has to ask first, send it when it is to be sent.

    `attempts=False` leaves it open, with a payment intent that waits for the customer.
    """
    invoices.finalize(account, invoice)
    if invoice["amount_due"] == 0:
        invoices.mark_paid(account, invoice, None)
        standing.settled(account, invoice)
        return
    intent_of(account, invoice)
    if invoice["collection_method"] == "send_invoice":
        emit(account, "invoice.sent", invoice)
    elif attempts:
        collect(account, invoice, is_automatic=True)


def intent_of(account: Account, invoice: Json) -> Json:
    """The payment intent of an open invoice, made at the first call."""
    known = waiting_intent(account, invoice)
    if known is not None:
        return known
    intent = payments.new_intent(
        account,
        invoice["amount_remaining"],
        invoice["currency"],
        customer=invoice["customer"],
        metadata={},
    )
    invoices.payment_of(account, invoice, intent)
    return intent


def waiting_intent(account: Account, invoice: Json) -> Json | None:
    payment = invoices.open_payment(account, invoice)
    return account.load("payment_intent", payment["payment"]["payment_intent"]) if payment else None


def collect(
    account: Account, invoice: Json, method: Json | None = None, *, is_automatic: bool = False
) -> Json:
    """Try to pay an open invoice, by default with the method it would be charged to; returns its intent."""
    intent = intent_of(account, invoice)
    method = method or method_for(account, invoice)
    if method is not None:
        payments.attempt(account, intent, method)
    conclude(account, invoice, intent, is_automatic=is_automatic)
    return intent


def conclude(account: Account, invoice: Json, intent: Json, *, is_automatic: bool = False) -> None:
    """Write what became of an attempt."""
    if intent["status"] == "succeeded":
        invoices.mark_paid(account, invoice, intent)
        standing.settled(account, invoice)
    elif intent["status"] == "processing":
        invoice |= {"attempted": True, "next_payment_attempt": None}
        account.put("invoice", invoice)
    else:
        fail(account, invoice, intent, is_automatic=is_automatic)


def intent_ended(account: Account, intent: Json) -> None:
    """An intent was confirmed, authenticated or settled outside of an invoice call: its invoice follows."""
    for payment in account.where("invoice_payment", "payment_intent", intent["id"]):
        invoice = account.load("invoice", payment["invoice"])
        if payment["status"] == "open" and invoice["status"] in {"open", "uncollectible"}:
            conclude(account, invoice, intent)


def fail(account: Account, invoice: Json, intent: Json, *, is_automatic: bool) -> None:
    """Plan the next attempt, say that this one failed, and let the subscription fall behind.

    Only automatic attempts use up the schedule: a failed `pay` call leaves it as it is.
    """
    subscription = invoice_owner(account, invoice)
    if is_automatic:
        plan_retry(account, invoice, subscription)
    invoices.mark_failed(account, invoice)
    if intent["status"] == "requires_action":
        emit(account, "invoice.payment_action_required", invoice)
    if subscription is None:
        return
    standing.fall_behind(account, subscription, invoice)
    if is_automatic and invoice["next_payment_attempt"] is None:
        standing.give_up(account, subscription, invoice)


def plan_retry(account: Account, invoice: Json, subscription: Json | None) -> None:
    """The first invoice of a subscription is never retried: the customer has 23 hours to pay it."""
    waits = settings_of(account).retry_days
    used = plan_of(account, invoice)["retries"]
    is_first = subscription is not None and subscription["status"] == "incomplete"
    has_next = invoice["auto_advance"] and used < len(waits) and not is_first
    invoice["next_payment_attempt"] = account.now() + waits[used] * DAY_S if has_next else None


def method_for(account: Account, invoice: Json) -> Json | None:
    """The invoice's own method, else the subscription's, else the customer's; None: there is none."""
    subscription = invoice_owner(account, invoice) or {}
    chosen = invoice["default_payment_method"] or subscription.get("default_payment_method")
    return usable_method(account, invoice["customer"], chosen)


def usable_method(account: Account, customer_id: str, chosen: str | None) -> Json | None:
    """The chosen method, else the customer's default, as long as it is still attached."""
    customer = account.load("customer", customer_id)
    default = None if customer.get("deleted") else customer["invoice_settings"]["default_payment_method"]
    for method_id in (chosen, default):
        method = account.find("payment_method", method_id) if method_id else None
        if method is not None and method["customer"] == customer_id:
            return method
    return None


def has_method(account: Account, subscription: Json) -> bool:
    chosen = subscription["default_payment_method"]
    return usable_method(account, subscription["customer"], chosen) is not None


def will_pay(method: Json) -> bool:
    """Whether an attempt with this method brings the money, or a bank transfer that promises it."""
    return last4_of(method) not in payments.DECLINING | payments.AUTHENTICATING


def plan_of(account: Account, invoice: Json) -> Json:
    """What Stripe does not show of an invoice: retries used, and whether it is known to be overdue."""
    fresh = {"id": invoice["id"], "retries": 0, "is_overdue": False, "is_given_up": False}
    return account.find("invoice_plan", invoice["id"]) or fresh


def finalizes_at(_account: Account, invoice: Json) -> int | None:
    is_waiting = invoice["status"] == "draft" and invoice["auto_advance"]
    moment: int | None = invoice["automatically_finalizes_at"]
    return moment if is_waiting else None


def finalize_due(account: Account, invoice: Json) -> None:
    issue(account, invoice)


def retries_at(_account: Account, invoice: Json) -> int | None:
    is_waiting = invoice["status"] == "open" and invoice["auto_advance"]
    moment: int | None = invoice["next_payment_attempt"]
    return moment if is_waiting else None


def retry(account: Account, invoice: Json) -> None:
    plan = plan_of(account, invoice)
    account.put("invoice_plan", {**plan, "retries": plan["retries"] + 1})
    collect(account, invoice, is_automatic=True)


def overdue_at(account: Account, invoice: Json) -> int | None:
    """The due date of an invoice that was sent and is not paid."""
    is_waiting = invoice["status"] == "open" and invoice["collection_method"] == "send_invoice"
    if not is_waiting or plan_of(account, invoice)["is_overdue"]:
        return None
    moment: int | None = invoice["due_date"]
    return moment


def become_overdue(account: Account, invoice: Json) -> None:
    account.put("invoice_plan", {**plan_of(account, invoice), "is_overdue": True})
    account.put("invoice", invoice)
    emit(account, "invoice.overdue", invoice)
    subscription = invoice_owner(account, invoice)
    if subscription is not None:
        standing.fall_behind(account, subscription, invoice)


def given_up_at(account: Account, invoice: Json) -> int | None:
    plan = plan_of(account, invoice)
    if invoice["status"] != "open" or not plan["is_overdue"] or plan["is_given_up"]:
        return None
    return int(invoice["due_date"]) + settings_of(account).overdue_days * DAY_S


def give_up_overdue(account: Account, invoice: Json) -> None:
    account.put("invoice_plan", {**plan_of(account, invoice), "is_given_up": True})
    subscription = invoice_owner(account, invoice)
    if subscription is not None:
        standing.give_up(account, subscription, invoice)
