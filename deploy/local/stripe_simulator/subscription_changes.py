"""What a caller changes of a subscription: items, trial, anchor and end, with the prorations that follow."""

from dataclasses import dataclass

from deploy.local.stripe_simulator import collection, discounts, invoices, params, standing, trials
from deploy.local.stripe_simulator.errors import refused
from deploy.local.stripe_simulator.prorations import prorate, shares_of
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscription_items import (
    apply_items,
    changes_interval,
    plan_items,
    restart_periods,
)
from deploy.local.stripe_simulator.subscriptions import (
    DAY_S,
    billing_lines,
    emit_update,
    last_period_end,
    paying_method,
    set_cancellation,
)

#: Fields that are stored as they are given.
PLAIN = {"collection_method", "days_until_due", "default_payment_method", "description"}


@dataclass(frozen=True, slots=True)
class Change:
    """A wanted change, checked: nothing has happened yet."""

    plan: list[Json]
    #: Seconds since 1970; None: the trial stays as it is.
    trial_end: int | None
    ends_trial: bool
    #: The trial ends and nothing can be charged; None: a paid period begins.
    missing_method: trials.Missing | None
    #: A new period begins now, is billed at once, and moves the anchor.
    starts_period: bool
    #: `create_prorations`, `always_invoice` or `none`.
    proration: str
    prorates_at: int
    #: None: they stay as they are.
    discounts: list[Json] | None


def change_subscription(account: Account, row: Json, asked: Json, request: Json | None = None) -> None:
    """Do it and bill what is to be billed now; raises StripeError before anything has changed.

    With `payment_behavior=default_incomplete` the invoice waits for the customer; otherwise it is charged.
    """
    change = read_change(account, row, asked)
    before, shares = snapshot(account, row), shares_of(account, row)
    apply_items(account, row, change.plan)
    describe(row, asked)
    if change.discounts is not None:
        discounts.give(account, row, change.discounts)
    if change.missing_method is not None:
        account.put("subscription", row)
        emit_update(account, before, row, request)
        trials.end_without_method(account, row, change.missing_method, request)
        return
    move_trial(account, row, change)
    set_cancellation(account, row, asked)
    keep_end_at_period_end(account, row)
    account.put("subscription", row)
    prorated = []
    if change.proration != "none":
        after = {} if change.starts_period else shares_of(account, row)
        prorated = prorate(account, row, shares, after, change.prorates_at)
    lines = billing_lines(account, row) if change.starts_period else []
    is_billed = change.starts_period or bool(prorated and change.proration == "always_invoice")
    reason = "subscription_cycle" if change.ends_trial else "subscription_update"
    invoice = invoices.draft_invoice(account, row, lines, reason) if is_billed else None
    emit_update(account, before, row, request)
    if invoice is not None:
        issue(account, row, invoice, waits=asked.get("payment_behavior") == "default_incomplete")


def issue(account: Account, row: Json, invoice: Json, *, waits: bool) -> None:
    collection.issue(account, invoice, attempts=not waits)
    if waits and invoice["status"] == "open":
        standing.fall_behind(account, row, invoice)


def read_change(account: Account, row: Json, asked: Json) -> Change:
    plan = plan_items(account, row, asked.get("items", []))
    trial_end = trial_end_of(account, asked)
    require_method(account, asked)
    is_trialing = row["status"] == "trialing"
    ends_trial = is_trialing and asked.get("trial_end") == "now"
    turns = changes_interval(account, row, plan) or asked.get("billing_cycle_anchor") == "now"
    starts_period = ends_trial or (turns and not is_trialing)
    wanted = {**row, **{name: asked[name] for name in asked.keys() & (PLAIN | {"trial_settings"})}}
    missing = trials.missing_method(account, wanted) if ends_trial else None
    is_charged = wanted["collection_method"] == "charge_automatically" and missing is None
    if starts_period and is_charged and asked.get("payment_behavior") != "default_incomplete":
        paying_method(account, wanted)
    return Change(
        plan=plan,
        trial_end=trial_end,
        ends_trial=ends_trial,
        missing_method=missing,
        starts_period=starts_period,
        proration=asked.get("proration_behavior", "create_prorations"),
        prorates_at=asked.get("proration_date", account.now()),
        discounts=discounts.read_wanted(account, row, asked),
    )


def move_trial(account: Account, row: Json, change: Change) -> None:
    """Begin, move or end the trial, and restart the periods where one begins."""
    if change.trial_end is not None:
        start = row["trial_start"] if row["status"] == "trialing" else account.now()
        row |= {"status": "trialing", "trial_end": change.trial_end, "trial_start": start}
    if change.ends_trial:
        row |= {"status": "active", "trial_end": account.now()}
    if change.trial_end is not None or change.starts_period:
        restart_periods(account, row)


def keep_end_at_period_end(account: Account, row: Json) -> None:
    """An end that was asked for at the end of the period moves with the period."""
    if row["cancel_at_period_end"]:
        row["cancel_at"] = last_period_end(account, row)


def describe(row: Json, asked: Json) -> None:
    """The fields that change nothing else."""
    for name in asked.keys() & (PLAIN | {"pause_collection"}):
        row[name] = asked[name]
    if row["pause_collection"] is not None:
        row["pause_collection"] = {"resumes_at": None, **row["pause_collection"]}
    row["metadata"] = params.changed_metadata(row["metadata"], asked.get("metadata"))
    details = asked.get("cancellation_details", {})
    row["cancellation_details"] = {**row["cancellation_details"], **details}
    if "trial_settings" in asked:
        row["trial_settings"] = asked["trial_settings"]


def require_method(account: Account, asked: Json) -> None:
    if "default_payment_method" in asked:
        account.load("payment_method", asked["default_payment_method"], "default_payment_method")


def trial_end_of(account: Account, asked: Json) -> int | None:
    """When the trial that a call asks for ends, in seconds since 1970; None: no trial."""
    if days := asked.get("trial_period_days"):
        return account.now() + int(days) * DAY_S
    end = asked.get("trial_end")
    if end is None or end == "now":
        return None
    if end <= account.now():
        raise refused("`trial_end` must be in the future, or `now`.", "trial_end")
    return int(end)
