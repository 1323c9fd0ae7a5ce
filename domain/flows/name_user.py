"""Whom an operator means who renames, merges or erases, and what readers of that user get."""

from domain.context import Context
from domain.errors import Conflict, Unknown
from domain.flows.make_user import erased_names, user_erased
from domain.flows.recompute import Recomputed
from domain.rules.answer import answer_at
from domain.store import customers, erased, moves
from domain.store.session import Connection


async def which_user(context: Context, connection: Connection, project: str, user_id: str) -> int:
    """The key of a user who is known and was not erased.

    Raises:
        Unknown: nobody of this id is known. Conflict: the user was erased.
    """
    names = [user_id, *erased_names(context.settings, project, user_id)]
    if "\0" not in user_id:
        if await erased.is_erased(connection, project, names):
            raise user_erased()
        user_key = await customers.find_user_key(connection, project, user_id)
        if user_key is not None:
            return user_key
    raise Unknown(
        f"Nobody knows a user {user_id!r} in project {project}: look for a typing mistake. `tollhouse find` "
        "looks in every project; users of two projects are never one.",
        code="unknown_user",
    )


async def refuse_moved(
    connection: Connection, project: str, user_key: int, *, unless_to: int | None = None
) -> None:
    """Raises: Conflict, where all that the user had went to another one, and nothing came since."""
    holder = await moves.find_holder(connection, project, user_key)
    if holder is not None and holder.user_key != unless_to:
        raise Conflict(
            f"What this user had is {holder.user_id!r}'s since a rename or merge: name that one. When that "
            "one is erased, its earlier ids are too.",
            code="user_moved",
        )


async def versions_of(context: Context, connection: Connection, recomputed: Recomputed) -> dict[str, int]:
    """By app: the version that its readers get now."""
    now = await context.now(connection)
    at = {stored.app: stored.clock_at or now for _, stored in recomputed.sets}
    return {stored.app: answer_at(stored, "", at[stored.app]).version for _, stored in recomputed.sets}
