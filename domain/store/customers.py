"""Whose a Stripe customer is: by our own rows alone, never by e-mail and never by metadata naming a user."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from domain.store.session import Connection


class CustomerOwner(Struct, frozen=True, kw_only=True):
    project: str
    user_key: int
    #: The user was erased: the customer is known, and nothing of it is written any more.
    is_erased: bool = False


class LockedUser(Struct, frozen=True, kw_only=True):
    user_key: int
    project: str
    user_id: str
    catalog_version: int
    #: Frozen time of the user's Stripe test clock; None: real time.
    clock_at: datetime | None


class UserRow(Struct, frozen=True, kw_only=True):
    user_key: int
    #: Of its last recompute.
    catalog_version: int
    #: When a stored answer next changes by itself; None: no instant is known.
    next_boundary_at: datetime | None
    #: Frozen time of the user's Stripe test clock; None: real time.
    clock_at: datetime | None


async def find_owner(connection: Connection, customer_id: str) -> CustomerOwner | None:
    """The user a Stripe customer belongs to; None: no row of ours holds its id."""
    row = await connection.fetchrow(
        """
        SELECT c.project, c.user_key, u.erased_at IS NOT NULL AS is_erased
        FROM stripe_customers c JOIN users u USING (user_key) WHERE c.stripe_customer_id = $1
        """,
        customer_id,
    )
    return None if row is None else CustomerOwner(**row)


async def has_unlinked(connection: Connection, ref: UUID) -> bool:
    """Whether a row of ours with this reference still waits for its Stripe id.

    A row that holds another id is never overwritten, so it does not count.
    """
    row = await connection.fetchval(
        "SELECT 1 FROM stripe_customers WHERE ref = $1 AND stripe_customer_id IS NULL", ref
    )
    return row is not None


async def bury_customer(connection: Connection, customer_id: str) -> None:
    """Stripe says deleted: it stops being primary, and stays linked for what it paid."""
    await connection.execute(
        """
        UPDATE stripe_customers SET is_primary = false, deleted_at = coalesce(deleted_at, clock_timestamp())
        WHERE stripe_customer_id = $1
        """,
        customer_id,
    )


async def find_user_key(connection: Connection, project: str, user_id: str) -> int | None:
    """None: the project has no such user."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        "SELECT user_key FROM users WHERE project = $1 AND user_id = $2", project, user_id
    )


async def find_user(connection: Connection, project: str, user_id: str) -> UserRow | None:
    """A user without a lock, for who only reads; None: the project has no such user."""
    row = await connection.fetchrow(
        """
        SELECT user_key, catalog_version, next_boundary_at, clock_at FROM users
        WHERE project = $1 AND user_id = $2
        """,
        project,
        user_id,
    )
    return None if row is None else UserRow(**row)


async def find_name(connection: Connection, user_key: int) -> str:
    """The user_id; raises LookupError where there is no such user."""
    return (await load_user(connection, user_key)).user_id


async def load_user(connection: Connection, user_key: int) -> LockedUser:
    """As `lock_user`, without the lock: for who only looks, or holds it."""
    row = await connection.fetchrow(
        "SELECT user_key, project, user_id, catalog_version, clock_at FROM users WHERE user_key = $1",
        user_key,
    )
    if row is None:
        raise LookupError(f"user_key {user_key} does not exist")
    return LockedUser(**row)


async def set_clock(connection: Connection, user_key: int, frozen_at: datetime) -> None:
    """From now on the user's time is that of a Stripe test clock."""
    await connection.execute("UPDATE users SET clock_at = $2 WHERE user_key = $1", user_key, frozen_at)


async def lock_user(connection: Connection, user_key: int) -> LockedUser:
    """The user lock: whoever changes or recomputes a user's answers takes it before reading any source."""
    row = await connection.fetchrow(
        """
        SELECT user_key, project, user_id, catalog_version, clock_at FROM users
        WHERE user_key = $1 FOR UPDATE
        """,
        user_key,
    )
    if row is None:
        raise LookupError(f"user_key {user_key} does not exist")
    return LockedUser(**row)


async def note_recompute(
    connection: Connection, user_key: int, catalog_version: int, next_boundary_at: datetime | None
) -> None:
    """What every recompute leaves on the user, whether or not an answer changed."""
    await connection.execute(
        "UPDATE users SET catalog_version = $2, next_boundary_at = $3 WHERE user_key = $1",
        user_key,
        catalog_version,
        next_boundary_at,
    )
