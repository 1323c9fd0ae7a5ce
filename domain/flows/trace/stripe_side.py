"""The links from Stripe to the mirror: customer, checkout, events, sync, mirror."""

import zlib
from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from domain.flows.trace.link import WORKED_WITHIN_S, Link, Person, counted
from domain.model import TargetRef
from domain.store.traces import LinkedCustomer, MirroredSource, SeenCheckout, SeenTarget, UnsettledEvent

#: Events that one command names.
NAMED_AT_MOST = 5


class StripeSide(Struct, frozen=True, kw_only=True):
    """The rows of a user up to the mirror."""

    customers: list[LinkedCustomer]
    checkouts: list[SeenCheckout]
    mirrored: list[MirroredSource]
    targets: list[SeenTarget]
    unsettled: list[UnsettledEvent]
    #: Of customers that are nobody's, received since the oldest of ours without a Stripe id was made.
    unlinked: list[UnsettledEvent]
    #: The database's present moment.
    seen_at: datetime


def targets_of(
    customers: Sequence[LinkedCustomer], checkouts: Sequence[SeenCheckout], mirrored: Sequence[MirroredSource]
) -> list[TargetRef]:
    """Everything of a user's that may be synced as one."""
    found = [TargetRef("customer", one.stripe_customer_id) for one in customers if one.stripe_customer_id]
    found += [TargetRef("checkout.session", one.session_id) for one in checkouts if one.session_id]
    found += [TargetRef("subscription", one.object_id) for one in mirrored if one.kind == "subscription"]
    return found


def stripe_links(seen: StripeSide, person: Person) -> list[Link]:
    return [
        _customer(seen),
        _checkout(seen, person),
        _events(seen),
        _sync(seen, person),
        _mirror(seen, person),
    ]


# ── customer ────────────────────────────────────────────────────────────────────────────────────────


def _customer(seen: StripeSide) -> Link:
    unlinked = [one for one in seen.customers if one.stripe_customer_id is None]
    if unlinked:
        return _unlinked_customer(seen, unlinked[0])
    if not seen.customers:
        finding = "has no Stripe customer: never began a checkout here"
        repair = "who paid outside of it is a foreign customer: tollhouse events list --state foreign"
        return Link(name="customer", state="none", finding=finding, repair=repair)
    return Link(name="customer", state="ok", finding="; ".join(_customer_text(one) for one in seen.customers))


def _customer_text(one: LinkedCustomer) -> str:
    kind = "primary" if one.is_primary else "linked"
    deleted = f", deleted in Stripe {one.deleted_at.isoformat()}" if one.deleted_at is not None else ""
    return f"{one.stripe_customer_id} ({kind}{deleted})"


def _unlinked_customer(seen: StripeSide, row: LinkedCustomer) -> Link:
    finding = f"the customer with our reference {row.ref} has no Stripe id: its creation has no known outcome"
    if (seen.seen_at - row.created_at).total_seconds() < WORKED_WITHIN_S:
        return Link(name="customer", state="waiting", finding=finding)
    carrying = [one for one in seen.unlinked if _carries(one, str(row.ref))]
    repair = _requeue(carrying) if carrying else "the user's next checkout finds or creates it"
    return Link(name="customer", state="broken", finding=finding, repair=repair)


def _carries(event: UnsettledEvent, ref: str) -> bool:
    return event.payload is not None and ref.encode() in zlib.decompress(event.payload)


# ── checkout ────────────────────────────────────────────────────────────────────────────────────────


def _checkout(seen: StripeSide, person: Person) -> Link:
    if not seen.checkouts:
        return Link(name="checkout", state="none", finding="began no checkout here")
    newest = seen.checkouts[0]
    finding = f"newest: {_checkout_text(newest)}"
    if newest.status == "open":
        repair = (
            "if Stripe's dashboard shows it paid, its events do not arrive: check the webhook endpoint "
            f"there, then {person.repair}"
        )
        return Link(name="checkout", state="waiting", finding=finding, repair=repair)
    if newest.status == "creating":
        return Link(
            name="checkout", state="none", finding=f"{finding}: the customer never saw a page to pay on"
        )
    return Link(name="checkout", state="ok", finding=finding)


def _checkout_text(one: SeenCheckout) -> str:
    status = one.status if one.payment_status is None else f"{one.status}, {one.payment_status}"
    return f"{one.session_id or 'without a Stripe session'} ({one.mode}, {status})"


# ── events ──────────────────────────────────────────────────────────────────────────────────────────


def _events(seen: StripeSide) -> Link:
    if not seen.targets and not seen.unsettled:
        return Link(name="events", state="none", finding="no event has named this user's objects")
    stuck = [one for one in seen.unsettled if _is_stuck(one)]
    if stuck:
        shown = "; ".join(f"{one.event_id} {one.type} {one.state}: {one.reason}" for one in stuck[:3])
        finding = f"{counted(len(stuck), 'event')} given up or taken for foreign: {shown}"
        return Link(name="events", state="broken", finding=finding, repair=_requeue(stuck))
    pending = [one for one in seen.unsettled if one.state == "pending"]
    if pending:
        finding = f"{counted(len(pending), 'event')} pending, the oldest for {pending[0].age_s:.0f} s"
        return Link(name="events", state="waiting", finding=finding)
    missing = len(seen.unsettled)
    text = f"; of {missing} Stripe did not show the object (object_missing)" if missing else ""
    return Link(name="events", state="ok", finding=f"all that arrived are settled{text}")


def _is_stuck(event: UnsettledEvent) -> bool:
    """What Stripe does not show is nobody's to repair."""
    return event.state == "failed" or (event.state == "foreign" and event.reason != "object_missing")


def _requeue(events: Sequence[UnsettledEvent]) -> str:
    return "tollhouse events requeue " + " ".join(one.event_id for one in events[:NAMED_AT_MOST])


# ── sync ────────────────────────────────────────────────────────────────────────────────────────────


def _sync(seen: StripeSide, person: Person) -> Link:
    if not seen.targets:
        return Link(name="sync", state="none", finding="nothing to sync")
    links = [_target(one, seen, person) for one in seen.targets]
    worst = [one for state in ("broken", "waiting") for one in links if one.state == state]
    return worst[0] if worst else Link(name="sync", state="ok", finding="nothing is owed")


def _target(target: SeenTarget, seen: StripeSide, person: Person) -> Link:
    events = [one for one in seen.unsettled if one.target_ref == target.stripe_id]
    repair = _requeue(events) if events else person.repair
    name = f"{target.kind} {target.stripe_id}"
    if target.state == "dead":
        return _broken(f"{name} is dead: {target.last_error}", repair)
    if target.kind == "customer" and target.owner == "foreign":
        return _broken(f"{name} is linked to this user, and its target is taken for foreign", person.repair)
    if not target.is_owed:
        return Link(name="sync", state="ok", finding=f"{name}: nothing is owed")
    if target.is_leased:
        return Link(name="sync", state="waiting", finding=f"{name} is being worked on")
    if target.due_in_s > 0 and target.last_error is not None:
        due = target.due_at.isoformat() if target.due_at is not None else "now"
        again = f"it is tried again by itself at {due}; what it waits for is in the error"
        return _broken(f"{name} failed {counted(target.attempts, 'time')}: {target.last_error}", again)
    waits_s = max((one.age_s for one in events), default=0.0)
    if target.due_in_s == 0 and waits_s > WORKED_WITHIN_S:
        start = "start a worker and a scheduler (docs/operations.md)"
        return _broken(f"{name} is owed a sync for {waits_s:.0f} s and nobody works on it", start)
    return Link(name="sync", state="waiting", finding=f"{name} is owed a sync")


def _broken(finding: str, repair: str) -> Link:
    return Link(name="sync", state="broken", finding=finding, repair=repair)


# ── mirror ──────────────────────────────────────────────────────────────────────────────────────────


def _mirror(seen: StripeSide, person: Person) -> Link:
    lost = [one for one in seen.checkouts if _is_bought(one) and not _is_mirrored(one, seen.mirrored)]
    if lost:
        finding = f"{_checkout_text(lost[0])}, and the mirror holds nothing of it"
        return Link(name="mirror", state="broken", finding=finding, repair=person.repair)
    if not seen.mirrored:
        return Link(name="mirror", state="none", finding="holds neither subscription nor purchase")
    return Link(name="mirror", state="ok", finding="; ".join(_mirror_text(one) for one in seen.mirrored))


def _is_bought(one: SeenCheckout) -> bool:
    return one.status == "complete" and one.payment_status in {"paid", "no_payment_required"}


def _is_mirrored(checkout: SeenCheckout, mirrored: Sequence[MirroredSource]) -> bool:
    if checkout.mode == "subscription":
        return any(one.kind == "subscription" for one in mirrored)
    return any(one.object_id == checkout.session_id for one in mirrored)


def _mirror_text(one: MirroredSource) -> str:
    status = f" {one.status}" if one.status is not None else ""
    return f"{one.object_id}{status}, read {one.read_at.isoformat(timespec='seconds')}"
