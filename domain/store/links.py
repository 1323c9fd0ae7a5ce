"""Linking: our rows that say which Stripe customer and which checkout is whose."""

from uuid import UUID

from msgspec import Struct

from domain.model import TargetRef
from domain.store.session import Connection, rows_changed


class CustomerRow(Struct, frozen=True, kw_only=True):
    """A customer of ours; without a Stripe id while Stripe has not answered its creation."""

    ref: UUID
    project: str
    user_key: int
    stripe_customer_id: str | None
    generation: int


async def find_customer(connection: Connection, ref: UUID) -> CustomerRow | None:
    row = await connection.fetchrow(
        """
        SELECT ref, project, user_key, stripe_customer_id, generation FROM stripe_customers WHERE ref = $1
        """,
        ref,
    )
    return None if row is None else CustomerRow(**row)


async def insert_unlinked(
    connection: Connection, ref: UUID, project: str, user_key: int, *, is_primary: bool
) -> None:
    """A row for a customer that exists at Stripe already; its id is written by LINK."""
    await connection.execute(
        "INSERT INTO stripe_customers (ref, project, user_key, is_primary) VALUES ($1, $2, $3, $4)",
        ref,
        project,
        user_key,
        is_primary,
    )


async def write_customer_id(connection: Connection, ref: UUID, customer_id: str) -> bool:
    """Fill in Stripe's id; False where the row holds one already: it is never overwritten."""
    status = await connection.execute(
        """
        UPDATE stripe_customers SET stripe_customer_id = $2
        WHERE ref = $1 AND stripe_customer_id IS NULL
        """,
        ref,
        customer_id,
    )
    return rows_changed(status) == 1


async def reopen_foreign(connection: Connection, target: TargetRef) -> int:
    """Events that were foreign before their customer was linked are pending again. Answers how many."""
    status = await connection.execute(
        """
        UPDATE webhook_events
        SET state = 'pending', tries = 0, retry_at = '-infinity', reason = NULL, done_at = NULL
        WHERE target_kind = $1 AND target_ref = $2 AND state = 'foreign'
        """,
        target.kind,
        target.stripe_id,
    )
    return rows_changed(status)
