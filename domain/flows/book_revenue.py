"""Entries of revenue follow from the mirror: the transaction that writes payments books them."""

from collections.abc import Sequence

import msgspec

from domain.flows.fetch import Fetched
from domain.flows.read_catalog import find_version_at
from domain.money import Entry, Payment, Taken
from domain.rules.revenue import entries_of
from domain.store import revenue
from domain.store.money import Holder
from domain.store.session import Connection


async def book_revenue(connection: Connection, holder: Holder, fetched: Fetched) -> None:
    """Write what the payments that were read, and what was taken of them, come to for each app."""
    charges = {
        *fetched.charges,
        *(one.charge_id for one in fetched.refunds.values()),
        *(one.charge_id for one in fetched.disputes.values()),
        *(one.charge_id for one in fetched.invoice_payments.values() if one.charge_id),
    }
    intents = {
        *(one.payment_intent_id for one in fetched.invoice_payments.values() if one.payment_intent_id),
        *(one.payment_intent_id for one in fetched.sessions.values() if one.payment_intent_id),
    }
    if charges or intents:
        await _book(connection, holder, sorted(charges), sorted(intents))


async def _book(
    connection: Connection, holder: Holder, charges: Sequence[str], intents: Sequence[str]
) -> None:
    whose = (holder.project, holder.user_key)
    payments = await revenue.list_payments(connection, *whose, charges, intents)
    paid = [payment.charge_id for payment in payments]
    if not paid:
        return
    sold = await revenue.list_sold(connection, *whose, paid)
    taken = await revenue.list_taken(connection, *whose, paid)
    entries: list[Entry] = []
    for payment in payments:
        lines = tuple(sold.get(payment.charge_id, ()))
        whole = msgspec.structs.replace(payment, lines=lines)
        entries += await _entries(connection, holder.project, whole, taken.get(payment.charge_id, ()))
    await revenue.replace_entries(connection, *whose, paid, entries)


async def _entries(
    connection: Connection, project: str, payment: Payment, taken: Sequence[Taken]
) -> list[Entry]:
    """By the weights that were in force when it was paid, so that another catalog changes no closed month."""
    version = await find_version_at(connection, project, payment.paid_at)
    return [] if version is None else entries_of(payment, taken, version.catalog)
