"""What time does to a subscription: renewals, ends of trials, scheduled ends, and what expires.

`due.py` calls the deeds at their moments; each has a function beside it that tells that moment, or None.
"""

from deploy.local.stripe_simulator import invoices, pauses, pending_updates, standing, trials
from deploy.local.stripe_simulator.events import emit
from deploy.local.stripe_simulator.periods import period_after
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscriptions import (
    DAY_S,
    ENDED,
    begin_period,
    billing_lines,
    cancel_now,
    change_plan,
    emit_update,
    items_of,
    plan_of,
    set_fields,
)

#: Seconds in which the first invoice must be paid: 23 hours.
INCOMPLETE_S = 23 * 3600
#: Stripe tells of the end of a trial three days before, or at once when the trial is shorter.
NOTICE_S = 3 * DAY_S
#: In these a subscription goes from period to period.
RUNNING = {"active", "past_due", "unpaid"}


def renews_at(account: Account, row: Json) -> int | None:
    if row["status"] not in RUNNING:
        return None
    return min((int(item["current_period_end"]) for item in items_of(account, row)), default=None)


def renew(account: Account, row: Json) -> None:
    """Begin the next period of every item whose period ends, and bill it by a draft."""
    at = account.now()
    before = snapshot(account, row)
    due = [item for item in items_of(account, row) if item["current_period_end"] <= at]
    for item in due:
        price = account.load("price", item["price"])
        start = item["current_period_end"]
        end = period_after(row["billing_cycle_anchor"], start, price["recurring"])
        item |= {"current_period_start": start, "current_period_end": end}
        account.put("subscription_item", item)
    bill_period(account, row, due, before)


def bill_period(account: Account, row: Json, items: list[Json], before: Json) -> None:
    """Draft the invoice of a period that has begun; what becomes of it depends on paused collection."""
    lines = billing_lines(account, row, items)
    invoice = invoices.draft_invoice(account, row, lines, "subscription_cycle")
    emit_update(account, before, row, None)
    paused = row["pause_collection"]
    if paused is None and row["status"] != "unpaid":
        invoice["automatically_finalizes_at"] = account.now() + invoices.DRAFT_S
        account.put("invoice", invoice)
        return
    invoice["auto_advance"] = False
    account.put("invoice", invoice)
    if paused is not None and paused["behavior"] != "keep_as_draft":
        invoices.finalize(account, invoice)
        close = invoices.void if paused["behavior"] == "void" else invoices.mark_uncollectible
        close(account, invoice)


def trial_ends_at(_account: Account, row: Json) -> int | None:
    is_trialing = row["status"] == "trialing" and row["trial_end"] is not None
    return int(row["trial_end"]) if is_trialing else None


def end_trial(account: Account, row: Json) -> None:
    """Begin the first paid period; without a way to pay the subscription's trial settings decide."""
    if missing := trials.missing_method(account, row):
        trials.end_without_method(account, row, missing)
        return
    before = snapshot(account, row)
    start = account.now()
    row |= {"billing_cycle_anchor": row["trial_end"], "status": "active"}
    items = items_of(account, row)
    for item in items:
        begin_period(account, row, item, start)
    bill_period(account, row, items, before)


def tells_trial_end_at(account: Account, row: Json) -> int | None:
    end = trial_ends_at(account, row)
    if end is None or plan_of(account, row)["trial_told"] == end:
        return None
    return max(int(row["trial_start"] or 0), end - NOTICE_S)


def tell_trial_end(account: Account, row: Json) -> None:
    change_plan(account, row, trial_told=row["trial_end"])
    emit(account, "customer.subscription.trial_will_end", row)


def cancels_at(_account: Account, row: Json) -> int | None:
    is_over = row["status"] in ENDED or row["cancel_at"] is None
    return None if is_over else int(row["cancel_at"])


def cancel_due(account: Account, row: Json) -> None:
    cancel_now(account, row, None)


def incomplete_until(_account: Account, row: Json) -> int | None:
    return int(row["created"]) + INCOMPLETE_S if row["status"] == "incomplete" else None


def expire_incomplete(account: Account, row: Json) -> None:
    """The first invoice was not paid in time: it is void, and the subscription has ended."""
    invoice = account.find("invoice", row["latest_invoice"] or "")
    standing.end_incomplete(account, row)
    if invoice is not None and invoice["status"] in {"draft", "open"}:
        invoices.void(account, invoice)


def update_pending_until(_account: Account, row: Json) -> int | None:
    return int(row["pending_update"]["expires_at"]) if row["pending_update"] else None


def expire_pending_update(account: Account, row: Json) -> None:
    invoice = account.find("invoice", plan_of(account, row)["pending_invoice"] or "")
    pending_updates.expire(account, row)
    if invoice is not None and invoice["status"] == "open":
        invoices.void(account, invoice)


def resumption_until(account: Account, row: Json) -> int | None:
    moment: int | None = plan_of(account, row)["resumption_until"]
    return moment if row["status"] == "paused" else None


def abandon_resumption(account: Account, row: Json) -> None:
    """Nobody paid for the resumption: its invoice is void, the subscription stays paused."""
    invoice = account.find("invoice", plan_of(account, row)["resumption_invoice"] or "")
    pauses.forget_resumption(account, row)
    if invoice is not None and invoice["status"] == "open":
        invoices.void(account, invoice)


def collection_resumes_at(_account: Account, row: Json) -> int | None:
    paused = row["pause_collection"]
    if paused is None or row["status"] in ENDED or paused.get("resumes_at") is None:
        return None
    return int(paused["resumes_at"])


def resume_collection(account: Account, row: Json) -> None:
    """Collect again from the next invoice on; drafts that were kept stay drafts."""
    set_fields(account, row, pause_collection=None)
