"""Make a user where none is known: the one place, because nobody who was erased may come back by a call."""

from collections.abc import Iterable

from domain.context import Context
from domain.errors import Conflict, Unavailable
from domain.rules.tombstone import Pepper, tombstones_of
from domain.settings import Settings
from domain.store import checkouts, erased
from domain.store.session import Connection


async def lock_or_make_user(context: Context, connection: Connection, project: str, user_id: str) -> int:
    """The user_key of a user of this project, made when unknown, locked until the transaction ends.

    Raises:
        Conflict: the user was erased.
        Unavailable: nobody can tell, because this process has no peppers.
    """
    user_key = await checkouts.lock_or_insert_user(connection, project, user_id)
    # After the lock: whoever erases this user at the same moment has done so by now, or waits.
    names = [user_id, *erased_names(context.settings, project, user_id)]
    if await erased.is_erased(connection, project, names):
        raise user_erased()
    if not context.settings.key_peppers and await erased.is_new_among_erased(connection, project, user_key):
        raise Unavailable(
            "Users of this project were erased, and whether this is one of them is told with the peppers: "
            "set TOLLHOUSE_KEY_PEPPERS to what the doors have.",
            alarm=True,
        )
    return user_key


async def erased_among(
    context: Context, connection: Connection, project: str, user_ids: Iterable[str]
) -> set[str]:
    """Of these users, the ones that were erased; nobody is told of without peppers."""
    named = {
        name: user_id for user_id in user_ids for name in erased_names(context.settings, project, user_id)
    }
    return {named[name] for name in await erased.list_erased(connection, project, list(named))}


def erased_names(settings: Settings, project: str, user_id: str) -> list[str]:
    """What this user is called once it is erased, the newest pepper's name first; none without peppers."""
    peppers = [Pepper(version, bytes.fromhex(one.reveal())) for version, one in settings.key_peppers]
    return tombstones_of(project, user_id, peppers)


def user_erased() -> Conflict:
    return Conflict(
        "This user was erased and is not made again under the same id: give the person a new user id.",
        code="user_erased",
    )
