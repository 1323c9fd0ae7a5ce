"""The mirror: our copy of Stripe's objects as last read, and the facts of a user taken from it.

One writer per object: only a run of the customer that owns it writes its row (docs/event-path.md).
"""

from collections.abc import Sequence
from datetime import datetime

from domain.model import Facts, Purchase, Subscription, SubscriptionItem
from domain.store import grants
from domain.store.session import Connection, Record


async def upsert_subscription(
    connection: Connection,
    *,
    project: str,
    user_key: int,
    customer_id: str,
    subscription: Subscription,
    pause_resumes_at: datetime | None,
    known_statuses: Sequence[str],
) -> None:
    """Write one subscription as read now. An unknown status keeps the last known one and since when."""
    await connection.execute(
        """
        INSERT INTO subscriptions AS s
            (stripe_subscription_id, project, user_key, stripe_customer_id, status, created_at, trial_end,
             cancel_at, cancel_at_period_end, ended_at, pause_behavior, pause_resumes_at, pause_cause,
             last_known_status, unknown_since)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
                CASE WHEN $5 = ANY($14::text[]) THEN $5 END,
                CASE WHEN $5 = ANY($14::text[]) THEN NULL ELSE clock_timestamp() END)
        ON CONFLICT (stripe_subscription_id) DO UPDATE SET
            project = excluded.project, user_key = excluded.user_key,
            stripe_customer_id = excluded.stripe_customer_id, status = excluded.status,
            created_at = excluded.created_at, trial_end = excluded.trial_end, cancel_at = excluded.cancel_at,
            cancel_at_period_end = excluded.cancel_at_period_end, ended_at = excluded.ended_at,
            pause_behavior = excluded.pause_behavior, pause_resumes_at = excluded.pause_resumes_at,
            pause_cause = excluded.pause_cause,
            last_known_status = coalesce(excluded.last_known_status, s.last_known_status),
            unknown_since = CASE WHEN excluded.unknown_since IS NULL THEN NULL
                                 ELSE coalesce(s.unknown_since, excluded.unknown_since) END,
            read_at = clock_timestamp()
        """,
        subscription.subscription_id,
        project,
        user_key,
        customer_id,
        subscription.status,
        subscription.created_at,
        subscription.trial_end,
        subscription.cancel_at,
        subscription.cancel_at_period_end,
        subscription.ended_at,
        subscription.pause_behavior,
        pause_resumes_at,
        subscription.pause_cause,
        list(known_statuses),
    )
    await _replace_items(connection, project, subscription)


async def _replace_items(connection: Connection, project: str, subscription: Subscription) -> None:
    items = subscription.items
    await connection.execute(
        """
        DELETE FROM subscription_items
        WHERE stripe_subscription_id = $1 AND NOT stripe_item_id = ANY($2::text[])
        """,
        subscription.subscription_id,
        [item.item_id for item in items],
    )
    await connection.execute(
        """
        INSERT INTO subscription_items
            (stripe_item_id, stripe_subscription_id, project, price_id, product_id, quantity, period_start,
             period_end)
        SELECT i.id, $1, $2, i.price_id, i.product_id, i.quantity, i.period_start, i.period_end
        FROM unnest($3::text[], $4::text[], $5::text[], $6::bigint[], $7::timestamptz[], $8::timestamptz[])
             AS i(id, price_id, product_id, quantity, period_start, period_end)
        ON CONFLICT (stripe_item_id) DO UPDATE SET
            stripe_subscription_id = excluded.stripe_subscription_id, project = excluded.project,
            price_id = excluded.price_id, product_id = excluded.product_id, quantity = excluded.quantity,
            period_start = excluded.period_start, period_end = excluded.period_end
        """,
        subscription.subscription_id,
        project,
        [item.item_id for item in items],
        [item.price_id for item in items],
        [item.product_id for item in items],
        [item.quantity for item in items],
        [item.period_start for item in items],
        [item.period_end for item in items],
    )


async def upsert_purchase(
    connection: Connection,
    *,
    project: str,
    user_key: int,
    customer_id: str,
    object_kind: str,
    purchase: Purchase,
    currency: str,
) -> None:
    """Write one paid line as read now; `paid_at` stays what it was when the line was first seen paid."""
    await connection.execute(
        """
        INSERT INTO purchases
            (purchase_id, project, user_key, stripe_customer_id, object_kind, object_id, price_id, product_id,
             quantity, paid_at, captured_minor, currency)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT (purchase_id) DO UPDATE SET
            project = excluded.project, user_key = excluded.user_key,
            stripe_customer_id = excluded.stripe_customer_id, price_id = excluded.price_id,
            product_id = excluded.product_id, quantity = excluded.quantity,
            captured_minor = excluded.captured_minor, read_at = clock_timestamp()
        """,
        purchase.purchase_id,
        project,
        user_key,
        customer_id,
        object_kind,
        purchase.object_id,
        purchase.price_id,
        purchase.product_id,
        purchase.quantity,
        purchase.paid_at,
        purchase.captured_minor,
        currency,
    )


async def update_session(
    connection: Connection,
    *,
    project: str,
    user_key: int,
    session_id: str,
    status: str,
    payment_status: str,
    expires_at: datetime | None,
    checkout_ref: str | None,
) -> None:
    """What Stripe says of a checkout of ours; a session we did not open has no row and gets none."""
    await connection.execute(
        """
        UPDATE checkout_sessions
        SET status = $4, payment_status = $5, expires_at = $6, stripe_session_id = $1
        WHERE project = $2 AND user_key = $3
          AND (stripe_session_id = $1 OR (stripe_session_id IS NULL AND ref::text = $7))
        """,
        session_id,
        project,
        user_key,
        status,
        payment_status,
        expires_at,
        checkout_ref,
    )


async def find_mirrored_customer(connection: Connection, object_kind: str, object_id: str) -> str | None:
    """The customer the mirror knows an object to belong to; None: never mirrored."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        """
        SELECT stripe_customer_id FROM subscriptions
            WHERE $1 = 'subscription' AND stripe_subscription_id = $2
        UNION ALL
        SELECT stripe_customer_id FROM purchases WHERE object_kind = $1 AND object_id = $2
        LIMIT 1
        """,
        object_kind,
        object_id,
    )


async def load_facts(connection: Connection, project: str, user_key: int) -> Facts:
    """Everything that can give this user access, each source in a fixed order."""
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
    purchases = await connection.fetch(
        """
        SELECT b.purchase_id, b.object_id, b.price_id, b.product_id, b.quantity, b.paid_at,
               b.captured_minor, p.price AS price_key, p.revision
        FROM purchases b LEFT JOIN prices p ON p.price_id = b.price_id AND p.project = $1
        WHERE b.project = $1 AND b.user_key = $2 ORDER BY b.paid_at, b.purchase_id
        """,
        project,
        user_key,
    )
    return Facts(
        subscriptions=tuple(_subscription(row, items) for row in subscriptions),
        purchases=tuple(_purchase(row) for row in purchases),
        grants=await grants.load_grants(connection, project, user_key),
    )


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
