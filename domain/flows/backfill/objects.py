"""The stages that take what customers have: one page of a list of Stripe's, as it was read."""

from collections.abc import Mapping as Mapped
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from msgspec import Struct

from domain.flows.backfill.stages import OBJECTS
from domain.flows.backfill.step import Step, Taken
from domain.flows.backfill.write import Part, count_left, write_parts
from domain.flows.fetch import PARTS, Fetched
from domain.flows.fetch.everything import List
from domain.flows.fetch.reading import Reading, gather
from domain.flows.reconcile.look import Account, Answer
from domain.store import import_customers, list_pages
from domain.store.imports import ImportCounts
from domain.stripe_gateway import PAGE


class ReadPage(Struct, frozen=True, kw_only=True):
    stage: str
    #: Before Stripe was asked, by the database's clock.
    read_at: datetime
    answers: list[Answer]
    #: Last id of the page; None: it is the last page.
    cursor: str | None


async def take_objects(step: Step) -> Taken:
    """One page of the stage's list; objects of customers that are not this project's are passed over."""
    page = await read_page(step.account, step.row.stage, step.row.cursor)
    ours = await _of_project(step, page.answers)
    fetched = await take_page(step.account, OBJECTS[page.stage], ours)
    parts = split(fetched, OBJECTS[page.stage].object_kind, ours)
    owed = await write_parts(step, parts, page.read_at)
    left = await count_left(step) if page.cursor is None else 0
    return Taken(
        cursor=page.cursor,
        counts=ImportCounts(objects=len(ours), left_to_sync=left),
        share=_share(step, page),
        owed=owed,
    )


def _share(step: Step, page: ReadPage) -> float | None:
    """Lists go back in time, to the oldest customer: nobody bought anything before."""
    oldest, began = step.row.counts.oldest, step.row.started_at.timestamp()
    reached = page.answers[-1].get("created") if page.answers else None
    if oldest is None or began <= oldest or not isinstance(reached, int):
        return None
    return min(1.0, max(0.0, (began - reached) / (began - oldest)))


async def read_page(account: Account, stage: str, cursor: str | None) -> ReadPage:
    listed = OBJECTS[stage]
    async with account.context.database.connection() as connection:
        read_at = await list_pages.read_clock(connection)
    after = {"starting_after": cursor} if cursor else {}
    page = await account.read(listed.path, limit=PAGE, **listed.params, **after)
    answers: list[Answer] = page["data"]
    return ReadPage(
        stage=stage,
        read_at=read_at,
        answers=answers,
        cursor=str(answers[-1]["id"]) if page.get("has_more") and answers else None,
    )


async def _of_project(step: Step, answers: Sequence[Answer]) -> list[Answer]:
    ids = sorted({customer for one in answers if (customer := customer_of(one)) is not None})
    async with step.context.database.connection() as connection:
        owners = await import_customers.list_owners(connection, ids)
    mine = {
        customer_id
        for customer_id, owner in owners.items()
        if owner.project == step.row.project and not owner.is_erased
    }
    return [one for one in answers if customer_of(one) in mine]


def customer_of(answer: Answer) -> str | None:
    customer = answer.get("customer")
    return str(customer["id"]) if isinstance(customer, Mapped) else customer


async def take_page(account: Account, listed: List, answers: Sequence[Answer]) -> Fetched:
    """The objects in the shapes of a sync; only what a list cannot show is read besides, of a few."""
    reading = Reading(
        account.context.stripe_or_raise,
        account.reserve,
        # The list of invoices was taken before that of subscriptions.
        {**PARTS, "subscription_invoices": _is_taken},
    )
    try:
        await gather(
            reading.guard((listed.object_kind, str(one["id"])), partial(listed.take, reading, dict(one)))
            for one in answers
        )
    finally:
        await reading.end()
    return reading.fetched


async def _is_taken(_reading: Reading, _stripe_id: str) -> None:
    """Nothing is left to read."""


def split(fetched: Fetched, kind: str, answers: Sequence[Answer]) -> list[Part]:
    """What was read, by customer; a customer with an object that cannot be understood is a sync's."""
    ids = sorted({customer for one in answers if (customer := customer_of(one)) is not None})
    broken = {customer_of(one) for one in answers if fetched.error_of((kind, str(one["id"]))) is not None}
    held = {one: Fetched(watched=fetched.watched) for one in ids}
    _share_out(fetched, held)
    return [Part(customer_id=one, fetched=held[one], is_broken=one in broken) for one in ids]


def _share_out(fetched: Fetched, held: Mapped[str, Fetched]) -> None:
    """Each object to its customer's; payments, refunds and disputes by what they are of."""
    for key, subscription in fetched.subscriptions.items():
        if subscription.customer_id in held:
            held[subscription.customer_id].subscriptions[key] = subscription
    for key, session in fetched.sessions.items():
        if session.customer_id is not None and session.customer_id in held:
            held[session.customer_id].sessions[key] = session
    for key, invoice in fetched.invoices.items():
        if invoice.customer_id in held:
            held[invoice.customer_id].invoices[key] = invoice
    for key, charge in fetched.charges.items():
        if charge.customer_id is not None and charge.customer_id in held:
            held[charge.customer_id].charges[key] = charge
    owner_of = {key: one for one in held.values() for key in (*one.invoices, *one.charges)}
    for key, payment in fetched.invoice_payments.items():
        if payment.invoice_id in owner_of:
            owner_of[payment.invoice_id].invoice_payments[key] = payment
    for key, refund in fetched.refunds.items():
        if refund.charge_id in owner_of:
            owner_of[refund.charge_id].refunds[key] = refund
    for key, dispute in fetched.disputes.items():
        if dispute.charge_id in owner_of:
            owner_of[dispute.charge_id].disputes[key] = dispute
