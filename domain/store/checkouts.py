"""Checkouts that apps asked for, and the customers they are for."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from domain.store.links import CustomerRow
from domain.store.session import Connection


class NewCheckout(Struct, frozen=True, kw_only=True):
    ref: UUID
    project: str
    app: str
    user_key: int
    #: subscription or payment.
    mode: str
    #: JSON: [{plan, price, quantity}].
    items: bytes


async def lock_or_insert_user(connection: Connection, project: str, user_id: str) -> int:
    """The user_key of a user of this project, made when unknown, locked until the transaction ends."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        """
        INSERT INTO users (project, user_id) VALUES ($1, $2)
        ON CONFLICT (project, user_id) DO UPDATE SET user_id = excluded.user_id RETURNING user_key
        """,
        project,
        user_id,
    )


async def find_primary_customer(connection: Connection, project: str, user_key: int) -> CustomerRow | None:
    """The customer that new checkouts of a user are for; None: there was none yet, or Stripe deleted it."""
    row = await connection.fetchrow(
        """
        SELECT ref, project, user_key, stripe_customer_id, generation FROM stripe_customers
        WHERE project = $1 AND user_key = $2 AND is_primary
        """,
        project,
        user_key,
    )
    return None if row is None else CustomerRow(**row)


async def insert_primary_customer(
    connection: Connection, project: str, user_key: int, ref: UUID
) -> CustomerRow:
    """A customer that Stripe does not know yet."""
    await connection.execute(
        "INSERT INTO stripe_customers (ref, project, user_key, is_primary) VALUES ($1, $2, $3, true)",
        ref,
        project,
        user_key,
    )
    return CustomerRow(ref=ref, project=project, user_key=user_key, stripe_customer_id=None, generation=1)


async def raise_generation(connection: Connection, ref: UUID, generation: int) -> None:
    """The next attempt to create this customer is a new one for Stripe; two who failed raise it once."""
    await connection.execute(
        """
        UPDATE stripe_customers SET generation = generation + 1
        WHERE ref = $1 AND generation = $2 AND stripe_customer_id IS NULL
        """,
        ref,
        generation,
    )


async def insert_checkout(connection: Connection, checkout: NewCheckout) -> None:
    await connection.execute(
        """
        INSERT INTO checkout_sessions (ref, project, app, user_key, mode, status, items)
        VALUES ($1, $2, $3, $4, $5, 'creating', $6)
        """,
        checkout.ref,
        checkout.project,
        checkout.app,
        checkout.user_key,
        checkout.mode,
        checkout.items.decode(),
    )


async def write_session(
    connection: Connection, project: str, ref: UUID, session_id: str, *, status: str, expires_at: datetime
) -> None:
    """What Stripe answered; a worker that has already read the session knows better."""
    await connection.execute(
        """
        UPDATE checkout_sessions SET stripe_session_id = $3, status = $4, expires_at = $5
        WHERE project = $1 AND ref = $2 AND stripe_session_id IS NULL
        """,
        project,
        ref,
        session_id,
        status,
        expires_at,
    )
