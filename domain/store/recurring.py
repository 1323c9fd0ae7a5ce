"""What subscriptions come to a month: their terms in the mirror, and the history of each user's sums."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from domain.money import Discount, RecurringItem
from domain.store.session import Connection, Record

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[Discount, ...]).decode


class SumRow(Struct, frozen=True, kw_only=True):
    """A part of what one user's subscriptions come to, `monthly / divisor` minor units a month."""

    currency: str
    plan: str
    app: str
    standing: str
    monthly: int
    divisor: int
    subscriptions: int
    is_counted: bool


async def write_terms(
    connection: Connection,
    subscription_id: str,
    currency: str | None,
    discounts: Sequence[Discount],
    items: Mapping[str, tuple[str | None, Sequence[Discount]]],
) -> None:
    """What a mirrored subscription comes to; `items`: item id → (charged unit, discounts)."""
    await connection.execute(
        """
        WITH own AS (
            UPDATE subscriptions SET currency = $2, discounts = $3::json WHERE stripe_subscription_id = $1
        )
        UPDATE subscription_items i SET charged_unit = t.unit, discounts = t.discounts::json
        FROM unnest($4::text[], $5::text[], $6::text[]) AS t(id, unit, discounts)
        WHERE i.stripe_item_id = t.id AND i.stripe_subscription_id = $1
        """,
        subscription_id,
        currency,
        _written(discounts),
        list(items),
        [unit for unit, _ in items.values()],
        [_written(of_item) for _, of_item in items.values()],
    )


async def list_items(connection: Connection, project: str, user_key: int) -> dict[str, RecurringItem]:
    """The items of a user's subscriptions whose currency was read, by item id."""
    rows = await connection.fetch(
        """
        SELECT i.stripe_item_id AS item_id, i.price_id, i.product_id, i.quantity, s.currency, i.charged_unit,
               i.billing_interval AS interval, i.interval_count, i.discounts::text AS discounts,
               s.discounts::text AS subscription_discounts
        FROM subscriptions s
        JOIN subscription_items i ON i.stripe_subscription_id = s.stripe_subscription_id
        WHERE s.project = $1 AND s.user_key = $2 AND s.currency IS NOT NULL ORDER BY i.stripe_item_id
        """,
        project,
        user_key,
    )
    return {row["item_id"]: _item(row) for row in rows}


async def list_open(connection: Connection, project: str, user_key: int) -> dict[str, set[SumRow]]:
    """What holds at present, by currency."""
    rows = await connection.fetch(
        """
        SELECT currency, plan, app, standing, monthly::text AS monthly, divisor::text AS divisor,
               subscriptions, is_counted
        FROM recurring_sums WHERE project = $1 AND user_key = $2 AND ends_at IS NULL
        """,
        project,
        user_key,
    )
    found: dict[str, set[SumRow]] = {}
    for row in rows:
        values = {**dict(row), "monthly": int(row["monthly"]), "divisor": int(row["divisor"])}
        found.setdefault(row["currency"], set()).add(SumRow(**values))
    return found


async def replace_open(
    connection: Connection,
    project: str,
    user_key: int,
    currencies: Sequence[str],
    rows: Sequence[SumRow],
    at: datetime,
    oldest: datetime,
) -> None:
    """From `at` on these rows hold in these currencies; what began at `at` itself has never held.

    All that is open of a currency ends, what stays the same too: `store/recurring_sums` relies on it.
    `oldest`: when the first subscription was made; before the user was ours, it is an import.
    """
    await connection.execute(
        """
        WITH ended AS (
            UPDATE recurring_sums SET ends_at = $4
            WHERE project = $1 AND user_key = $2 AND currency = ANY($3::text[]) AND ends_at IS NULL
              AND begins_at < $4
        ), never AS (
            DELETE FROM recurring_sums
            WHERE project = $1 AND user_key = $2 AND currency = ANY($3::text[]) AND ends_at IS NULL
              AND begins_at >= $4
        )
        INSERT INTO recurring_sums
            (project, user_key, currency, plan, app, standing, monthly, divisor, subscriptions, is_counted,
             is_import, begins_at)
        SELECT $1, $2, r.currency, r.plan, r.app, r.standing, r.monthly::numeric, r.divisor::numeric,
               r.subscriptions, r.is_counted,
               u.clock_at IS NULL AND $5 < u.created_at - interval '1 minute', $4
        FROM users u, unnest($6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
                             $12::int[], $13::boolean[])
             AS r(currency, plan, app, standing, monthly, divisor, subscriptions, is_counted)
        WHERE u.user_key = $2
        """,
        project,
        user_key,
        list(currencies),
        at,
        oldest,
        [row.currency for row in rows],
        [row.plan for row in rows],
        [row.app for row in rows],
        [row.standing for row in rows],
        [str(row.monthly) for row in rows],
        [str(row.divisor) for row in rows],
        [row.subscriptions for row in rows],
        [row.is_counted for row in rows],
    )


def _written(discounts: Sequence[Discount]) -> str | None:
    return _encode(discounts).decode() if discounts else None


def _item(row: Record) -> RecurringItem:
    values = dict(row)
    for name in ("discounts", "subscription_discounts"):
        values[name] = _decode(values[name]) if values[name] else ()
    return RecurringItem(**values)
