"""Erase a user: personal data goes, sums stay, and nothing that comes later brings the user back.

Safe to repeat: whoever dies in the middle leaves either the user as it was, but for bodies of deliveries that
nobody needs, or an erased one, whom the same call erases again.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from domain.cache import cache_key
from domain.context import Context
from domain.errors import Conflict, Invalid, Unknown
from domain.flows.erase_bodies import begin_search, go_on_searching
from domain.flows.erase_traces import Named, erase_traces
from domain.flows.gather_facts import gather_facts
from domain.flows.grant import require_head
from domain.flows.hold_users import Moved, hold_users, refuse_busy, with_attempts
from domain.flows.idempotency import Keep, keep_nothing
from domain.flows.make_user import erased_names
from domain.flows.manage_keys import find_mode
from domain.flows.recompute import Recomputed, before_commit, publish
from domain.flows.record_action import Operator, record_action
from domain.rules.answer import answer_at
from domain.rules.holdings import is_running
from domain.rules.new_grant import reason_faults
from domain.setting_values import SettingsInvalid
from domain.store import customers, erased, moves
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
        Conflict: the user has a running subscription, or a checkout is under way.
        Invalid: no reason. SettingsInvalid: no peppers.
        Unavailable: Postgres is away, or the search takes too long for this caller; asking again is safe.
    """
    if faults := reason_faults(wish.reason):
        raise Invalid("This is no reason.", errors=tuple(faults), code="reason_invalid")
    named = await _find(context, project, user_id)
    foreseen = await _foresee(context, named)
    if wish.dry_run:
        return foreseen
    # Before bodies go, and once more under the locks.
    _refuse_subscribed(foreseen.running, wish)
    search = await begin_search(context, project, named.user_key, user_id)
    await go_on_searching(context, search, within_s=within_s)
    await context.faults.reach("erase.bodies")

    async def work(connection: Connection) -> tuple[ErasedUser, Recomputed, float]:
        answer, recomputed = await _erase(context, connection, named, wish, operator)
        whole = msgspec.structs.replace(answer, bodies=search.dropped)
        await keep(connection, whole)
        return whole, recomputed, before_commit()

    answer, recomputed, read_at = await with_attempts(context, work)
    await context.faults.reach("erase.committed")
    # What came while the rest was searched; the scheduler finds what comes from now on.
    await go_on_searching(context, search, within_s=None)
    await publish(context, [_under_old_name(named, recomputed)], read_at)
    log.info("user_erased", user_key=named.user_key, state=answer.state, actor=operator.actor)
    return answer


async def _find(context: Context, project: str, user_id: str) -> Named:
    """Raises: Unknown, where nobody of this name is known, erased or not."""
    names = erased_names(context.settings, project, user_id)
    if not names:
        raise SettingsInvalid(
            "Erasing needs TOLLHOUSE_KEY_PEPPERS: set it to what the doors have, so that they recognise the "
            "erased user."
        )
    async with context.database.connection() as connection:
        await require_head(connection, project)
        user_key = await erased.find_by_name(connection, project, [user_id, *names])
        is_erased = user_key is not None
        if user_key is None and "\0" not in user_id:
            user_key = await customers.find_user_key(connection, project, user_id)
        if user_key is None:
            raise Unknown(
                "Nobody knows this user in this project, and nobody was erased under this id: look for a "
                "typing mistake, or in another project with `tollhouse find`.",
                code="unknown_user",
            )
        known = await customers.load_user(connection, user_key)
    return Named(
        project=project,
        user_id=user_id,
        user_key=user_key,
        tombstone=known.user_id if is_erased else names[0],
        is_erased=is_erased,
    )


async def _foresee(context: Context, named: Named) -> ErasedUser:
    async with context.database.connection() as connection:
        user = await customers.load_user(connection, named.user_key)
        counted = {
            table: await erased.count_rows(connection, table, named.project, named.user_key)
            for table in erased.DELETED
        }
        running = await _running(context, connection, user)
        return await _answer(context, connection, named, done=counted, running=running)


async def _erase(
    context: Context, connection: Connection, named: Named, wish: EraseWish, operator: Operator
) -> tuple[ErasedUser, Recomputed]:
    held = await hold_users(connection, named.project, [named.user_key])
    user, linked = held.users[named.user_key], held.customers[named.user_key]
    if user.user_id not in {named.user_id, named.tombstone}:
        raise Moved
    # Two at once: the second one comes to an erased user.
    now_named = msgspec.structs.replace(named, is_erased=user.user_id == named.tombstone)
    await refuse_busy(connection, named.project, [named.user_key])
    running = await _running(context, connection, user)
    _refuse_subscribed(running, wish)
    done, recomputed = await erase_traces(context, connection, now_named, linked, operator)
    await record_action(
        connection,
        operator,
        action="user.erase",
        project=named.project,
        user_key=named.user_key,
        subject=("user", str(named.user_key)),
        reason=wish.reason.strip(),
        details={"deleted": done, "customers": linked, "was_erased": now_named.is_erased},
    )
    answer = await _answer(context, connection, now_named, done=done, running=running, recomputed=recomputed)
    return answer, recomputed


async def _running(context: Context, connection: Connection, user: LockedUser) -> list[str]:
    facts = await gather_facts(connection, user.project, user.user_key)
    now = user.clock_at or await context.now(connection)
    return [one.subscription_id for one in facts.subscriptions if is_running(one, now)]


def _refuse_subscribed(running: list[str], wish: EraseWish) -> None:
    if running and not wish.even_if_subscribed:
        raise Conflict(
            f"Stripe goes on to bill {', '.join(running)}, and nobody here could tell whose it is any more: "
            "end it in Stripe first, or say that the user is to be erased even so.",
            code="user_subscribed",
        )


async def _answer(
    context: Context,
    connection: Connection,
    named: Named,
    *,
    done: dict[str, int],
    running: list[str],
    recomputed: Recomputed | None = None,
) -> ErasedUser:
    """`recomputed` None: nothing was done."""
    linked = await moves.list_customers(connection, named.project, [named.user_key])
    is_live = await find_mode(connection, context.settings) == "live"
    now = await context.now(connection)
    sets = () if recomputed is None else recomputed.sets
    return ErasedUser(
        project=named.project,
        user_key=named.user_key,
        tombstone=None if recomputed is None else named.tombstone,
        state="would_erase" if recomputed is None else "already" if named.is_erased else "erased",
        deleted=done,
        kept={
            table: await erased.count_rows(connection, table, named.project, named.user_key)
            for table in erased.KEPT
        },
        bodies=None,
        running=running,
        left_at_stripe=[_left(one.customer_id, is_live=is_live) for one in linked],
        versions={stored.app: answer_at(stored, "", now).version for _, stored in sets},
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
