"""What an account page shows beside the facts: what items cost, what is to change, whom the portal is for."""

from collections.abc import Sequence

import msgspec

from domain.model import LinkedCustomer
from domain.money import BilledSubscription, PriceTerms, ScheduledItem
from domain.store.session import Connection

_decode_items = msgspec.json.Decoder(tuple[ScheduledItem, ...]).decode


async def list_billed(connection: Connection, project: str, user_key: int) -> list[BilledSubscription]:
    rows = await connection.fetch(
        """
        SELECT s.stripe_subscription_id, s.stripe_customer_id, s.schedule_id, s.scheduled_at,
               s.scheduled_items::text AS scheduled_items,
               (SELECT i.currency FROM invoices i
                WHERE i.stripe_subscription_id = s.stripe_subscription_id AND i.project = $1
                ORDER BY i.created_at DESC, i.stripe_invoice_id DESC LIMIT 1) AS currency
        FROM subscriptions s WHERE s.project = $1 AND s.user_key = $2 ORDER BY s.stripe_subscription_id
        """,
        project,
        user_key,
    )
    return [
        BilledSubscription(
            subscription_id=row["stripe_subscription_id"],
            customer_id=row["stripe_customer_id"],
            currency=row["currency"],
            schedule_id=row["schedule_id"],
            scheduled_at=row["scheduled_at"],
            scheduled_items=_decode_items(row["scheduled_items"]) if row["scheduled_items"] else (),
        )
        for row in rows
    ]


async def list_item_terms(connection: Connection, project: str, user_key: int) -> dict[str, PriceTerms]:
    """What each subscription item of a user costs, by the item's id; as the subscription was last read."""
    rows = await connection.fetch(
        """
        SELECT i.stripe_item_id, i.price_id, i.product_id, p.plan, p.price, p.revision,
               coalesce(p.is_head, false) AS is_head, m.name AS product_name, i.currency, i.unit_amount_minor,
               i.billing_interval AS interval, i.interval_count
        FROM subscriptions s
        JOIN subscription_items i ON i.stripe_subscription_id = s.stripe_subscription_id
        LEFT JOIN prices p ON p.price_id = i.price_id AND p.project = $1
        LEFT JOIN stripe_products m ON m.product_id = i.product_id AND m.project = $1
        WHERE s.project = $1 AND s.user_key = $2
        """,
        project,
        user_key,
    )
    terms = [dict(row) for row in rows]
    return {row.pop("stripe_item_id"): PriceTerms(**row) for row in terms}


async def list_terms(
    connection: Connection, project: str, prices: Sequence[tuple[str, str]]
) -> dict[str, PriceTerms]:
    """Terms of Stripe prices `(price id, product id)`, by price id; one row for each."""
    rows = await connection.fetch(
        """
        SELECT w.price_id, w.product_id, p.plan, p.price, p.revision, coalesce(p.is_head, false) AS is_head,
               m.name AS product_name, t.currency, t.unit_amount_minor, t.billing_interval AS interval,
               t.interval_count
        FROM unnest($2::text[], $3::text[]) AS w(price_id, product_id)
        LEFT JOIN prices p ON p.price_id = w.price_id AND p.project = $1
        LEFT JOIN stripe_products m ON m.product_id = w.product_id AND m.project = $1
        LEFT JOIN stripe_prices t ON t.price_id = w.price_id AND t.project = $1
        """,
        project,
        [price_id for price_id, _ in prices],
        [product_id for _, product_id in prices],
    )
    return {row["price_id"]: PriceTerms(**row) for row in rows}


async def list_linked(connection: Connection, project: str, user_key: int) -> list[LinkedCustomer]:
    """The user's customers that Stripe has answered for, oldest first."""
    rows = await connection.fetch(
        """
        SELECT c.stripe_customer_id AS customer_id, c.is_primary, c.deleted_at IS NOT NULL AS is_deleted,
               EXISTS (SELECT FROM subscriptions s
                       WHERE s.user_key = $2 AND s.stripe_customer_id = c.stripe_customer_id
                         AND s.status NOT IN ('canceled', 'incomplete', 'incomplete_expired'))
                   AS is_subscribed,
               EXISTS (SELECT FROM subscriptions s
                       WHERE s.user_key = $2 AND s.stripe_customer_id = c.stripe_customer_id)
               OR EXISTS (SELECT FROM purchases b
                          WHERE b.user_key = $2 AND b.stripe_customer_id = c.stripe_customer_id)
               OR EXISTS (SELECT FROM invoices i
                          WHERE i.user_key = $2 AND i.stripe_customer_id = c.stripe_customer_id)
                   AS has_history
        FROM stripe_customers c
        WHERE c.project = $1 AND c.user_key = $2 AND c.stripe_customer_id IS NOT NULL
        ORDER BY c.created_at, c.ref
        """,
        project,
        user_key,
    )
    return [LinkedCustomer(**row) for row in rows]


async def list_head_prices(
    connection: Connection, project: str, plans: Sequence[str]
) -> dict[tuple[str, str], str]:
    """The Stripe price that is sold now, by (plan, price); those not in Stripe yet are absent."""
    rows = await connection.fetch(
        "SELECT plan, price, price_id FROM prices WHERE project = $1 AND plan = ANY($2::text[]) AND is_head",
        project,
        list(plans),
    )
    return {(row["plan"], row["price"]): row["price_id"] for row in rows}
