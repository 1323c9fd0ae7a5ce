"""Users as a pass of the reconciler looks at them. Reads only."""

from collections.abc import Sequence

from msgspec import Struct

from domain.store.session import Connection

#: Of subscriptions: nothing comes after these. Only the others are looked for when no list shows them.
ENDED = ("canceled", "incomplete_expired")
#: Whether hints for the customer `c` wait for a worker. A pass's own repairs do not count: of two drifts of
#: one customer the repair of the first would hide the second, which it need not read.
WAITS = """EXISTS (
    SELECT 1 FROM sync_targets t
    JOIN webhook_events e ON (e.target_kind, e.target_ref) = (t.kind, t.stripe_id)
    WHERE (t.kind, t.stripe_id) = ('customer', c.stripe_customer_id)
      AND t.state = 'active' AND t.dirty_seq > t.synced_seq
      AND e.state = 'pending' AND e.source <> 'reconcile'
)"""


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
                   SELECT 1 FROM stripe_customers c WHERE c.user_key = u.user_key AND {WAITS})
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
