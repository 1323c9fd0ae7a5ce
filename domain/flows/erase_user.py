"""Erase a user: personal data goes, sums stay, and nothing that comes later brings the user back.

Safe to repeat: whoever dies in the middle leaves either the user as it was, but for bodies of deliveries that
nobody needs, or an erased one, whom the same call erases again.
"""

from collections import Counter
from typing import Literal

import msgspec
from msgspec import Struct

from domain.cache import cache_key
from domain.context import Context
from domain.errors import Conflict, Invalid, Unknown
from domain.flows.erase_bodies import begin_search, go_on_searching
from domain.flows.erase_traces import ANSWERED, Named, erase_traces
from domain.flows.gather_facts import gather_facts
from domain.flows.grant import require_head
from domain.flows.hold_users import Held, Moved, hold_users, refuse_busy, with_attempts
from domain.flows.idempotency import Keep, keep_nothing
from domain.flows.make_user import erased_names
from domain.flows.manage_keys import find_mode
from domain.flows.name_user import refuse_moved, versions_of
from domain.flows.recompute import Recomputed, before_commit, publish
from domain.flows.record_action import Operator, record_action
from domain.rules.holdings import is_running
from domain.rules.new_grant import reason_faults
from domain.setting_values import SettingsInvalid
from domain.store import checkouts, customers, erased, moves
from domain.store.customers import LockedUser
from domain.store.session import Connection
from domain.telemetry import get_logger

log = get_logger()


class LeftAtStripe(Struct, frozen=True, kw_only=True):
    """A customer that Stripe goes on to hold: what only Stripe can delete."""

    customer_id: str
    #: Where somebody deletes it by hand.
    url: str
    #: The same by Stripe's own command line.
    command: str


class ErasedUser(Struct, frozen=True, kw_only=True):
    """Holds nothing of what was erased: not even the user's id."""

    project: str
    user_key: int
    #: The name in its place: a keyed hash. None: nothing was done.
    tombstone: str | None
    #: Earlier ids of the user, renamed or merged away: erased with it, by their keys. One that has got things
    #: of its own since is a user by itself, and stays.
    former: list[int]
    #: `would_erase`: of a dry run. `already`: it was erased before, and what has come since is gone too.
    state: Literal["erased", "already", "would_erase"]
    #: Rows that went, by table.
    deleted: dict[str, int]
    #: Rows that stay to be counted, under the name that nobody can turn back.
    kept: dict[str, int]
    #: Bodies of deliveries that went; None: not looked for in a dry run.
    bodies: int | None
    #: Running subscriptions, which Stripe goes on to bill: without `even_if_subscribed` they are in the way.
    running: list[str]
    #: Checkout pages that can still be paid, for nothing then: in the way, too.
    payable: list[str]
    left_at_stripe: list[LeftAtStripe]
    #: By app: what readers of the old id get from now on, defaults all.
    versions: dict[str, int]


class EraseWish(Struct, frozen=True, kw_only=True):
    #: For the audit log; it must not name the person.
    reason: str
    dry_run: bool = False
    #: Also while Stripe goes on to bill a subscription.
    even_if_subscribed: bool = False


async def erase_user(
    context: Context,
    project: str,
    user_id: str,
    wish: EraseWish,
    operator: Operator,
    *,
    within_s: float | None = None,
    keep: Keep = keep_nothing,
) -> ErasedUser:
    """Delete what we hold of the user, for good, and leave a name in its place that only peppers recognise.

    Bodies of deliveries first, then everything else in one transaction under the locks of the user and its
    customers, with one row in the audit log. `within_s`: how long the search of bodies may take; None: as
    long as it takes. Stripe is neither read nor changed.

    Raises:
        Unknown: there is no such project or user.
        Conflict: the user has a running subscription or a page that can be paid, what it had is another's by
            a rename or merge, or a checkout is under way.
        Invalid: no reason. SettingsInvalid: no peppers.
        Unavailable: Postgres is away, or the search takes too long for this caller; asking again is safe.
    """
    if faults := reason_faults(wish.reason):
        raise Invalid("This is no reason.", errors=tuple(faults), code="reason_invalid")
    ids = await _find(context, project, user_id)
    foreseen = await _foresee(context, ids)
    if wish.dry_run:
        return foreseen
    # Before bodies go, and once more under the locks.
    _refuse_subscribed([*foreseen.running, *foreseen.payable], wish)
    search = await begin_search(context, ids)
    await go_on_searching(context, search, within_s=within_s)
    await context.faults.reach("erase.bodies")

    async def work(connection: Connection) -> tuple[ErasedUser, list[Recomputed], float]:
        answer, recomputed = await _erase(context, connection, ids, wish, operator)
        whole = msgspec.structs.replace(answer, bodies=search.dropped)
        await keep(connection, whole)
        return whole, recomputed, before_commit()

    answer, recomputed, read_at = await with_attempts(context, work)
    await context.faults.reach("erase.committed")
    # What came while the rest was searched; the scheduler finds what comes from now on.
    await go_on_searching(context, search, within_s=None)
    await publish(context, [_under_old_name(*pair) for pair in zip(ids, recomputed, strict=True)], read_at)
    log.info("user_erased", user_key=answer.user_key, state=answer.state, actor=operator.actor)
    return answer


async def _find(context: Context, project: str, user_id: str) -> list[Named]:
    """The user, and then its earlier ids.

    Raises: Unknown, where nobody of this name is known, erased or not.
    """
    async with context.database.connection() as connection:
        await require_head(connection, project)
        names = [user_id, *erased_names(context.settings, project, user_id)]
        user_key = await erased.find_by_name(connection, project, names)
        if user_key is None and "\0" not in user_id:
            user_key = await customers.find_user_key(connection, project, user_id)
        if user_key is None:
            raise Unknown(
                "Nobody knows this user in this project, and nobody was erased under this id: look for a "
                "typing mistake, or in another project with `tollhouse find`.",
                code="unknown_user",
            )
        await refuse_moved(connection, project, user_key)
        former = await moves.list_former(connection, project, user_key)
        known = [await customers.load_user(connection, key) for key in (user_key, *former)]
        said = [user_id, *(one.user_id for one in known[1:])]
        return [await _name(context, connection, *named) for named in zip(known, said, strict=True)]


async def _name(context: Context, connection: Connection, user: LockedUser, said: str) -> Named:
    # By its row: whoever is called like somebody erased is not.
    is_erased = await erased.is_erased(connection, user.project, [user.user_id])
    names = erased_names(context.settings, user.project, user.user_id)
    if not names:
        raise SettingsInvalid(
            "Erasing needs TOLLHOUSE_KEY_PEPPERS: set it to what the doors have, so that they recognise the "
            "erased user."
        )
    return Named(
        project=user.project,
        user_id=said,
        user_key=user.user_key,
        tombstone=user.user_id if is_erased else names[0],
        is_erased=is_erased,
    )


async def _foresee(context: Context, ids: list[Named]) -> ErasedUser:
    async with context.database.connection() as connection:
        keys = [one.user_key for one in ids]
        counted = {
            table: await erased.count_rows(connection, table, ids[0].project, keys)
            for table in erased.DELETED
        }
        return await _answer(
            context,
            connection,
            ids,
            done=counted,
            running=await _running(context, connection, keys),
            payable=await _payable(connection, ids[0].project, keys),
        )


async def _erase(
    context: Context, connection: Connection, ids: list[Named], wish: EraseWish, operator: Operator
) -> tuple[ErasedUser, list[Recomputed]]:
    project, keys = ids[0].project, [one.user_key for one in ids]
    held, in_use = await _hold(connection, ids)
    # Two at once: the second one comes to an erased user.
    known = [
        msgspec.structs.replace(one, is_erased=held.users[one.user_key].user_id == one.tombstone)
        for one in ids
    ]
    await refuse_busy(connection, project, keys)
    running = await _running(context, connection, keys)
    payable = await _payable(connection, project, keys)
    _refuse_subscribed([*running, *payable], wish)
    gone: Counter[str] = Counter()
    recomputed = []
    for one in known:
        done, answers = await erase_traces(context, connection, one, held.customers[one.user_key], operator)
        gone.update(done)
        recomputed.append(answers)
    await _part(connection, project, in_use)
    await record_action(
        connection,
        operator,
        action="user.erase",
        project=project,
        user_key=keys[0],
        subject=("user", str(keys[0])),
        reason=wish.reason.strip(),
        details={
            "deleted": gone,
            "customers": [one for key in keys for one in held.customers[key]],
            "former": keys[1:],
            "was_erased": known[0].is_erased,
        },
    )
    answer = await _answer(
        context,
        connection,
        known,
        done=dict(gone),
        running=running,
        payable=payable,
        recomputed=recomputed[0],
    )
    return answer, recomputed


async def _hold(connection: Connection, ids: list[Named]) -> tuple[Held, list[int]]:
    """The locks, and the earlier ids that are somebody's by themselves now."""
    project, keys = ids[0].project, [one.user_key for one in ids]
    in_use = await moves.list_former(connection, project, keys[0], in_use=True)
    held = await hold_users(connection, project, [*keys, *in_use])
    if any(held.users[one.user_key].user_id not in {one.user_id, one.tombstone} for one in ids):
        raise Moved
    now_in_use = await moves.list_former(connection, project, keys[0], in_use=True)
    # Somebody began to use an earlier id, or another user was merged into this one.
    if now_in_use != in_use or await moves.list_former(connection, project, keys[0]) != keys[1:]:
        raise Moved
    await refuse_moved(connection, project, keys[0])
    return held, in_use


async def _part(connection: Connection, project: str, in_use: list[int]) -> None:
    """Whoever goes by an earlier id now keeps what is theirs, and nothing of what was answered before."""
    for user_key in in_use:
        for table in ANSWERED:
            await moves.part_from_former(connection, table, project, user_key)
        await moves.forget_holder(connection, project, user_key)


async def _running(context: Context, connection: Connection, user_keys: list[int]) -> list[str]:
    found: list[str] = []
    for user_key in user_keys:
        user = await customers.load_user(connection, user_key)
        facts = await gather_facts(connection, user.project, user_key)
        now = user.clock_at or await context.now(connection)
        found += [one.subscription_id for one in facts.subscriptions if is_running(one, now)]
    return found


async def _payable(connection: Connection, project: str, user_keys: list[int]) -> list[str]:
    pages = [await checkouts.list_payable(connection, project, key) for key in user_keys]
    return sorted(session_id for listed in pages for session_id, _ in listed)


def _refuse_subscribed(running: list[str], wish: EraseWish) -> None:
    if running and not wish.even_if_subscribed:
        raise Conflict(
            f"Stripe goes on to bill, or can still be paid for, {', '.join(running)}, and nobody here could "
            "tell whose it is any more: end it in Stripe first, or say that it is to be done even so.",
            code="user_subscribed",
        )


async def _answer(
    context: Context,
    connection: Connection,
    ids: list[Named],
    *,
    done: dict[str, int],
    running: list[str],
    payable: list[str],
    recomputed: Recomputed | None = None,
) -> ErasedUser:
    """`recomputed` None: nothing was done."""
    project, keys = ids[0].project, [one.user_key for one in ids]
    linked = await moves.list_customers(connection, project, keys)
    is_live = await find_mode(connection, context.settings) == "live"
    return ErasedUser(
        project=project,
        user_key=keys[0],
        tombstone=None if recomputed is None else ids[0].tombstone,
        former=keys[1:],
        state="would_erase" if recomputed is None else "already" if ids[0].is_erased else "erased",
        deleted=done,
        kept={table: await erased.count_rows(connection, table, project, keys) for table in erased.KEPT},
        bodies=None,
        running=running,
        payable=payable,
        left_at_stripe=[_left(one.customer_id, is_live=is_live) for one in linked],
        versions={} if recomputed is None else await versions_of(context, connection, recomputed),
    )


def _left(customer_id: str, *, is_live: bool) -> LeftAtStripe:
    return LeftAtStripe(
        customer_id=customer_id,
        url=f"https://dashboard.stripe.com/{'' if is_live else 'test/'}customers/{customer_id}",
        command=f"stripe customers delete {customer_id}{' --live' if is_live else ''}",
    )


def _under_old_name(named: Named, recomputed: Recomputed) -> Recomputed:
    """Readers ask with the id that the caller says, also where an earlier call died before it told them."""
    sets = tuple(
        (cache_key(named.project, named.user_id, stored.app), stored) for _, stored in recomputed.sets
    )
    return msgspec.structs.replace(recomputed, sets=sets)
