"""What the mirror holds of objects that Stripe has just shown: for the reconciler, which compares both."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from domain.model import Subscription, SubscriptionItem
from domain.store.owned import OWNER_OF_TARGET
from domain.store.session import Connection

#: Statuses after which nothing comes: only the others are looked for when no list shows them.
ENDED = ("canceled", "incomplete_expired")
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


#: Whether hints for the customer `c` wait for a worker. A pass's own repairs do not count: of two drifts of
#: one customer the repair of the first would hide the second, which it need not read.
_WAITS = """EXISTS (
    SELECT 1 FROM sync_targets t
    JOIN webhook_events e ON (e.target_kind, e.target_ref) = (t.kind, t.stripe_id)
    WHERE (t.kind, t.stripe_id) = ('customer', c.stripe_customer_id)
      AND t.state = 'active' AND t.dirty_seq > t.synced_seq
      AND e.state = 'pending' AND e.source <> 'reconcile'
)"""


async def find_customers(connection: Connection, customer_ids: Sequence[str]) -> dict[str, KnownCustomer]:
    """Those that a row of ours holds, by id. Strangers are not in it."""
    rows = await connection.fetch(
        f"""
        SELECT c.stripe_customer_id, c.project, c.user_key, u.erased_at IS NOT NULL AS is_erased,
               {_WAITS} AS is_pending
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


async def list_customers_of(connection: Connection, project: str, user_key: int) -> list[str]:
    """Living Stripe customers of a user, in order."""
    rows = await connection.fetch(
        """
        SELECT stripe_customer_id FROM stripe_customers
        WHERE project = $1 AND user_key = $2 AND stripe_customer_id IS NOT NULL AND deleted_at IS NULL
        ORDER BY stripe_customer_id
        """,
        project,
        user_key,
    )
    return [row["stripe_customer_id"] for row in rows]


async def list_unbooked(connection: Connection, project: str, user_key: int) -> dict[str, list[str]]:
    """Payments without an entry of revenue, and running subscriptions whose amounts were not read.

    By the customer; of nobody's (a guest's) there is none to read.
    """
    rows = await connection.fetch(
        """
        SELECT customer_id, array_agg(object_id ORDER BY object_id) AS ids
        FROM (
            SELECT p.stripe_customer_id AS customer_id, p.stripe_charge_id AS object_id
            FROM payments p
            WHERE p.project = $1 AND p.user_key = $2 AND p.status = 'succeeded' AND p.captured_minor > 0
              AND NOT EXISTS (SELECT FROM revenue_entries e WHERE e.charge_id = p.stripe_charge_id)
            UNION ALL
            SELECT s.stripe_customer_id, s.stripe_subscription_id
            FROM subscriptions s
            WHERE s.project = $1 AND s.user_key = $2 AND s.currency IS NULL AND s.status <> ALL($3::text[])
        ) unbooked
        WHERE customer_id IN (SELECT stripe_customer_id FROM stripe_customers
                              WHERE user_key = $2 AND deleted_at IS NULL)
        GROUP BY customer_id ORDER BY customer_id
        """,
        project,
        user_key,
        list(ENDED),
    )
    return {row["customer_id"]: row["ids"] for row in rows}


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


class DeadTarget(Struct, frozen=True, kw_only=True):
    kind: str
    stripe_id: str
    error: str | None
    #: None: nobody of ours is known to own it.
    project: str | None
    user_key: int | None


async def list_dead_targets(
    connection: Connection,
    *,
    after: tuple[str, str],
    project: str | None,
    user_key: int | None,
    limit: int,
) -> list[DeadTarget]:
    """Those that gave up, ordered by kind and id, after (kind, id); never those of others on the account."""
    rows = await connection.fetch(
        f"""
        SELECT kind, stripe_id, last_error AS error, o.project, o.user_key
        FROM (SELECT *, kind AS target_kind, stripe_id AS target_ref FROM sync_targets
              WHERE state = 'dead' AND owner <> 'foreign') t {OWNER_OF_TARGET}
        WHERE (kind, stripe_id) > ($1, $2) AND ($3::text IS NULL OR o.project = $3)
          AND ($4::bigint IS NULL OR o.user_key = $4)
        ORDER BY kind, stripe_id LIMIT $5
        """,
        *after,
        project,
        user_key,
        limit,
    )
    return [DeadTarget(**row) for row in rows]


class ComparedUser(Struct, frozen=True, kw_only=True):
    user_key: int
    project: str
    user_id: str
    #: Events of one of its customers wait, or the scheduler is about to recompute it.
    is_pending: bool


async def list_users(
    connection: Connection, *, after: int, project: str | None, user_key: int | None, limit: int
) -> list[ComparedUser]:
    rows = await connection.fetch(
        f"""
        SELECT u.user_key, u.project, u.user_id,
               u.catalog_version < p.catalog_version
               OR coalesce(u.next_boundary_at <= clock_timestamp() AND u.clock_at IS NULL, false)
               OR EXISTS (
                   SELECT 1 FROM stripe_customers c WHERE c.user_key = u.user_key AND {_WAITS})
               AS is_pending
        FROM users u JOIN projects p USING (project)
        WHERE u.user_key > $1 AND u.erased_at IS NULL AND ($2::text IS NULL OR u.project = $2)
          AND ($3::bigint IS NULL OR u.user_key = $3)
        ORDER BY u.user_key LIMIT $4
        """,
        after,
        project,
        user_key,
        limit,
    )
    return [ComparedUser(**row) for row in rows]


async def list_subscribed_customers(
    connection: Connection, project: str, user_key: int, subscription_ids: Sequence[str]
) -> list[str]:
    """Living customers that hold these subscriptions of a user."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT s.stripe_customer_id FROM subscriptions s
        JOIN stripe_customers c USING (stripe_customer_id)
        WHERE s.project = $1 AND s.user_key = $2 AND s.stripe_subscription_id = ANY($3::text[])
          AND c.deleted_at IS NULL ORDER BY 1
        """,
        project,
        user_key,
        list(subscription_ids),
    )
    return [row["stripe_customer_id"] for row in rows]


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
