"""Compare objects that Stripe has shown with the mirror: one function per kind, for pages and second looks.

Each takes Stripe's answers as they came and reads the mirror once for all of them. An object whose customer
has events that wait is left alone: what differs is what they announce.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from domain.errors import Broken
from domain.flows.reconcile.look import Account, Answer, Look, Scope, suspect_of
from domain.flows.reconcile.strangers import judge_stranger
from domain.model import Counts
from domain.rules import drift
from domain.rules.drift import Difference
from domain.rules.shapes import (
    parse_dispute,
    parse_invoice,
    parse_refund,
    parse_session,
    parse_subscription,
    purchases_of_invoice,
)
from domain.store import compared
from domain.store.session import Connection
from domain.telemetry import get_logger

log = get_logger()

Compare = Callable[[Account, Scope, Sequence[Answer]], Awaitable[Look]]

#: What a read of one object, or of a list of its kind, has to show for its comparison.
EXPANDED: dict[str, tuple[str, ...]] = {
    "subscription": ("customer",),
    "checkout.session": ("customer", "line_items", "payment_intent.latest_charge"),
    "refund": ("charge",),
    "dispute": ("charge",),
    "invoice": (),
}
PATHS = {
    "subscription": "/v1/subscriptions",
    "checkout.session": "/v1/checkout/sessions",
    "refund": "/v1/refunds",
    "dispute": "/v1/disputes",
    "invoice": "/v1/invoices",
}


async def compare(account: Account, scope: Scope, kind: str, answers: Sequence[Answer]) -> Look:
    """What of these objects of one kind differs from the mirror."""
    customers_of = {str(one["id"]): _customer_of(kind, one) for one in answers}
    wanted = sorted({customer for customer in customers_of.values() if customer is not None})
    whole = [await _whole(account, kind, one) for one in answers]
    async with account.context.database.snapshot() as connection:
        known = await compared.find_customers(connection, wanted)
        ours = [
            (one, known[customer])
            for one in whole
            if (customer := customers_of[str(one["id"])]) is not None
            and customer in known
            and not known[customer].is_erased
        ]
        covered = [(one, customer) for one, customer in ours if scope.covers(customer)]
        ready = [one for one, customer in covered if not customer.is_pending]
        found = await _differences(connection, kind, ready)
        strangers = [
            suspect
            for one in whole
            if scope.user_key is None and customers_of[str(one["id"])] not in known
            for suspect in await judge_stranger(connection, scope, kind, one)
        ]
    suspects = [
        suspect_of(
            difference,
            kind,
            object_id,
            customer_id=customers_of[object_id],
            customer=known[customers_of[object_id] or ""],
        )
        for object_id, difference in found
    ]
    return Look(
        suspects=(*suspects, *strangers),
        seen=tuple((kind, str(one["id"])) for one, _ in covered),
        counts=Counts(
            compared=len(covered),
            pending=len(covered) - len(ready),
            foreign=len(answers) - len(ours),
        ),
    )


async def _differences(
    connection: Connection, kind: str, answers: Sequence[Answer]
) -> list[tuple[str, Difference]]:
    """One that cannot be understood is passed over: its own events say so, and set it aside."""
    try:
        return await _DIFFERENCES[kind](connection, answers)
    except Broken as error:
        if len(answers) == 1:
            log.warning("reconcile_object_unreadable", object_id=answers[0]["id"], error=error.detail)
            return []
    return [found for one in answers for found in await _differences(connection, kind, [one])]


def _customer_of(kind: str, answer: Answer) -> str | None:
    """Refunds and disputes name none: their charge does."""
    shown = answer.get("charge") if kind in {"refund", "dispute"} else answer
    customer = shown.get("customer") if isinstance(shown, Mapping) else None
    return str(customer["id"]) if isinstance(customer, Mapping) else customer


async def _whole(account: Account, kind: str, answer: Answer) -> Answer:
    """Stripe nests ten of a subscription's items and of a session's lines; the rest has a list of its own."""
    nested, path, params = {
        "subscription": ("items", "/v1/subscription_items", {"subscription": answer["id"]}),
        "checkout.session": ("line_items", f"/v1/checkout/sessions/{answer['id']}/line_items", {}),
        "invoice": ("lines", f"/v1/invoices/{answer['id']}/lines", {}),
    }.get(kind, (None, "", {}))
    if nested is None or not answer[nested].get("has_more"):
        return answer
    return {**answer, nested: {"data": await account.read_all(path, **params)}}


Differences = Callable[[Connection, Sequence[Answer]], Awaitable[list[tuple[str, Difference]]]]


async def _of_subscriptions(
    connection: Connection, answers: Sequence[Answer]
) -> list[tuple[str, Difference]]:
    mirrored = await compared.find_subscriptions(connection, [str(one["id"]) for one in answers])
    found = []
    for one in answers:
        read = parse_subscription(dict(one))
        row = mirrored.get(read.subscription.subscription_id)
        differences = drift.compare_subscription(
            read.subscription,
            read.customer_id,
            row.subscription if row is not None else None,
            row.customer_id if row is not None else None,
        )
        found += [(read.subscription.subscription_id, difference) for difference in differences]
    return found


async def _of_sessions(connection: Connection, answers: Sequence[Answer]) -> list[tuple[str, Difference]]:
    ids = [str(one["id"]) for one in answers]
    bought = await compared.find_purchase_ids(connection, ids)
    states = await compared.find_states(connection, "checkout.session", ids)
    found: list[tuple[str, Difference]] = []
    for one in answers:
        read = parse_session(dict(one), one["line_items"]["data"])
        expected = [line.purchase.purchase_id for line in read.purchases]
        differences = drift.compare_purchases(expected, bought.get(read.session_id, ()))
        # A session that we did not open has no row.
        if read.session_id in states:
            state = {"status": read.status, "payment_status": read.payment_status}
            differences += drift.compare_state("stale_checkout", state, states[read.session_id])
        found += [(read.session_id, difference) for difference in differences]
    return found


async def _of_invoices(connection: Connection, answers: Sequence[Answer]) -> list[tuple[str, Difference]]:
    ids = [str(one["id"]) for one in answers]
    bought = await compared.find_purchase_ids(connection, ids)
    states = await compared.find_states(connection, "invoice", ids)
    found: list[tuple[str, Difference]] = []
    for one in answers:
        read = parse_invoice(dict(one))
        expected = [line.purchase.purchase_id for line in purchases_of_invoice(read)]
        differences = drift.compare_purchases(expected, bought.get(read.invoice_id, ()))
        differences += drift.compare_state(
            "stale_invoice", drift.state_of_invoice(read), states.get(read.invoice_id)
        )
        found += [(read.invoice_id, difference) for difference in differences]
    return found


async def _of_refunds(connection: Connection, answers: Sequence[Answer]) -> list[tuple[str, Difference]]:
    return await _of_states(
        connection,
        "refund",
        [(str(one["id"]), drift.state_of_refund(parse_refund(_plain(one)))) for one in answers],
    )


async def _of_disputes(connection: Connection, answers: Sequence[Answer]) -> list[tuple[str, Difference]]:
    return await _of_states(
        connection,
        "dispute",
        [(str(one["id"]), drift.state_of_dispute(parse_dispute(_plain(one)))) for one in answers],
    )


def _plain(answer: Answer) -> dict[str, Any]:
    """With the charge as an id, as it is without `expand`."""
    charge = answer.get("charge")
    return {**answer, "charge": charge["id"] if isinstance(charge, Mapping) else charge}


async def _of_states(
    connection: Connection, kind: str, read: Sequence[tuple[str, dict[str, Any]]]
) -> list[tuple[str, Difference]]:
    states = await compared.find_states(connection, kind, [object_id for object_id, _ in read])
    return [
        (object_id, difference)
        for object_id, state in read
        for difference in drift.compare_state(f"stale_{kind}", state, states.get(object_id))
    ]


_DIFFERENCES: dict[str, Differences] = {
    "subscription": _of_subscriptions,
    "checkout.session": _of_sessions,
    "invoice": _of_invoices,
    "refund": _of_refunds,
    "dispute": _of_disputes,
}


async def read_one(account: Account, kind: str, object_id: str) -> Answer:
    """One object as `compare` wants it. Raises: ObjectMissing, Throttled, Unavailable."""
    if kind not in PATHS:
        raise Broken(f"{kind} is not compared")
    expand = list(EXPANDED[kind])
    return await account.read(f"{PATHS[kind]}/{object_id}", **({"expand": expand} if expand else {}))
