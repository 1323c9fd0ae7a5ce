"""Records: the facts of a user, and what an account or pricing page shows beside them, from the mirror."""

from domain.flows.gather_facts import gather_facts
from domain.model import Facts
from domain.money import BilledSubscription, BoughtLine, Invoice, PriceTerms
from domain.rules.billing import Records, is_payment_failing
from domain.store import billing, facts, money
from domain.store.session import Connection


async def gather_records(connection: Connection, project: str, user_key: int) -> Records:
    """Everything of one user; in one snapshot, so that subscription and invoice fit together."""
    known = await gather_facts(connection, project, user_key)
    billed = await billing.list_billed(connection, project, user_key) if known.subscriptions else []
    return Records(
        facts=known,
        billed={one.subscription_id: one for one in billed},
        terms=await billing.list_item_terms(connection, project, user_key) if billed else {},
        scheduled_terms=await _scheduled_terms(connection, project, billed),
        bought=await _bought(connection, project, user_key) if known.purchases else {},
        invoices=await _unpaid(connection, project, user_key, known),
    )


async def _scheduled_terms(
    connection: Connection, project: str, billed: list[BilledSubscription]
) -> dict[str, PriceTerms]:
    prices = {(item.price_id, item.product_id) for one in billed for item in one.scheduled_items}
    return await billing.list_terms(connection, project, sorted(prices)) if prices else {}


async def _bought(connection: Connection, project: str, user_key: int) -> dict[str, BoughtLine]:
    bought = await facts.list_purchases(connection, project, user_key)
    return {one.purchase.purchase_id: one for one in bought}


async def _unpaid(connection: Connection, project: str, user_key: int, known: Facts) -> list[Invoice]:
    failing = [one.subscription_id for one in known.subscriptions if is_payment_failing(one)]
    return await money.list_invoices(connection, project, user_key, failing) if failing else []
