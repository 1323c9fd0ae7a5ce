"""What the end of an invoice means for its subscription: active again, past due, unpaid, canceled, paused."""

from deploy.local.stripe_simulator import pauses, pending_updates
from deploy.local.stripe_simulator.billing_settings import settings_of
from deploy.local.stripe_simulator.moments import invoice_owner
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscriptions import ENDED, cancel_now, plan_of, set_fields

BEHIND = {"past_due", "unpaid"}


def settled(account: Account, invoice: Json) -> None:
    """An invoice was paid, or given up as uncollectible: what waited for it goes on."""
    subscription = invoice_owner(account, invoice)
    if subscription is None or subscription["status"] in ENDED:
        return
    plan = plan_of(account, subscription)
    if plan["pending_invoice"] == invoice["id"]:
        pending_updates.apply(account, subscription)
    if subscription["status"] == "incomplete":
        set_fields(account, subscription, status="active")
    elif plan["resumption_invoice"] == invoice["id"]:
        pauses.complete_resumption(account, subscription)
    elif newest_issued(account, subscription) == invoice["id"]:
        catch_up(account, subscription)


def catch_up(account: Account, subscription: Json) -> None:
    """The newest invoice is settled: only what unpaid invoices had caused ends, not a wish to pause."""
    if subscription["status"] in BEHIND:
        set_fields(account, subscription, status="active")
    elif pauses.is_paused_by_failure(subscription):
        pauses.complete_resumption(account, subscription)


def voided(account: Account, invoice: Json) -> None:
    """A void invoice counts as never sent: the one before it decides."""
    subscription = invoice_owner(account, invoice)
    if subscription is None or subscription["status"] in ENDED:
        return
    plan = plan_of(account, subscription)
    if plan["pending_invoice"] == invoice["id"]:
        pending_updates.expire(account, subscription)
    elif plan["resumption_invoice"] == invoice["id"]:
        pauses.forget_resumption(account, subscription)
    elif subscription["status"] == "incomplete":
        end_incomplete(account, subscription)
    else:
        newest = newest_issued(account, subscription)
        if newest is None or account.load("invoice", newest)["status"] != "open":
            catch_up(account, subscription)


def newest_issued(account: Account, subscription: Json) -> str | None:
    """The subscription's latest finalized invoice that is not void."""
    found = account.where("invoice", "subscription", subscription["id"])
    issued = [row["id"] for row in found if row["status"] not in {"draft", "void"}]
    return issued[-1] if issued else None


def fall_behind(account: Account, subscription: Json, invoice: Json) -> None:
    """An invoice of an active subscription was not paid when it should have been.

    The invoice of a pending update or of a resumption leaves the subscription as it is.
    """
    if subscription["status"] not in {"active", "trialing"} or is_apart(account, subscription, invoice):
        return
    if settings_of(account).after_first_failure == "pause":
        pauses.pause(account, subscription, "first_payment_failure")
    else:
        set_fields(account, subscription, status="past_due")


def give_up(account: Account, subscription: Json, invoice: Json) -> None:
    """Every retry failed: the account's setting says what becomes of the subscription."""
    if subscription["status"] not in {"active", "past_due"} or is_apart(account, subscription, invoice):
        return
    action = settings_of(account).after_final_failure
    if action != "past_due":
        invoice["auto_advance"] = False
        account.put("invoice", invoice)
    if action == "cancel":
        cancel_now(account, subscription, None, {"reason": "payment_failed"})
    elif action == "unpaid":
        set_fields(account, subscription, status="unpaid")
    elif action == "pause":
        pauses.pause(account, subscription, "final_payment_failure")


def is_apart(account: Account, subscription: Json, invoice: Json) -> bool:
    plan = plan_of(account, subscription)
    return invoice["id"] in {plan["pending_invoice"], plan["resumption_invoice"]}


def end_incomplete(account: Account, subscription: Json) -> None:
    """The first invoice was never paid: the subscription has ended before it began."""
    set_fields(account, subscription, status="incomplete_expired", ended_at=account.now())
