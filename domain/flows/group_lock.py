"""One checkout or subscription change at a time for a user and group of plans.

A lease in Postgres, because Stripe is called while it is held. Whoever needs several groups takes them in
the order of their names.
"""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from domain.context import Context
from domain.errors import Conflict, Rejected
from domain.store import group_locks

#: Longer than any call of ours can still be at work in Stripe: two tries of `stripe_timeout_s`, and the rest.
LEASE_S = 30.0
#: When somebody should ask again: most calls take less.
RETRY_AFTER_S = 2


@asynccontextmanager
async def holding_group(context: Context, project: str, user_key: int, group: str) -> AsyncIterator[str]:
    """Hold (user, group) for the block; yields the lease's token, which nobody has had before.

    A block that ends or is refused gives the group back. One that fails otherwise keeps it to the end of its
    lease: whether Stripe is still at work on its call is not known then. So a Stripe idempotency key made of
    the token stands for one change, and no second one can overtake it.

    Raises:
        Conflict: somebody else holds it.
        Unavailable: Postgres is away.
    """
    token = uuid.uuid4()
    async with context.database.transaction() as connection:
        if not await group_locks.take_group(
            connection, project, user_key, group, token=token, lease_s=LEASE_S
        ):
            raise Conflict(
                f"Another checkout or change of this user in the group {group!r} is under way: "
                f"ask again when it has ended, at most {LEASE_S:g} s from now.",
                code="change_in_progress",
                retry_after_s=RETRY_AFTER_S,
            )
    try:
        yield token.hex
    except Rejected:
        await _release(context, project, user_key, group, token)
        raise
    await _release(context, project, user_key, group, token)


async def _release(context: Context, project: str, user_key: int, group: str, token: UUID) -> None:
    async with context.database.transaction() as connection:
        await group_locks.release_group(connection, project, user_key, group, token=token)
