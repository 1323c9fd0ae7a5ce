"""Hold whole users: nobody syncs their customers, and nobody changes them, until the transaction ends."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, Unavailable
from domain.model import TargetRef
from domain.store import customers, erased, inbox, moves
from domain.store.customers import LockedUser
from domain.store.session import Connection

Answer = TypeVar("Answer")

#: A user who gets a customer while it is being locked is looked at again.
ATTEMPTS = 3
RETRY_AFTER_S = 2


class Moved(Exception):
    """Meanwhile a user got another customer or name: roll back and begin again."""


class Held(Struct, frozen=True, kw_only=True):
    users: dict[int, LockedUser]
    #: cus_…, by user.
    customers: dict[int, tuple[str, ...]]
    #: Of all these customers: they may be rung.
    targets: tuple[int, ...]


async def with_attempts(context: Context, work: Callable[[Connection], Awaitable[Answer]]) -> Answer:
    """`work` in a transaction; again where it raises Moved.

    Raises:
        Unavailable: Postgres is away, or the users change all the time.
    """
    for _ in range(ATTEMPTS):
        try:
            async with context.database.transaction() as connection:
                return await work(connection)
        except Moved:
            continue
    raise Unavailable("This user is changing at this moment: send the call again.")


async def hold_users(connection: Connection, project: str, user_keys: Sequence[int]) -> Held:
    """Lock the users' customers as sync targets, then the users, each in order: as everybody does.

    Raises:
        Moved: a customer came or went before the locks were held.
    """
    wanted = await moves.list_customers(connection, project, user_keys)
    targets = [await inbox.raise_target(connection, TargetRef("customer", one.customer_id)) for one in wanted]
    locked = {key: await customers.lock_user(connection, key) for key in sorted(set(user_keys))}
    if await moves.list_customers(connection, project, user_keys) != wanted:
        raise Moved
    return Held(
        users=locked,
        targets=tuple(targets),
        customers={key: tuple(one.customer_id for one in wanted if one.user_key == key) for key in locked},
    )


async def refuse_busy(connection: Connection, project: str, user_keys: Sequence[int]) -> None:
    """Raises: Conflict, while a checkout or change of one of them is under way at Stripe."""
    if await erased.is_being_changed(connection, project, user_keys):
        raise Conflict(
            "A checkout or change of this user is under way at Stripe: ask again when it has ended, at most "
            "a minute from now.",
            code="change_in_progress",
            retry_after_s=RETRY_AFTER_S,
        )
