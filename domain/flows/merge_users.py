"""Merge a user into another: what the first has counts for the second, and its own answers are empty.

Both users and all their customers are held while rows move, so that no sync writes for the one what is the
other's by then; whoever was about to judges again.
"""

from itertools import groupby
from math import lcm
from typing import Literal

from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, FieldError, Invalid
from domain.flows.gather_facts import gather_facts
from domain.flows.grant import require_head
from domain.flows.hold_users import Moved, hold_users, refuse_busy, with_attempts
from domain.flows.idempotency import Keep, keep_nothing
from domain.flows.name_user import refuse_moved, versions_of, which_user
from domain.flows.read_catalog import Head
from domain.flows.recompute import Recomputed, before_commit, publish, recompute_user
from domain.flows.record_action import Operator, record_action
from domain.rules.holdings import groups_of, is_running
from domain.rules.new_grant import reason_faults
from domain.store import checkouts, customers, moves
from domain.store.session import Connection
from domain.telemetry import get_logger

log = get_logger()


class Doubled(Struct, frozen=True, kw_only=True):
    """Of one group, for one user: Stripe bills each subscription, and a page that is paid makes one more."""

    group: str
    #: Live ones, and open checkout pages (cs_…).
    subscriptions: list[str]


class MergedUsers(Struct, frozen=True, kw_only=True):
    project: str
    user_id: str
    into_user_id: str
    state: Literal["merged", "would_merge"]
    #: Stripe customers that are the other's now.
    customers: list[str]
    #: Rows that moved, by table; of a dry run none.
    moved: dict[str, int]
    #: Without `even_if_doubled` these are in the way.
    doubled: list[Doubled]
    #: By app: what readers of the other's id get now.
    versions: dict[str, int]
    #: By app: what readers of the merged id get now, defaults all.
    left_versions: dict[str, int]


class Merged(Struct, frozen=True, kw_only=True):
    """`users` is what the operator is told; the rest is for whoever called."""

    users: MergedUsers
    #: Targets that may be rung.
    owed: tuple[int, ...] = ()


class MergeWish(Struct, frozen=True, kw_only=True):
    user_id: str
    into_user_id: str
    reason: str
    dry_run: bool = False
    #: Although the other then has two live subscriptions of a group.
    even_if_doubled: bool = False


class _Pair(Struct, frozen=True, kw_only=True):
    project: str
    source: int
    target: int


async def merge_users(
    context: Context, project: str, wish: MergeWish, operator: Operator, *, keep: Keep = keep_nothing
) -> Merged:
    """Everything of one user is another's: customers, checkouts, sources, grants, money and figures.

    One transaction, with one row in the audit log. Versions of both go on above all that either was given.
    What was answered before stays under the id it was answered for. Stripe is neither read nor changed.

    Raises:
        Unknown: there is no such project or user.
        Conflict: one was erased; two live subscriptions of a group would be one user's; what the first had
            is a third's; a checkout is under way. Invalid: no reason, or one user twice.
        Unavailable: Postgres is away; asking again is safe.
    """
    _refuse_impossible(wish)
    pair = await _find(context, project, wish)
    if wish.dry_run:
        async with context.database.connection() as connection:
            linked = await moves.list_customers(connection, project, [pair.source])
            doubled = await _doubled(context, connection, pair)
            named = [one.customer_id for one in linked]
            return Merged(users=_answer(project, wish, customers_=named, doubled=doubled))

    async def work(connection: Connection) -> tuple[Merged, tuple[Recomputed, ...], float]:
        merged, recomputed = await _merge(context, connection, pair, wish, operator)
        await keep(connection, merged.users)
        return merged, recomputed, before_commit()

    merged, recomputed, read_at = await with_attempts(context, work)
    await publish(context, recomputed, read_at)
    log.info("users_merged", user_key=pair.source, into=pair.target, customers=len(merged.users.customers))
    return merged


def _refuse_impossible(wish: MergeWish) -> None:
    if faults := reason_faults(wish.reason):
        raise Invalid("This is no reason.", errors=tuple(faults), code="reason_invalid")
    if wish.user_id == wish.into_user_id:
        raise Invalid(
            "A user is not merged into itself.", errors=(FieldError("into_user_id", "another user"),)
        )


async def _find(context: Context, project: str, wish: MergeWish) -> _Pair:
    async with context.database.connection() as connection:
        await require_head(connection, project)
        pair = _Pair(
            project=project,
            source=await which_user(context, connection, project, wish.user_id),
            target=await which_user(context, connection, project, wish.into_user_id),
        )
        await refuse_moved(connection, project, pair.source, unless_to=pair.target)
        return pair


async def _merge(
    context: Context, connection: Connection, pair: _Pair, wish: MergeWish, operator: Operator
) -> tuple[Merged, tuple[Recomputed, ...]]:
    project, keys = pair.project, [pair.source, pair.target]
    held = await hold_users(connection, project, keys)
    if [held.users[key].user_id for key in keys] != [wish.user_id, wish.into_user_id]:
        raise Moved
    await refuse_moved(connection, project, pair.source, unless_to=pair.target)
    await refuse_busy(connection, project, keys)
    doubled = await _doubled(context, connection, pair)
    if doubled and not wish.even_if_doubled:
        raise _two_subscriptions(doubled)
    above = await moves.highest_versions(connection, project, keys)
    moved = await _move(connection, pair)
    recomputed = tuple(
        [await recompute_user(context, connection, key, cause="merge", above=above) for key in sorted(keys)]
    )
    await record_action(
        connection,
        operator,
        action="user.merge",
        project=project,
        user_key=pair.target,
        subject=("user", str(pair.source)),
        reason=wish.reason.strip(),
        details={
            "from": pair.source,
            "into": pair.target,
            "customers": held.customers[pair.source],
            "moved": moved,
            "doubled": [one.subscriptions for one in doubled],
        },
    )
    by_key = {one.user_key: one for one in recomputed}
    answer = _answer(
        project,
        wish,
        customers_=list(held.customers[pair.source]),
        doubled=doubled,
        moved=moved,
        versions=await versions_of(context, connection, by_key[pair.target]),
        left_versions=await versions_of(context, connection, by_key[pair.source]),
    )
    return Merged(users=answer, owed=held.targets), recomputed


async def _move(connection: Connection, pair: _Pair) -> dict[str, int]:
    moved = {
        "stripe_customers": await moves.move_customers(connection, pair.project, pair.source, pair.target)
    }
    await _even_divisors(connection, pair)
    for table in moves.MOVED:
        moved[table] = await moves.move_rows(connection, table, pair.project, pair.source, pair.target)
    await moves.hand_over(connection, pair.project, pair.source, pair.target)
    return moved


async def _even_divisors(connection: Connection, pair: _Pair) -> None:
    """Figures add up what one user's sums of a moment come to, in the one divisor that all of them have."""
    keys = [pair.source, pair.target]
    for currency, divisors in (await moves.list_divisors(connection, pair.project, keys)).items():
        if len(divisors) > 1:
            await moves.scale_sums(connection, pair.project, keys, currency, lcm(*divisors))


async def _doubled(context: Context, connection: Connection, pair: _Pair) -> list[Doubled]:
    """Groups in which both have a live subscription, or a checkout page that may make one."""
    head = await require_head(connection, pair.project)
    held = [await _live(context, connection, head, pair.project, key) for key in (pair.source, pair.target)]
    shared = {group for group, _ in held[0]} & {group for group, _ in held[1]}
    both = sorted(one for one in held[0] | held[1] if one[0] in shared)
    return [
        Doubled(group=group, subscriptions=[subscription_id for _, subscription_id in found])
        for group, found in groupby(both, key=lambda one: one[0])
    ]


async def _live(
    context: Context, connection: Connection, head: Head, project: str, user_key: int
) -> set[tuple[str, str]]:
    """(group, subscription) of what runs, and (group, session) of what can still be paid."""
    user = await customers.load_user(connection, user_key)
    now = user.clock_at or await context.now(connection)
    facts = await gather_facts(connection, project, user_key)
    running = [one for one in facts.subscriptions if is_running(one, now)]
    pages = await checkouts.list_payable(connection, project, user_key)
    return {(group, one.subscription_id) for one in running for group in groups_of(one, head.catalog)} | {
        (group, session_id) for session_id, groups in pages for group in groups
    }


def _two_subscriptions(doubled: list[Doubled]) -> Conflict:
    named = "; ".join(f"{', '.join(one.subscriptions)} of group {one.group}" for one in doubled)
    return Conflict(
        f"One user would have two live subscriptions or open checkout pages, and Stripe bills both: {named}. "
        "End one in Stripe first, or say that they are to be merged even so.",
        code="subscriptions_doubled",
    )


def _answer(
    project: str,
    wish: MergeWish,
    *,
    customers_: list[str],
    doubled: list[Doubled],
    moved: dict[str, int] | None = None,
    versions: dict[str, int] | None = None,
    left_versions: dict[str, int] | None = None,
) -> MergedUsers:
    return MergedUsers(
        project=project,
        user_id=wish.user_id,
        into_user_id=wish.into_user_id,
        state="would_merge" if moved is None else "merged",
        customers=customers_,
        moved=moved or {},
        doubled=doubled,
        versions=versions or {},
        left_versions=left_versions or {},
    )
