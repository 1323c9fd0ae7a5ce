"""Customers of an import: those whose turn is to come, and those that got none, with the reason."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from domain.store.session import Connection, rows_changed


class ImportCustomer(Struct, frozen=True, kw_only=True):
    customer_id: str
    #: None: nothing maps it.
    user_id: str | None
    #: Why it is not linked; None: its turn is to come.
    reason: str | None


class LinkedCustomer(Struct, frozen=True, kw_only=True):
    customer_id: str
    project: str
    user_key: int
    user_id: str
    linked_at: datetime
    #: The user was erased: nothing of the customer is written any more.
    is_erased: bool


async def add_customers(
    connection: Connection, import_id: str, customers: Sequence[tuple[str, str | None, str | None]]
) -> None:
    """(customer, user or None, reason or None), each once; one that is known gets what is said now."""
    await connection.execute(
        """
        INSERT INTO import_customers (import_id, stripe_customer_id, user_id, reason)
        SELECT $1, c.customer, c.user_id, c.reason
        FROM unnest($2::text[], $3::text[], $4::text[]) AS c(customer, user_id, reason)
        ON CONFLICT (import_id, stripe_customer_id) DO UPDATE
            SET user_id = excluded.user_id, reason = excluded.reason
        """,
        import_id,
        [customer for customer, _, _ in customers],
        [user_id for _, user_id, _ in customers],
        [reason for _, _, reason in customers],
    )


async def find_waiting(connection: Connection, import_id: str, customer_ids: Sequence[str]) -> dict[str, str]:
    """Customer → user, of those of these that are mapped and whose turn is to come."""
    rows = await connection.fetch(
        """
        SELECT stripe_customer_id, user_id FROM import_customers
        WHERE import_id = $1 AND stripe_customer_id = ANY($2::text[]) AND reason IS NULL
          AND user_id IS NOT NULL
        """,
        import_id,
        list(customer_ids),
    )
    return {row["stripe_customer_id"]: row["user_id"] for row in rows}


async def list_waiting(
    connection: Connection, import_id: str, after: str, limit: int
) -> list[ImportCustomer]:
    """Those whose turn is to come, by id, after the id `after`."""
    return await _list(connection, import_id, after, limit, "reason IS NULL")


async def list_unmapped(
    connection: Connection, import_id: str, after: str, limit: int
) -> list[ImportCustomer]:
    """Those that were not linked, by id, after the id `after`."""
    return await _list(connection, import_id, after, limit, "reason IS NOT NULL")


async def count_waiting(connection: Connection, import_id: str) -> int:
    return await connection.fetchval(  # type: ignore[no-any-return]
        "SELECT count(*) FROM import_customers WHERE import_id = $1 AND reason IS NULL", import_id
    )


async def count_unmapped(connection: Connection, import_id: str) -> int:
    return await connection.fetchval(  # type: ignore[no-any-return]
        "SELECT count(*) FROM import_customers WHERE import_id = $1 AND reason IS NOT NULL", import_id
    )


async def remove_customers(connection: Connection, import_id: str, customer_ids: Sequence[str]) -> None:
    """Linked: `stripe_customers` says whose they are, and no second list of users is kept."""
    await connection.execute(
        "DELETE FROM import_customers WHERE import_id = $1 AND stripe_customer_id = ANY($2::text[])",
        import_id,
        list(customer_ids),
    )


async def forget_customers(connection: Connection, project: str) -> int:
    """All that is left of the project's imports that have ended. Answers how many."""
    status = await connection.execute(
        """
        DELETE FROM import_customers c USING imports i
        WHERE i.import_id = c.import_id AND i.project = $1 AND i.state <> 'running'
        """,
        project,
    )
    return rows_changed(status)


async def list_owners(connection: Connection, customer_ids: Sequence[str]) -> dict[str, LinkedCustomer]:
    """Whose these customers are already, in any project; strangers are not in it."""
    rows = await connection.fetch(
        """
        SELECT c.stripe_customer_id AS customer_id, c.project, c.user_key, u.user_id,
               c.created_at AS linked_at, u.erased_at IS NOT NULL AS is_erased
        FROM stripe_customers c JOIN users u USING (user_key)
        WHERE c.stripe_customer_id = ANY($1::text[])
        """,
        list(customer_ids),
    )
    return {row["customer_id"]: LinkedCustomer(**row) for row in rows}


async def _list(
    connection: Connection, import_id: str, after: str, limit: int, condition: str
) -> list[ImportCustomer]:
    rows = await connection.fetch(
        f"""
        SELECT stripe_customer_id AS customer_id, user_id, reason FROM import_customers
        WHERE import_id = $1 AND stripe_customer_id > $2 AND {condition}
        ORDER BY stripe_customer_id LIMIT $3
        """,
        import_id,
        after,
        limit,
    )
    return [ImportCustomer(**row) for row in rows]
