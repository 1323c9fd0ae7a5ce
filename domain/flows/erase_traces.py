"""What is done to the rows of a user who is erased, in the transaction and under the locks of its caller."""

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.flows.recompute import Recomputed, recompute_user
from domain.flows.record_action import Operator
from domain.rules.tombstone import NO_WORDS
from domain.store import customers, erased, recurring
from domain.store.session import Connection

#: Deleted once the answers are computed anew, which writes a row of each: apps are told nothing about a name
#: of ours.
ANSWERED = ("entitlement_history", "entitlement_changes")


class Named(Struct, frozen=True, kw_only=True):
    """Who is to be erased."""

    project: str
    #: As the caller says it.
    user_id: str
    user_key: int
    tombstone: str
    #: Was erased before.
    is_erased: bool


async def erase_traces(
    context: Context, connection: Connection, named: Named, linked: tuple[str, ...], operator: Operator
) -> tuple[dict[str, int], Recomputed]:
    """Answers the rows that went, by table, and what readers get from now on. `linked`: its customers."""
    project, user_key = named.project, named.user_key
    await _drop_mentions(context, connection, named, linked)
    await erased.end_grants(connection, project, user_key, actor=operator.actor, words=NO_WORDS)
    sources = [table for table in erased.DELETED if table not in ANSWERED]
    done = {table: await erased.delete_rows(connection, table, project, user_key) for table in sources}
    recomputed = await recompute_user(context, connection, user_key, cause="erase")
    for table in ANSWERED:
        done[table] = await erased.delete_rows(connection, table, project, user_key)
    await erased.unseat_customers(connection, project, user_key)
    await erased.bury_user(connection, project, user_key, named.tombstone)
    await erased.drop_words(connection, project, user_key, words=NO_WORDS)
    return done, recomputed


async def _drop_mentions(
    context: Context, connection: Connection, named: Named, linked: tuple[str, ...]
) -> None:
    """What names the user elsewhere than in rows of its own, and what would go on for it."""
    project, user_key = named.project, named.user_key
    answers = _in_answers(named.user_id, await erased.list_ids(connection, project, user_key))
    await erased.drop_bodies(connection, project, user_key)
    await erased.drop_kept_answers(connection, project, answers)
    await erased.drop_timers(connection, linked)
    await erased.drop_drifts(connection, project, user_key, linked)
    await erased.drop_imported(connection, project, named.user_id, linked)
    # A recompute without a subscription leaves these alone.
    still = sorted(await recurring.list_open(connection, project, user_key))
    if still:
        user = await customers.load_user(connection, user_key)
        now = user.clock_at or await context.now(connection)
        await recurring.replace_open(connection, project, user_key, still, [], now, now)


def _in_answers(user_id: str, ids: list[str]) -> list[bytes]:
    """How an answer of ours names the user, or an object of it."""
    return [b'user_id":' + msgspec.json.encode(user_id), *(msgspec.json.encode(one) for one in ids)]
