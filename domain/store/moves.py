"""Moving what one user has to another: its customers, and every row that says whose something is.

The caller holds the locks of all customers and of both users. Every function is one statement.
"""

from collections.abc import Sequence

from msgspec import Struct

from domain.store.session import Connection, rows_changed

#: Tables whose rows follow their customers; what was answered and done stays whose it was.
MOVED = (
    "checkout_sessions",
    "subscriptions",
    "purchases",
    "invoices",
    "invoice_payments",
    "payments",
    "refunds",
    "disputes",
    "grants",
    "revenue_entries",
    "recurring_sums",
)
#: Tables that name a user and stay, with why.
STAYING = {
    "users": "both stay",
    "stripe_customers": "moved by a statement of its own: only one is primary",
    "checkout_turns": "nobody has one while a user is merged",
    "entitlements": "what the readers of each id are answered",
    "entitlement_history": "what was answered under each id",
    "entitlement_changes": "what the feed told of each id",
    "audit_log": "rows are only added",
    "reconciliation_runs": "what was compared then",
    "drifts": "what was found then; the next pass finds what is left",
}


class OwnCustomer(Struct, frozen=True, order=True):
    customer_id: str
    user_key: int


async def list_customers(connection: Connection, project: str, user_keys: Sequence[int]) -> list[OwnCustomer]:
    """Every Stripe customer of these users, deleted ones too, by id."""
    rows = await connection.fetch(
        """
        SELECT stripe_customer_id AS customer_id, user_key FROM stripe_customers
        WHERE project = $1 AND user_key = ANY($2::bigint[]) AND stripe_customer_id IS NOT NULL
        ORDER BY stripe_customer_id
        """,
        project,
        list(user_keys),
    )
    return [OwnCustomer(**row) for row in rows]


async def move_customers(connection: Connection, project: str, source: int, target: int) -> int:
    """The target's primary customer stays; where it has none, the source's becomes it. Answers how many."""
    status = await connection.execute(
        """
        UPDATE stripe_customers SET user_key = $3,
               is_primary = is_primary AND NOT EXISTS (SELECT FROM stripe_customers
                                                       WHERE project = $1 AND user_key = $3 AND is_primary)
        WHERE project = $1 AND user_key = $2
        """,
        project,
        source,
        target,
    )
    return rows_changed(status)


async def move_rows(connection: Connection, table: str, project: str, source: int, target: int) -> int:
    status = await connection.execute(
        f"UPDATE {table} SET user_key = $3 WHERE project = $1 AND user_key = $2", project, source, target
    )
    return rows_changed(status)


async def raise_versions(connection: Connection, project: str, user_keys: Sequence[int]) -> None:
    """The next versions of these users lie above all that any of them was ever given, app by app."""
    await connection.execute(
        """
        UPDATE entitlements e SET last_version = greatest(e.last_version, h.highest)
        FROM (SELECT app, max(last_version) AS highest FROM entitlements
              WHERE project = $1 AND user_key = ANY($2::bigint[]) GROUP BY app) h
        WHERE e.project = $1 AND e.user_key = ANY($2::bigint[]) AND e.app = h.app
        """,
        project,
        list(user_keys),
    )
