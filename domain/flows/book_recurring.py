"""What a user's subscriptions come to a month, kept as a history: whoever recomputes a user writes it."""

from datetime import datetime

from domain.model import Facts
from domain.rules.catalog import Catalog
from domain.rules.recurring import common_divisor, recurring_parts
from domain.store import recurring
from domain.store.customers import LockedUser
from domain.store.recurring import SumRow
from domain.store.session import Connection


async def book_recurring(
    connection: Connection, user: LockedUser, facts: Facts, catalog: Catalog, now: datetime
) -> None:
    """End what no longer holds and begin what does, for each currency in which anything is different."""
    if not facts.subscriptions:
        return
    items = await recurring.list_items(connection, user.project, user.user_key)
    parts = recurring_parts(facts.subscriptions, items, catalog, now)
    wanted: dict[str, set[SumRow]] = {}
    for currency in {part.currency for part in parts}:
        mine = [part for part in parts if part.currency == currency]
        divisor = common_divisor(mine)
        wanted[currency] = {
            SumRow(
                currency=currency,
                plan=part.plan,
                app=part.app,
                standing=part.standing,
                monthly=int(part.monthly * divisor),
                divisor=divisor,
                subscriptions=part.subscriptions,
                is_counted=part.is_counted,
            )
            for part in mine
        }
    known = await recurring.list_open(connection, user.project, user.user_key)
    changed = [one for one in sorted(wanted.keys() | known) if wanted.get(one) != known.get(one)]
    if changed:
        rows = [row for currency in changed for row in wanted.get(currency, ())]
        oldest = min(one.created_at for one in facts.subscriptions)
        await recurring.replace_open(connection, user.project, user.user_key, changed, rows, now, oldest)
