"""Sync one user while an operator waits: everything is read from Stripe now, and the difference is said."""

import uuid

from msgspec import Struct

from domain.context import Context
from domain.flows.idempotency import Keep, keep_nothing
from domain.flows.recompute import before_commit, publish, recompute_user
from domain.flows.record_action import Operator, record_action
from domain.flows.show_user import UserAnswers, answers_of, require_user
from domain.flows.sync import Syncer
from domain.flows.sync_now import read_back
from domain.model import Entitlement, NewEvent, TargetRef
from domain.rules.changes import list_changed
from domain.rules.events import internal_event
from domain.store import inbox, traces
from domain.store.inbox import Marked
from domain.store.session import Connection
from domain.telemetry import get_logger

log = get_logger()

#: How long an operator waits for Stripe.
WITHIN_S = 10.0


class AnswerChange(Struct, frozen=True, kw_only=True):
    app: str
    feature: str
    #: None: it was not in the answers, or is no longer.
    before: Entitlement | None
    after: Entitlement | None


class SyncedUser(Struct, frozen=True, kw_only=True):
    project: str
    user_id: str
    #: Stripe customers everything of which was read.
    customers: tuple[str, ...]
    #: Whether all was read in time; if not, a worker goes on, and `changes` are those until now.
    settled: bool
    #: What apps read now and did not before.
    changes: tuple[AnswerChange, ...]
    #: By app.
    versions: dict[str, int]


class Synced(Struct, frozen=True, kw_only=True):
    """`user` is what the operator is told; the rest is for whoever called."""

    user: SyncedUser
    #: Targets that may be rung; none where all was read.
    owed: tuple[int, ...]


async def sync_user(
    context: Context,
    syncer: Syncer,
    project: str,
    user_id: str,
    operator: Operator,
    *,
    within_s: float = WITHIN_S,
    keep: Keep = keep_nothing,
) -> Synced:
    """Read everything of the user's customers from Stripe, recompute, publish, and say what that changed.

    The wish is durable, with one audit row in its transaction, before Stripe is asked. Harmless however
    often.

    Raises:
        Unknown: there is no such project or user.
        Unavailable: Postgres is away; asking again is safe.
    """
    begun = await _begin(context, project, user_id, operator)
    is_settled = await read_back(context, syncer, begun.marked, within_s=within_s)
    async with context.database.transaction() as connection:
        after = await _answers(context, connection, project, user_id)
        synced = SyncedUser(
            project=project,
            user_id=user_id,
            customers=begun.customers,
            settled=is_settled,
            changes=tuple(_changes(begun.before, after)),
            versions={one.app: one.version for one in after},
        )
        await keep(connection, synced)
    log.info("user_synced", customers=len(synced.customers), changes=len(synced.changes), settled=is_settled)
    return Synced(user=synced, owed=() if is_settled else begun.marked.target_ids)


class _Begun(Struct, frozen=True, kw_only=True):
    before: list[UserAnswers]
    customers: tuple[str, ...]
    marked: Marked


async def _begin(context: Context, project: str, user_id: str, operator: Operator) -> _Begun:
    """The wish, the audit row, and what needs no Stripe: answers without a source, a cache without a copy."""
    async with context.database.transaction() as connection:
        user = await require_user(connection, project, user_id)
        before = await _answers(context, connection, project, user_id)
        rows = await traces.list_customers(connection, project, user.user_key)
        linked = sorted(row.stripe_customer_id for row in rows if row.stripe_customer_id is not None)
        events = sorted((_read_all(one) for one in linked), key=lambda event: event.event_id)
        # Targets before the user: the order in which everybody locks.
        marked = await inbox.mark(connection, events) if events else Marked(frozenset(), {})
        recomputed = await recompute_user(context, connection, user.user_key, cause="sync")
        await record_action(
            connection,
            operator,
            action="user.sync",
            project=project,
            user_key=user.user_key,
            subject=("user", str(user.user_key)),
            reason=None,
            details={"customers": linked},
        )
        read_at = before_commit()
    await publish(context, [recomputed], read_at)
    return _Begun(before=before, customers=tuple(linked), marked=marked)


async def _answers(context: Context, connection: Connection, project: str, user_id: str) -> list[UserAnswers]:
    user = await require_user(connection, project, user_id)
    return await answers_of(
        connection, project, user.user_key, user.clock_at or await context.now(connection)
    )


def _read_all(customer_id: str) -> NewEvent:
    target = TargetRef("customer", customer_id)
    event_id = f"th_{uuid.uuid4().hex}"
    return internal_event(event_id, "operator", "customer_all", customer_id, target, cause="sync")


def _changes(before: list[UserAnswers], after: list[UserAnswers]) -> list[AnswerChange]:
    was = {one.app: one.entitlements for one in before}
    return [
        AnswerChange(
            app=one.app,
            feature=feature,
            before=was.get(one.app, {}).get(feature),
            after=one.entitlements.get(feature),
        )
        for one in after
        for feature in list_changed(was.get(one.app, {}), one.entitlements)
    ]
