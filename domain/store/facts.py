"""What can give a user access, from the mirror: each source in a fixed order."""

from collections.abc import Sequence

from domain.model import Purchase, Subscription, SubscriptionItem
from domain.money import BoughtLine
from domain.store.session import Connection, Record


async def list_subscriptions(connection: Connection, project: str, user_key: int) -> list[Subscription]:
    """Subscriptions with their items; what their invoices say is not in them yet."""
    subscriptions = await connection.fetch(
        """
        SELECT stripe_subscription_id, status, created_at, trial_end, cancel_at, cancel_at_period_end,
               ended_at, pause_behavior, pause_cause, last_known_status, unknown_since
        FROM subscriptions WHERE project = $1 AND user_key = $2
        ORDER BY created_at, stripe_subscription_id
        """,
        project,
        user_key,
    )
    items = await connection.fetch(
        """
        SELECT i.stripe_item_id, i.stripe_subscription_id, i.price_id, i.product_id, i.quantity,
               i.period_start, i.period_end, p.price AS price_key, p.revision
        FROM subscriptions s
        JOIN subscription_items i ON i.stripe_subscription_id = s.stripe_subscription_id
        LEFT JOIN prices p ON p.price_id = i.price_id AND p.project = $1
        WHERE s.project = $1 AND s.user_key = $2 ORDER BY i.stripe_item_id
        """,
        project,
        user_key,
    )
    return [_subscription(row, items) for row in subscriptions]


async def list_purchases(connection: Connection, project: str, user_key: int) -> list[BoughtLine]:
    """Paid one-time lines; what was given back of them is not in them yet."""
    rows = await connection.fetch(
        """
        SELECT b.purchase_id, b.object_id, b.price_id, b.product_id, b.quantity, b.paid_at,
               b.captured_minor, p.price AS price_key, p.revision, b.currency, b.payment_intent_id,
               b.stripe_invoice_id
        FROM purchases b LEFT JOIN prices p ON p.price_id = b.price_id AND p.project = $1
        WHERE b.project = $1 AND b.user_key = $2 ORDER BY b.paid_at, b.purchase_id
        """,
        project,
        user_key,
    )
    return [_bought(row) for row in rows]


def _subscription(row: Record, items: Sequence[Record]) -> Subscription:
    return Subscription(
        subscription_id=row["stripe_subscription_id"],
        status=row["status"],
        created_at=row["created_at"],
        trial_end=row["trial_end"],
        cancel_at=row["cancel_at"],
        cancel_at_period_end=row["cancel_at_period_end"],
        ended_at=row["ended_at"],
        pause_behavior=row["pause_behavior"],
        pause_cause=row["pause_cause"],
        last_known_status=row["last_known_status"],
        unknown_since=row["unknown_since"],
        items=tuple(
            _item(item) for item in items if item["stripe_subscription_id"] == row["stripe_subscription_id"]
        ),
    )


def _item(row: Record) -> SubscriptionItem:
    return SubscriptionItem(
        item_id=row["stripe_item_id"],
        price_id=row["price_id"],
        product_id=row["product_id"],
        price_key=row["price_key"],
        revision=row["revision"],
        quantity=row["quantity"],
        period_start=row["period_start"],
        period_end=row["period_end"],
    )


def _bought(row: Record) -> BoughtLine:
    return BoughtLine(
        currency=row["currency"],
        payment_intent_id=row["payment_intent_id"],
        invoice_id=row["stripe_invoice_id"],
        purchase=_purchase(row),
    )


def _purchase(row: Record) -> Purchase:
    return Purchase(
        purchase_id=row["purchase_id"],
        object_id=row["object_id"],
        price_id=row["price_id"],
        product_id=row["product_id"],
        price_key=row["price_key"],
        revision=row["revision"],
        quantity=row["quantity"],
        paid_at=row["paid_at"],
        captured_minor=row["captured_minor"],
    )
