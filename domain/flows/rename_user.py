"""Rename a user: everything of it is found under another id, and the old one is a user that has nothing.

The user keeps its key, so nothing of it moves. The old id goes to another row, which answers its readers on
under growing versions: the one that had the new id, where that one never had anything, else a new one.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, FieldError, Invalid
from domain.flows.grant import refuse_impossible_user, require_head
from domain.flows.hold_users import Moved, hold_users, refuse_busy, with_attempts
from domain.flows.idempotency import Keep, keep_nothing
from domain.flows.make_user import lock_or_make_user
from domain.flows.name_user import refuse_moved, versions_of, which_user
from domain.flows.recompute import Recomputed, before_commit, publish, recompute_user
from domain.flows.record_action import Operator, record_action
from domain.rules.new_grant import reason_faults
from domain.store import customers, moves
from domain.store.session import Connection
from domain.telemetry import get_logger

log = get_logger()


class RenamedUser(Struct, frozen=True, kw_only=True):
    project: str
    user_id: str
    new_user_id: str
    user_key: int
    state: Literal["renamed", "would_rename"]
    #: By app: what readers of the new id get now; of a dry run none.
    versions: dict[str, int]
    #: By app: what readers of the old id get now, defaults all.
    left_versions: dict[str, int]


class RenameWish(Struct, frozen=True, kw_only=True):
    user_id: str
    new_user_id: str
    reason: str
    dry_run: bool = False


async def rename_user(
    context: Context, project: str, wish: RenameWish, operator: Operator, *, keep: Keep = keep_nothing
) -> RenamedUser:
    """Give a user another id, in one transaction with one row in the audit log.

    Versions under both ids go on above all that either was given. Stripe is neither read nor changed: the
    metadata of customers goes on to say the old id, and nothing depends on it.

    Raises:
        Unknown: there is no such project or user.
        Conflict: one of them was erased; the new id is a user's who has something; what the old one had is
            another's; a checkout is under way.
        Invalid: no reason, what cannot be an id, or the same one.
        Unavailable: Postgres is away; asking again is safe.
    """
    _refuse_impossible(wish)
    async with context.database.connection() as connection:
        await require_head(connection, project)
        user_key = await which_user(context, connection, project, wish.user_id)
        await refuse_moved(connection, project, user_key)
        taken = await customers.find_user_key(connection, project, wish.new_user_id)
        if taken is not None:
            await _refuse_taken(connection, project, taken)
    if wish.dry_run:
        return _answer(project, wish, user_key)

    async def work(connection: Connection) -> tuple[RenamedUser, tuple[Recomputed, ...], float]:
        answer, recomputed = await _rename(context, connection, project, user_key, wish, operator)
        await keep(connection, answer)
        return answer, recomputed, before_commit()

    answer, recomputed, read_at = await with_attempts(context, work)
    await publish(context, recomputed, read_at)
    log.info("user_renamed", user_key=user_key)
    return answer


def _refuse_impossible(wish: RenameWish) -> None:
    if faults := reason_faults(wish.reason):
        raise Invalid("This is no reason.", errors=tuple(faults), code="reason_invalid")
    refuse_impossible_user(wish.new_user_id)
    if wish.user_id == wish.new_user_id:
        raise Invalid("This is the user's id already.", errors=(FieldError("new_user_id", "another id"),))


async def _refuse_taken(connection: Connection, project: str, user_key: int) -> None:
    if await moves.holds_anything(connection, project, user_key):
        raise Conflict(
            "The new id is that of a user who has, or had, a customer, a checkout or a grant: merge them "
            "instead.",
            code="user_exists",
        )


async def _rename(
    context: Context,
    connection: Connection,
    project: str,
    user_key: int,
    wish: RenameWish,
    operator: Operator,
) -> tuple[RenamedUser, tuple[Recomputed, ...]]:
    other = await customers.find_user_key(connection, project, wish.new_user_id)
    held = await hold_users(connection, project, [user_key] if other is None else [user_key, other])
    # A row that is made now has the highest key: the order of locks stays.
    spare = await lock_or_make_user(context, connection, project, wish.new_user_id)
    if held.users[user_key].user_id != wish.user_id or other not in {None, spare}:
        raise Moved
    await refuse_moved(connection, project, user_key)
    await _refuse_taken(connection, project, spare)
    await refuse_busy(connection, project, [user_key, spare])
    keys = [user_key, spare]
    above = await moves.highest_versions(connection, project, keys)
    await moves.swap_names(connection, project, user_key, spare)
    await moves.hand_over(connection, project, spare, user_key)
    recomputed = {
        key: await recompute_user(context, connection, key, cause="rename", above=above)
        for key in sorted(keys)
    }
    await record_action(
        connection,
        operator,
        action="user.rename",
        project=project,
        user_key=user_key,
        subject=("user", str(user_key)),
        reason=wish.reason.strip(),
        details={"old_id_is_of": spare, "above": above},
    )
    answer = msgspec.structs.replace(
        _answer(project, wish, user_key),
        state="renamed",
        versions=await versions_of(context, connection, recomputed[user_key]),
        left_versions=await versions_of(context, connection, recomputed[spare]),
    )
    return answer, tuple(recomputed.values())


def _answer(project: str, wish: RenameWish, user_key: int) -> RenamedUser:
    return RenamedUser(
        project=project,
        user_id=wish.user_id,
        new_user_id=wish.new_user_id,
        user_key=user_key,
        state="would_rename",
        versions={},
        left_versions={},
    )
