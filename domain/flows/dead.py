"""What gave up gets one more try, or is given up for good: by an operator, with an audit row each.

Targets are locked before event rows, as everywhere (docs/event-path.md, "Lock order"); neither verb takes a
user's lock, because neither changes an answer.
"""

from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, Invalid
from domain.flows.idempotency import Keep, keep_nothing
from domain.flows.list_dead import load_dead
from domain.flows.record_action import Operator, record_action
from domain.rules.new_grant import reason_faults
from domain.store import dead, inbox
from domain.store.dead import DeadKind, DeadRow
from domain.store.session import Connection
from domain.telemetry import get_logger

__all__ = ["Discarded", "Operator", "Retried", "discard_dead", "retry_dead"]

log = get_logger()

DISCARDED = "discarded: "


class Retried(Struct, frozen=True, kw_only=True):
    id: str
    kind: DeadKind
    #: Failed events that are pending again; what was pending all the time is not listed.
    reopened: tuple[str, ...]


class Discarded(Struct, frozen=True, kw_only=True):
    id: str
    kind: DeadKind
    #: Events that are `ignored` from now on.
    discarded: tuple[str, ...]


async def retry_dead(
    context: Context,
    project: str | None,
    dead_id: str,
    operator: Operator,
    *,
    reason: str | None = None,
    keep: Keep = keep_nothing,
) -> Retried:
    """A dead target lives again for one try, its failed events too; a failed event gets all its tries again.

    Harmless however often: an event only says that Stripe should be read. `project` None: whoever's it is.
    `keep` keeps the answer in the transaction that revives it.

    Raises:
        Unknown: nothing of that name gave up, or it is not this project's.
        Conflict: it went on meanwhile.
        Invalid: the reason cannot be one.
        Unavailable: Postgres is away; asking again is safe.
    """
    said = None if reason is None else _checked(reason)
    async with context.database.transaction() as connection:
        row = await _lock(connection, project, dead_id)
        reopened = await dead.list_failed(connection, row.target) if row.kind == "target" else [row.id]
        await inbox.raise_target(connection, row.target)
        await inbox.reopen(connection, reopened, row.target)
        await _record(connection, operator, "dead.retry", row, said, reopened)
        retried = Retried(id=row.id, kind=row.kind, reopened=tuple(reopened))
        await keep(connection, retried)
    log.info("dead_retried", dead=row.id, reopened=len(reopened))
    return retried


async def discard_dead(
    context: Context,
    project: str | None,
    dead_id: str,
    reason: str,
    operator: Operator,
    *,
    keep: Keep = keep_nothing,
) -> Discarded:
    """Everything that waits on a dead target, or one failed event, is ignored for good.

    The stored answer stays as it is until a later event, or an operator, has Stripe read again.

    Raises: as `retry_dead`.
    """
    said = _checked(reason)
    async with context.database.transaction() as connection:
        row = await _lock(connection, project, dead_id)
        only = row.id if row.kind == "event" else None
        discarded = await dead.discard_events(connection, row.target, DISCARDED + said, only=only)
        if row.kind == "target":
            await dead.settle_dead(connection, row.target)
        await _record(connection, operator, "dead.discard", row, said, discarded)
        ended = Discarded(id=row.id, kind=row.kind, discarded=tuple(discarded))
        await keep(connection, ended)
    log.warning("dead_discarded", dead=row.id, events=len(discarded))
    return ended


async def _lock(connection: Connection, project: str | None, dead_id: str) -> DeadRow:
    """What is named, its target locked and looked at again: a worker or a new event may have been faster."""
    target = (await load_dead(connection, project, dead_id)).target
    await dead.lock_target(connection, target)
    row = await dead.find_dead(connection, project, dead_id)
    if row is None or row.target != target:
        raise Conflict(
            f"{dead_id} went on meanwhile: a new event or another operator has revived it. "
            f"`tollhouse dead show {dead_id}` says whether it gave up again.",
            code="not_dead",
        )
    return row


def _checked(reason: str) -> str:
    if faults := reason_faults(reason):
        raise Invalid("This is no reason.", errors=tuple(faults), code="reason_invalid")
    return reason.strip()


async def _record(
    connection: Connection,
    operator: Operator,
    action: str,
    row: DeadRow,
    reason: str | None,
    events: list[str],
) -> None:
    subject = (row.target.kind, row.id) if row.kind == "target" else ("event", row.id)
    await record_action(
        connection,
        operator,
        action=action,
        project=row.project,
        user_key=row.user_key,
        subject=subject,
        reason=reason,
        details={"target": {row.target.kind: row.target.stripe_id}, "events": events},
    )
