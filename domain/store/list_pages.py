"""What a page of Stripe's list may write of which customer, beside the runs of their targets.

A page is read first and locked afterwards: whoever was synced in between is left alone, because that run
may have read later than the page.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from domain.store.session import Connection


class BusyCustomer(Struct, frozen=True, kw_only=True):
    customer_id: str
    #: A wish to read everything of it waits already.
    has_wish: bool


async def read_clock(connection: Connection) -> datetime:
    """The database's clock, for what is compared with the database's own times."""
    return await connection.fetchval("SELECT clock_timestamp()")  # type: ignore[no-any-return]


async def lock_targets(connection: Connection, customer_ids: Sequence[str]) -> None:
    """Lock the targets of these customers, in the order in which everybody does."""
    await connection.execute(
        """
        SELECT 1 FROM sync_targets WHERE kind = 'customer' AND stripe_id = ANY($1::text[])
        ORDER BY kind, stripe_id FOR UPDATE
        """,
        list(customer_ids),
    )


async def list_busy(
    connection: Connection, customer_ids: Sequence[str], since: datetime
) -> list[BusyCustomer]:
    """Those with events that wait, or that were done at `since` or later; ask with their targets locked."""
    rows = await connection.fetch(
        """
        SELECT target_ref AS customer_id,
               bool_or(state = 'pending' AND object_kind = 'customer_all') AS has_wish
        FROM webhook_events
        WHERE target_kind = 'customer' AND target_ref = ANY($1::text[])
          AND (state = 'pending' OR done_at >= $2)
        GROUP BY target_ref
        """,
        list(customer_ids),
        since,
    )
    return [BusyCustomer(**row) for row in rows]


async def count_left(connection: Connection, project: str, since: datetime) -> int:
    """Customers of the project that imports have left to a sync since then, each once."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        """
        SELECT count(DISTINCT e.target_ref) FROM webhook_events e
        JOIN stripe_customers c ON c.stripe_customer_id = e.target_ref
        WHERE e.received_at >= $2 AND e.source = 'import' AND e.object_kind = 'customer_all'
          AND e.target_kind = 'customer' AND c.project = $1
        """,
        project,
        since,
    )


async def settle_unowed(connection: Connection, customer_ids: Sequence[str]) -> None:
    """Targets that LINK has raised and for which no event waits owe nothing; ask with them locked."""
    await connection.execute(
        """
        UPDATE sync_targets t SET synced_seq = dirty_seq
        WHERE t.kind = 'customer' AND t.stripe_id = ANY($1::text[]) AND t.lease_token IS NULL
          AND NOT EXISTS (SELECT FROM webhook_events e
                          WHERE e.target_kind = t.kind AND e.target_ref = t.stripe_id AND e.state = 'pending')
        """,
        list(customer_ids),
    )


async def list_answered(connection: Connection, project: str, user_keys: Sequence[int]) -> set[int]:
    """Those of these users who have stored answers."""
    rows = await connection.fetch(
        "SELECT DISTINCT user_key FROM entitlements WHERE project = $1 AND user_key = ANY($2::bigint[])",
        project,
        list(user_keys),
    )
    return {row["user_key"] for row in rows}
