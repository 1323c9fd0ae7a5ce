"""What the mirror holds of objects that Stripe has just shown: for the reconciler, which compares both."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from domain.model import Subscription, SubscriptionItem
from domain.store.compared_users import ENDED, WAITS
from domain.store.session import Connection

#: Of disputes: nothing comes after these.
DECIDED = ("won", "lost", "warning_closed", "prevented")


class KnownCustomer(Struct, frozen=True, kw_only=True):
    project: str
    user_key: int
    #: Events of it wait: what differs may be what they announce.
    is_pending: bool
    #: Its user was erased: nothing of it is mirrored, and nothing is missed.
    is_erased: bool


class MirroredSubscriptionRow(Struct, frozen=True, kw_only=True):
    customer_id: str
    subscription: Subscription


class AbsentObject(Struct, frozen=True, kw_only=True):
    kind: str
    object_id: str
    customer_id: str


async def find_customers(connection: Connection, customer_ids: Sequence[str]) -> dict[str, KnownCustomer]:
    """Those that a row of ours holds, by id. Strangers are not in it."""
    rows = await connection.fetch(
        f"""
        SELECT c.stripe_customer_id, c.project, c.user_key, u.erased_at IS NOT NULL AS is_erased,
               {WAITS} AS is_pending
        FROM stripe_customers c JOIN users u USING (user_key)
        WHERE c.stripe_customer_id = ANY($1::text[])
        """,
        list(customer_ids),
    )
    return {
        row["stripe_customer_id"]: KnownCustomer(
            project=row["project"],
            user_key=row["user_key"],
            is_pending=row["is_pending"],
            is_erased=row["is_erased"],
        )
        for row in rows
    }


async def find_subscriptions(
    connection: Connection, subscription_ids: Sequence[str]
) -> dict[str, MirroredSubscriptionRow]:
    rows = await connection.fetch(
        """
        SELECT s.stripe_subscription_id, s.stripe_customer_id, s.status, s.created_at, s.trial_end,
               s.cancel_at, s.cancel_at_period_end, s.ended_at, s.pause_behavior, s.pause_cause,
               coalesce(json_agg(json_build_array(i.stripe_item_id, i.price_id, i.product_id, i.quantity)
                   ORDER BY i.stripe_item_id) FILTER (WHERE i.stripe_item_id IS NOT NULL), '[]')::text
                   AS items,
               array_agg(i.period_start ORDER BY i.stripe_item_id) AS starts,
               array_agg(i.period_end ORDER BY i.stripe_item_id) AS ends
        FROM subscriptions s LEFT JOIN subscription_items i USING (stripe_subscription_id)
        WHERE s.stripe_subscription_id = ANY($1::text[]) GROUP BY s.stripe_subscription_id
        """,
        list(subscription_ids),
    )
    return {row["stripe_subscription_id"]: _subscription(row) for row in rows}


async def find_purchase_ids(connection: Connection, object_ids: Sequence[str]) -> dict[str, list[str]]:
    """By session or invoice."""
    rows = await connection.fetch(
        """
        SELECT object_id, array_agg(purchase_id ORDER BY purchase_id) AS ids FROM purchases
        WHERE object_id = ANY($1::text[]) GROUP BY object_id
        """,
        list(object_ids),
    )
    return {row["object_id"]: row["ids"] for row in rows}


async def find_states(connection: Connection, kind: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The compared columns of mirrored refunds, disputes, invoices or checkouts, by id."""
    rows = await connection.fetch(_STATES[kind], list(ids))
    return {row["id"]: dict(row) for row in rows}


async def find_charges(connection: Connection, project: str, user_key: int) -> list[str]:
    """Charges of one user: its refunds and disputes are listed by them."""
    rows = await connection.fetch(
        """
        SELECT stripe_charge_id FROM payments WHERE project = $1 AND user_key = $2 ORDER BY 1
        """,
        project,
        user_key,
    )
    return [row["stripe_charge_id"] for row in rows]


async def list_clocks(connection: Connection) -> list[str]:
    """Test clocks that Stripe has not deleted: lists hide what is on them unless they are named."""
    rows = await connection.fetch("SELECT clock_id FROM test_clocks WHERE NOT is_deleted ORDER BY clock_id")
    return [row["clock_id"] for row in rows]


async def list_absent(
    connection: Connection,
    run_id: str,
    *,
    after: tuple[str, str],
    project: str | None,
    user_key: int | None,
    limit: int,
) -> list[AbsentObject]:
    """Mirrored objects that may still change, and that no list of this run has shown, by (kind, id)."""
    rows = await connection.fetch(
        """
        WITH living AS (
            SELECT 'subscription' AS kind, stripe_subscription_id AS object_id, stripe_customer_id, project,
                   user_key FROM subscriptions WHERE NOT status = ANY($7::text[])
            UNION ALL
            SELECT 'invoice', stripe_invoice_id, stripe_customer_id, project, user_key FROM invoices
            WHERE status IN ('draft', 'open', 'uncollectible')
            UNION ALL
            SELECT 'refund', stripe_refund_id, stripe_customer_id, project, user_key FROM refunds
            WHERE status IN ('pending', 'requires_action')
            UNION ALL
            SELECT 'dispute', stripe_dispute_id, stripe_customer_id, project, user_key FROM disputes
            WHERE NOT status = ANY($8::text[])
            UNION ALL
            SELECT 'checkout.session', k.stripe_session_id, c.stripe_customer_id, k.project, k.user_key
            FROM checkout_sessions k
            JOIN stripe_customers c ON c.user_key = k.user_key AND c.is_primary
            WHERE k.status IN ('creating', 'open') AND k.stripe_session_id IS NOT NULL
              AND c.stripe_customer_id IS NOT NULL AND k.expires_at < clock_timestamp()
        )
        SELECT l.kind, l.object_id, l.stripe_customer_id AS customer_id FROM living l
        LEFT JOIN reconciliation_seen s ON (s.run_id, s.object_kind, s.object_id) = ($1, l.kind, l.object_id)
        WHERE s.run_id IS NULL AND (l.kind, l.object_id) > ($2, $3)
          AND ($4::text IS NULL OR l.project = $4) AND ($5::bigint IS NULL OR l.user_key = $5)
        ORDER BY l.kind, l.object_id LIMIT $6
        """,
        run_id,
        *after,
        project,
        user_key,
        limit,
        list(ENDED),
        list(DECIDED),
    )
    return [AbsentObject(**row) for row in rows]


async def list_known_events(connection: Connection, event_ids: Sequence[str]) -> set[str]:
    rows = await connection.fetch(
        "SELECT event_id FROM webhook_events WHERE event_id = ANY($1::text[])", list(event_ids)
    )
    return {row["event_id"] for row in rows}


_STATES = {
    "refund": """
        SELECT stripe_refund_id AS id, status, amount_minor FROM refunds
        WHERE stripe_refund_id = ANY($1::text[])
        """,
    "dispute": """
        SELECT stripe_dispute_id AS id, status, amount_minor FROM disputes
        WHERE stripe_dispute_id = ANY($1::text[])
        """,
    "invoice": """
        SELECT stripe_invoice_id AS id, status, paid_minor, remaining_minor FROM invoices
        WHERE stripe_invoice_id = ANY($1::text[])
        """,
    "checkout.session": """
        SELECT stripe_session_id AS id, status, payment_status FROM checkout_sessions
        WHERE stripe_session_id = ANY($1::text[])
        """,
}


def _subscription(row: Any) -> MirroredSubscriptionRow:
    items = zip(msgspec.json.decode(row["items"]), row["starts"], row["ends"], strict=False)
    return MirroredSubscriptionRow(
        customer_id=row["stripe_customer_id"],
        subscription=Subscription(
            subscription_id=row["stripe_subscription_id"],
            status=row["status"],
            created_at=row["created_at"],
            trial_end=row["trial_end"],
            cancel_at=row["cancel_at"],
            cancel_at_period_end=row["cancel_at_period_end"],
            ended_at=row["ended_at"],
            pause_behavior=row["pause_behavior"],
            pause_cause=row["pause_cause"],
            items=tuple(
                SubscriptionItem(
                    item_id=item_id,
                    price_id=price_id,
                    product_id=product_id,
                    quantity=quantity,
                    period_start=start,
                    period_end=end,
                )
                for (item_id, price_id, product_id, quantity), start, end in items
            ),
        ),
    )
