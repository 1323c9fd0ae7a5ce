"""What can differ between Stripe, the mirror, the stored answers and the cache, by name. Pure.

`KINDS` is the code and the documentation in one table: how bad it is, how it heals, what an operator does.
A pass names differences as `Suspect`s; only one that is still there at a second look is a drift.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from msgspec import Struct

from domain.model import Subscription, Suspect
from domain.money import ChargeDispute, ChargeRefund, Invoice
from domain.rules.endpoint import has_version, is_enabled, lacking_types, leads_here

Severity = Literal["critical", "warning"]
#: `read`: an internal event has Stripe read again. `answers`: the user's answers are computed and published
#: again, by such an event where the user has a customer. `insert`: Stripe's event is put into the inbox.
#: None: only an operator can.
Repair = Literal["read", "answers", "insert"]


class Kind(Struct, frozen=True, kw_only=True):
    severity: Severity
    repair: Repair | None
    #: What is so.
    says: str
    #: What an operator does; {object}, {customer}, {project} and {user} are filled in. None: it heals.
    next: str | None = None


_EXPLAIN = "tollhouse explain {user} --project {project}"

KINDS: dict[str, Kind] = {
    "event_missing": Kind(
        severity="warning", repair="insert", says="Stripe made an event that was never delivered here"
    ),
    "missing_subscription": Kind(
        severity="critical", repair="read", says="a customer of ours has a subscription that is not mirrored"
    ),
    "stale_status": Kind(
        severity="critical", repair="read", says="the mirror has another status of a subscription"
    ),
    "wrong_items": Kind(
        severity="critical", repair="read", says="the mirror has other prices or quantities of a subscription"
    ),
    "stale_subscription": Kind(
        severity="warning", repair="read", says="the mirror has another end, trial, pause or customer of one"
    ),
    "missing_purchase": Kind(
        severity="critical", repair="read", says="a paid checkout's one-time lines are not mirrored"
    ),
    "stale_checkout": Kind(severity="warning", repair="read", says="a checkout of ours has another state"),
    "stale_refund": Kind(
        severity="critical", repair="read", says="a refund is not mirrored, or with another state"
    ),
    "stale_dispute": Kind(
        severity="critical", repair="read", says="a dispute is not mirrored, or with another state"
    ),
    "stale_invoice": Kind(
        severity="warning", repair="read", says="an invoice is not mirrored, or with another state"
    ),
    "unbooked": Kind(
        severity="warning",
        repair="read",
        says="a payment or subscription is in no money figure: an older release was the last to read it",
    ),
    "dead_target": Kind(
        severity="critical",
        repair="read",
        says="a customer or object gave up after errors in a row; a pass gives it one more try",
    ),
    "unlinked_customer": Kind(
        severity="critical", repair="read", says="a customer we made was never linked: a crash came between"
    ),
    "orphan_customer": Kind(
        severity="critical",
        repair=None,
        says="a customer that no row of ours knows has bought something of a catalog",
        next="if you know whose it is: tollhouse customers adopt {object} --project {project} --user USER "
        "--reason …",
    ),
    "two_customers": Kind(
        severity="warning",
        repair=None,
        says="a user has two living customers at Stripe that hold a subscription, or a second unlinked one",
        next="see which one pays, end the other's subscriptions in Stripe (an unlinked one that is this "
        "user's: tollhouse customers adopt {customer} --project {project} --user {user} --reason …)",
    ),
    "two_subscriptions": Kind(
        severity="critical",
        repair=None,
        says="a user has more than one live subscription of a group, and pays for each",
        next="end all but one in Stripe: {object}; then " + _EXPLAIN,
    ),
    "price_unmapped": Kind(
        severity="critical",
        repair=None,
        says="somebody pays a price that no plan of the catalog knows, and gets nothing for it",
        next="name the price under stripe_ids in the catalog file, then tollhouse catalog apply; until then "
        "tollhouse grant {user} --project {project}",
    ),
    "cross_project": Kind(
        severity="critical",
        repair=None,
        says="a customer of one project holds a plan of another, which grants nothing",
        next="sell it to a customer of the right project, and end it here in Stripe; " + _EXPLAIN,
    ),
    "vanished": Kind(
        severity="critical",
        repair=None,
        says="Stripe does not show an object that we mirror; nothing was taken away",
        next="look it up in the dashboard; is TOLLHOUSE_STRIPE_SECRET_KEY this account's?",
    ),
    "billing_after_dispute": Kind(
        severity="warning",
        repair=None,
        says="a subscription goes on billing although an earlier invoice of it is disputed",
        next="decide in Stripe whether to end {object}: who disputes once often does again",
    ),
    "entitlement_mismatch": Kind(
        severity="critical", repair="answers", says="the stored answers are not what mirror and catalog give"
    ),
    "cache_mismatch": Kind(
        severity="warning", repair="answers", says="the cache holds other bytes than what is stored"
    ),
    "cache_ahead": Kind(
        severity="critical",
        repair=None,
        says="the cache holds a higher version than what is stored: was an older database restored?",
        next="after a restore: tollhouse recover --after-restore; else empty the cache's Redis database",
    ),
    "endpoint_missing": Kind(
        severity="critical",
        repair=None,
        says="Stripe has no enabled webhook endpoint that leads to /api/v1/webhooks/stripe",
        next="with TOLLHOUSE_WEBHOOK_URL: tollhouse catalog apply FILE; else make or enable it in Stripe, "
        "Developers, Webhooks, with the events of docs/event-path.md",
    ),
    "endpoint_events": Kind(
        severity="warning",
        repair=None,
        says="the webhook endpoint does not send every event type that is used",
        next="with TOLLHOUSE_WEBHOOK_URL: tollhouse catalog apply FILE; else add the events in Stripe, "
        "Developers, Webhooks, {object}",
    ),
    "endpoint_version": Kind(
        severity="warning",
        repair=None,
        says="the webhook endpoint sends another API version than the one that is read",
        next="harmless for answers, rechecks compare worse; with TOLLHOUSE_WEBHOOK_URL: tollhouse catalog "
        "apply FILE makes a new one beside it, then: tollhouse catalog retire-endpoint {object}",
    ),
}


class Difference(Struct, frozen=True):
    type: str
    found: str


def compare_subscription(
    read: Subscription, customer_id: str, mirrored: Subscription | None, mirrored_customer: str | None
) -> list[Difference]:
    """What of a subscription the mirror has otherwise; what invoices tell is compared with the invoices."""
    if mirrored is None:
        return [Difference("missing_subscription", f"Stripe: {read.status}; mirror: nothing")]
    found = []
    if read.status != mirrored.status:
        found.append(Difference("stale_status", f"Stripe: {read.status}; mirror: {mirrored.status}"))
    if _items(read) != _items(mirrored):
        found.append(Difference("wrong_items", f"Stripe: {_items(read)}; mirror: {_items(mirrored)}"))
    other = [name for name in _WATCHED if getattr(read, name) != getattr(mirrored, name)]
    if _periods(read) != _periods(mirrored):
        other.append("period_end")
    if customer_id != mirrored_customer:
        other.append("customer")
    if other:
        found.append(Difference("stale_subscription", f"differs in {', '.join(other)}"))
    return found


_WATCHED = (
    *("trial_end", "cancel_at", "cancel_at_period_end", "ended_at"),
    *("pause_behavior", "pause_cause"),
)


def _items(subscription: Subscription) -> str:
    items = sorted((item.price_id, str(item.quantity), item.item_id) for item in subscription.items)
    return ", ".join(f"{price} x{quantity}" for price, quantity, _ in items)


def _periods(subscription: Subscription) -> list[tuple[str, object]]:
    return sorted((item.item_id, item.period_end) for item in subscription.items)


def compare_purchases(expected: Iterable[str], mirrored: Iterable[str]) -> list[Difference]:
    """Ids of the paid one-time lines of one session or invoice."""
    missing = sorted(set(expected) - set(mirrored))
    return [Difference("missing_purchase", f"not mirrored: {', '.join(missing)}")] if missing else []


def compare_state(
    type_: str, read: Mapping[str, Any], mirrored: Mapping[str, Any] | None
) -> list[Difference]:
    """Of a refund, dispute, invoice or checkout: the values Stripe shows, and those of the mirror."""
    if mirrored is None:
        said = ", ".join(f"{name} {value}" for name, value in read.items())
        return [Difference(type_, f"Stripe: {said}; mirror: nothing")]
    other = [name for name, value in read.items() if mirrored[name] != value]
    said = ", ".join(f"{name}: Stripe {read[name]}, mirror {mirrored[name]}" for name in other)
    return [Difference(type_, said)] if other else []


def state_of_invoice(invoice: Invoice) -> dict[str, Any]:
    return {
        "status": invoice.status,
        "paid_minor": invoice.paid_minor,
        "remaining_minor": invoice.remaining_minor,
    }


def state_of_refund(refund: ChargeRefund) -> dict[str, Any]:
    return {"status": refund.refund.status, "amount_minor": refund.refund.amount_minor}


def state_of_dispute(dispute: ChargeDispute) -> dict[str, Any]:
    return {"status": dispute.dispute.status, "amount_minor": dispute.dispute.amount_minor}


def judge_endpoints(
    endpoints: Iterable[Mapping[str, Any]], *, used: Iterable[str], version: str, url: str | None = None
) -> list[tuple[str, Difference]]:
    """(endpoint's id, what is wrong with it). `used`: types it has to send; `version`: the one we read at.

    `url`: where Stripe reaches this deployment; None: unknown, so every endpoint of our path counts.
    """
    ours = [one for one in endpoints if leads_here(one, url)]
    enabled = [one for one in ours if is_enabled(one)]
    if not enabled:
        said = f"disabled: {', '.join(str(one['id']) for one in ours)}" if ours else "there is none"
        return [("webhook_endpoint", Difference("endpoint_missing", said))]
    found: list[tuple[str, Difference]] = []
    for one in enabled:
        if lacking := lacking_types(one, used):
            said = f"{len(lacking)} types are not sent: {', '.join(lacking)}"
            found.append((str(one["id"]), Difference("endpoint_events", said)))
        if not has_version(one, version):
            said = f"sends {one['api_version']}, read is {version}"
            found.append((str(one["id"]), Difference("endpoint_version", said)))
    return found


def advise(suspect: Suspect, *, user_id: str | None) -> str | None:
    """The operator's next command; None: it heals by itself. `user_id` is quoted already."""
    next_ = KINDS[suspect.type].next
    if next_ is None:
        return None
    return next_.format(
        object=suspect.object_id,
        customer=suspect.customer_id or suspect.object_id,
        project=suspect.project or "PROJECT",
        user=user_id or "USER",
    )
