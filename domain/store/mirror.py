"""The mirror of what can give access: subscriptions, sessions and purchases as last read.

One writer per object: only a run of the customer that owns it writes its row (docs/event-path.md).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from domain.model import Subscription
from domain.money import BoughtLine, ScheduledItem
from domain.store.money import Holder
from domain.store.session import Connection

_encode = msgspec.json.Encoder().encode


class Schedule(Struct, frozen=True, kw_only=True):
    """Of a subscription: the change of its items that waits for its period's end."""

    #: sub_sched_…; None: none manages it.
    schedule_id: str | None = None
    #: None: no change is to come.
    changes_at: datetime | None = None
    #: All items from then on.
    items: Sequence[ScheduledItem] = ()


class UnitPrice(Struct, frozen=True, kw_only=True):
    """What an item costs per unit and interval; None where its price does not say."""

    currency: str | None
    unit_amount_minor: int | None
    interval: str | None
    interval_count: int | None


async def upsert_subscription(
    connection: Connection,
    holder: Holder,
    subscription: Subscription,
    *,
    pause_resumes_at: datetime | None,
    test_clock_id: str | None,
    schedule: Schedule,
    known_statuses: Sequence[str],
) -> None:
    """Write one subscription as read now. An unknown status keeps the last known one and since when."""
    await connection.execute(
        """
        INSERT INTO subscriptions AS s
            (stripe_subscription_id, project, user_key, stripe_customer_id, status, created_at, trial_end,
             cancel_at, cancel_at_period_end, ended_at, pause_behavior, pause_resumes_at, pause_cause,
             last_known_status, unknown_since, test_clock_id, schedule_id, scheduled_at, scheduled_items)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
                CASE WHEN $5 = ANY($14::text[]) THEN $5 END,
                CASE WHEN $5 = ANY($14::text[]) THEN NULL ELSE clock_timestamp() END, $15, $16, $17, $18)
        ON CONFLICT (stripe_subscription_id) DO UPDATE SET
            project = excluded.project, user_key = excluded.user_key,
            stripe_customer_id = excluded.stripe_customer_id, status = excluded.status,
            created_at = excluded.created_at, trial_end = excluded.trial_end, cancel_at = excluded.cancel_at,
            cancel_at_period_end = excluded.cancel_at_period_end, ended_at = excluded.ended_at,
            pause_behavior = excluded.pause_behavior, pause_resumes_at = excluded.pause_resumes_at,
            pause_cause = excluded.pause_cause, test_clock_id = excluded.test_clock_id,
            schedule_id = excluded.schedule_id, scheduled_at = excluded.scheduled_at,
            scheduled_items = excluded.scheduled_items,
            last_known_status = coalesce(excluded.last_known_status, s.last_known_status),
            unknown_since = CASE WHEN excluded.unknown_since IS NULL THEN NULL
                                 ELSE coalesce(s.unknown_since, excluded.unknown_since) END,
            read_at = clock_timestamp()
        """,
        subscription.subscription_id,
        holder.project,
        holder.user_key,
        holder.customer_id,
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
        test_clock_id,
        schedule.schedule_id,
        schedule.changes_at,
        None if schedule.changes_at is None else _encode(schedule.items).decode(),
    )


async def replace_items(
    connection: Connection, project: str, subscription: Subscription, prices: Mapping[str, UnitPrice]
) -> None:
    """Make the items read the subscription's only ones; `prices` by item id."""
    items = subscription.items
    priced = [prices[item.item_id] for item in items]
    await connection.execute(
        """
        WITH gone AS (
            DELETE FROM subscription_items
            WHERE stripe_subscription_id = $1 AND NOT stripe_item_id = ANY($3::text[])
        )
        INSERT INTO subscription_items
            (stripe_item_id, stripe_subscription_id, project, price_id, product_id, quantity, period_start,
             period_end, currency, unit_amount_minor, billing_interval, interval_count)
        SELECT i.id, $1, $2, i.price_id, i.product_id, i.quantity, i.period_start, i.period_end, i.currency,
               i.unit_amount, i.every, i.every_count
        FROM unnest($3::text[], $4::text[], $5::text[], $6::bigint[], $7::timestamptz[], $8::timestamptz[],
                    $9::text[], $10::bigint[], $11::text[], $12::int[])
             AS i(id, price_id, product_id, quantity, period_start, period_end, currency, unit_amount, every,
                  every_count)
        ON CONFLICT (stripe_item_id) DO UPDATE SET
            stripe_subscription_id = excluded.stripe_subscription_id, project = excluded.project,
            price_id = excluded.price_id, product_id = excluded.product_id, quantity = excluded.quantity,
            period_start = excluded.period_start, period_end = excluded.period_end,
            currency = excluded.currency, unit_amount_minor = excluded.unit_amount_minor,
            billing_interval = excluded.billing_interval, interval_count = excluded.interval_count
        """,
        subscription.subscription_id,
        project,
        [item.item_id for item in items],
        [item.price_id for item in items],
        [item.product_id for item in items],
        [item.quantity for item in items],
        [item.period_start for item in items],
        [item.period_end for item in items],
        [price.currency for price in priced],
        [price.unit_amount_minor for price in priced],
        [price.interval for price in priced],
        [price.interval_count for price in priced],
    )


async def upsert_purchase(
    connection: Connection, holder: Holder, object_kind: str, bought: BoughtLine
) -> None:
    """Write one paid line as read now.

    `paid_at` only grows: Stripe tells when a delayed payment arrived for 30 days, and its beginning for ever.
    """
    purchase = bought.purchase
    await connection.execute(
        """
        INSERT INTO purchases
            (purchase_id, project, user_key, stripe_customer_id, object_kind, object_id, price_id, product_id,
             quantity, paid_at, captured_minor, currency, payment_intent_id, stripe_invoice_id, amount_minor,
             tax_minor)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
        ON CONFLICT (purchase_id) DO UPDATE SET
            project = excluded.project, user_key = excluded.user_key,
            stripe_customer_id = excluded.stripe_customer_id, price_id = excluded.price_id,
            product_id = excluded.product_id, quantity = excluded.quantity,
            paid_at = greatest(purchases.paid_at, excluded.paid_at),
            captured_minor = excluded.captured_minor, payment_intent_id = excluded.payment_intent_id,
            stripe_invoice_id = excluded.stripe_invoice_id, amount_minor = excluded.amount_minor,
            tax_minor = excluded.tax_minor, read_at = clock_timestamp()
        """,
        purchase.purchase_id,
        holder.project,
        holder.user_key,
        holder.customer_id,
        object_kind,
        purchase.object_id,
        purchase.price_id,
        purchase.product_id,
        purchase.quantity,
        purchase.paid_at,
        purchase.captured_minor,
        bought.currency,
        bought.payment_intent_id,
        bought.invoice_id,
        bought.amount_minor,
        bought.tax_minor,
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
        UNION ALL
        SELECT stripe_customer_id FROM invoices WHERE $1 = 'invoice' AND stripe_invoice_id = $2
        UNION ALL
        SELECT stripe_customer_id FROM invoice_payments
            WHERE $1 = 'invoice_payment' AND stripe_invoice_payment_id = $2
        UNION ALL
        SELECT stripe_customer_id FROM payments WHERE $1 = 'charge' AND stripe_charge_id = $2
        UNION ALL
        SELECT stripe_customer_id FROM payments WHERE $1 = 'payment_intent' AND payment_intent_id = $2
        UNION ALL
        SELECT stripe_customer_id FROM refunds WHERE $1 = 'refund' AND stripe_refund_id = $2
        UNION ALL
        SELECT stripe_customer_id FROM disputes WHERE $1 = 'dispute' AND stripe_dispute_id = $2
        LIMIT 1
        """,
        object_kind,
        object_id,
    )
