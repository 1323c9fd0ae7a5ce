"""Records: the facts of a user, and what an account or pricing page shows beside them, from the mirror."""

from collections.abc import Mapping

import msgspec

from domain.flows.gather_facts import gather_facts
from domain.model import Facts
from domain.money import BilledSubscription, BoughtLine, Invoice, PriceTerms
from domain.rules.billing import Records, is_payment_failing
from domain.store import billing, facts, money
from domain.store.session import Connection

#: Statuses in which Stripe lets a change wait for its payment.
CHANGEABLE = frozenset({"active", "trialing"})


async def gather_records(connection: Connection, project: str, user_key: int) -> Records:
    """Everything of one user; in one snapshot, so that subscription and invoice fit together."""
    known = await gather_facts(connection, project, user_key)
    billed = await billing.list_billed(connection, project, user_key) if known.subscriptions else []
    awaited = await _awaited(connection, project, user_key, known)
    return Records(
        facts=known,
        billed={one.subscription_id: one for one in billed},
        terms=await billing.list_item_terms(connection, project, user_key) if billed else {},
        scheduled_terms=await _coming_terms(connection, project, billed, awaited),
        bought=await _bought(connection, project, user_key) if known.purchases else {},
        invoices=await _unpaid(connection, project, user_key, known),
        awaited=awaited,
    )


async def _awaited(connection: Connection, project: str, user_key: int, known: Facts) -> dict[str, Invoice]:
    """Of the subscriptions that are in order: where payment fails, the change has happened already."""
    sound = [
        one.subscription_id
        for one in known.subscriptions
        if one.status in CHANGEABLE and not is_payment_failing(one)
    ]
    found = await money.list_awaited(connection, project, user_key, sound) if sound else []
    lines = await money.list_lines(connection, project, [one.invoice_id for one in found]) if found else {}
    return {
        one.subscription_id: msgspec.structs.replace(one, lines=tuple(lines.get(one.invoice_id, ())))
        for one in found
        if one.subscription_id is not None
    }


async def _coming_terms(
    connection: Connection, project: str, billed: list[BilledSubscription], awaited: Mapping[str, Invoice]
) -> dict[str, PriceTerms]:
    prices = {(item.price_id, item.product_id) for one in billed for item in one.scheduled_items}
    prices |= {
        (line.price_id, line.product_id)
        for invoice in awaited.values()
        for line in invoice.lines
        if line.price_id is not None and line.product_id is not None
    }
    return await billing.list_terms(connection, project, sorted(prices)) if prices else {}


async def _bought(connection: Connection, project: str, user_key: int) -> dict[str, BoughtLine]:
    bought = await facts.list_purchases(connection, project, user_key)
    return {one.purchase.purchase_id: one for one in bought}


async def _unpaid(connection: Connection, project: str, user_key: int, known: Facts) -> list[Invoice]:
    failing = [one.subscription_id for one in known.subscriptions if is_payment_failing(one)]
    return await money.list_invoices(connection, project, user_key, failing) if failing else []
