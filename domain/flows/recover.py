"""Recover: bring a deployment up whose database is an older copy of itself, before readers open.

Versions go on a million above what the copy knows, so that no reader is ever told a lower one; answers are
computed anew; what Stripe knows and the copy does not is read. What only the lost rows knew (grants, keys,
revocations) is nowhere else but in the logs of that time: given those, it is listed by name.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, ObjectMissing, Rejected
from domain.flows.adopt import adopt
from domain.flows.lost_moves import find_lost_moves
from domain.flows.read_budget import noting_429, patient_budget
from domain.flows.recompute import before_commit, publish, recompute_user
from domain.flows.reconcile import (
    RunDetail,
    Wish,
    begin,
    every_drift,
    find_unattended,
    see_through,
    show_run,
)
from domain.flows.reconcile.strangers import PROJECT, REF, USER
from domain.flows.record_action import Operator, record_action
from domain.flows.sync import Syncer, sync_all
from domain.store import customers, restored, targets
from domain.telemetry import get_logger

log = get_logger()

#: More versions, and positions of the feed, than anybody gets between a backup and its restore.
RAISE_BY = 1_000_000
BATCH = 100
#: Syncs at once, and how long it waits for what backs off; a worker does what is left.
AT_ONCE, PATIENCE_S, LOOK_S = 8, 120.0, 0.2
#: Customers made so long before the newest row may be of the lost time, too: clocks differ.
SLACK = timedelta(minutes=5)

#: For the audit log.
REASON = "made in the time that a restore lost"

Show = Callable[[int, int], None]


class Lost(Struct, frozen=True, kw_only=True):
    """Something that an operator did in the lost time, by the logs."""

    kind: Literal["grant", "revocation", "key", "key_end", "rename", "merge", "erasure"]
    #: Of the grant or key; of a user its key.
    id: str
    #: The log's time.
    at: str
    next: str


class Recovered(Struct, frozen=True, kw_only=True):
    #: When the backup was made, or its newest row: what happened since is lost where Stripe does not know it.
    lost_since: datetime | None
    users: int
    #: Stripe customers of ours, made in the lost time, that are their users' again.
    adopted: list[str]
    #: What the pass named; its repairs are done.
    reconciliation: RunDetail
    #: Targets that still wait, and are a worker's now.
    owed: int
    lost: list[Lost]


async def recover(
    context: Context,
    operator: Operator,
    *,
    lost_since: datetime | None = None,
    logs: Iterable[Mapping[str, Any]] = (),
    show: Show | None = None,
) -> Recovered:
    """All of it; asking again is safe, and raises the versions once more.

    `lost_since`: when the backup was made; None: at the newest row, as the first recovery of those that did
    not come to their end has seen it. `logs`: our own log lines of the lost time; those that name no
    operator's action are passed over.

    Raises:
        Conflict: another process carries out a reconciliation, or has seen this one fail or be given up.
        Unavailable: Postgres or Stripe is away.
    """
    if lost_since is None:
        async with context.database.connection() as connection:
            begun_since = await restored.interrupted_since(connection)
            lost_since = begun_since or await restored.newest_row_at(connection)
    await _raise_positions(context, operator, lost_since)
    users = await _raise_all(context, show)
    left = await find_unattended(context)
    if left is not None:
        await see_through(context, left)
    run = await begin(context, Wish(is_full=True), operator, reason="after a restore")
    await see_through(context, run.id, progress=show)
    detail = await show_run(context, None, run.id)
    if detail.run.state != "done":
        raise Conflict(
            f"{run.id}, the reconciliation of this recovery, did not come to its end ({detail.run.state}: "
            f"{detail.run.error}), so readers must wait: mend that, and run the same command again."
        )
    adopted = await _adopt_lost(context, detail, operator, lost_since)
    owed = await _sync_everything(context)
    lost = await find_lost(context, logs)
    await _note_end(context, operator, users=users, adopted=adopted, run_id=run.id)
    return Recovered(
        lost_since=lost_since, users=users, adopted=adopted, reconciliation=detail, owed=owed, lost=lost
    )


async def _raise_positions(context: Context, operator: Operator, lost_since: datetime | None) -> None:
    async with context.database.transaction() as connection:
        await restored.raise_positions(connection, RAISE_BY)
        await record_action(
            connection,
            operator,
            action="deployment.recover",
            project=None,
            user_key=None,
            subject=("deployment", "restore"),
            reason=None,
            details={"lost_since": lost_since.isoformat() if lost_since else None, "raised_by": RAISE_BY},
        )


async def _note_end(
    context: Context, operator: Operator, *, users: int, adopted: list[str], run_id: str
) -> None:
    """The next recovery is of another restore."""
    async with context.database.transaction() as connection:
        await record_action(
            connection,
            operator,
            action="deployment.recovered",
            project=None,
            user_key=None,
            subject=("deployment", "restore"),
            reason=None,
            details={"users": users, "adopted": len(adopted), "run": run_id},
        )


async def _raise_all(context: Context, show: Show | None) -> int:
    done, after = 0, 0
    async with context.database.connection() as connection:
        total = await restored.count_users(connection)
    while True:
        async with context.database.connection() as connection:
            keys = await restored.list_user_keys(connection, after, BATCH)
        for user_key in keys:
            await _raise_one(context, user_key)
        done += len(keys)
        if show is not None:
            show(done, total)
        if len(keys) < BATCH:
            return done
        after = keys[-1]


async def _raise_one(context: Context, user_key: int) -> None:
    async with context.database.transaction() as connection:
        await customers.lock_user(connection, user_key)
        await restored.raise_versions(connection, user_key, RAISE_BY)
        recomputed = await recompute_user(context, connection, user_key, cause="restore")
        read_at = before_commit()
    await publish(context, [recomputed], read_at)


async def _adopt_lost(
    context: Context, detail: RunDetail, operator: Operator, lost_since: datetime | None
) -> list[str]:
    """Customers that we made after the backup say in their metadata whose they are."""
    adopted = []
    async for drift in every_drift(context, detail.run.id):
        if drift.type not in {"orphan_customer", "two_customers"} or drift.object_kind != "customer":
            continue
        if "," in drift.object_id:
            continue
        if await _adopt_one(context, drift.object_id, operator, lost_since):
            adopted.append(drift.object_id)
    return adopted


async def _adopt_one(
    context: Context, customer_id: str, operator: Operator, lost_since: datetime | None
) -> bool:
    try:
        async with noting_429(context):
            answer = await context.stripe_or_raise.read(
                f"/v1/customers/{customer_id}", patient_budget(context, PATIENCE_S)
            )
    except ObjectMissing:
        return False
    metadata = answer.get("metadata") or {}
    project, user_id = metadata.get(PROJECT), metadata.get(USER)
    is_lost = lost_since is None or datetime.fromtimestamp(answer["created"], UTC) >= lost_since - SLACK
    if not (is_lost and project and user_id and metadata.get(REF)):
        return False
    try:
        await adopt(
            context, customer_id, project, user_id, operator, reason="made in the time a restore lost"
        )
    except Rejected as error:
        log.warning("lost_customer_not_adopted", customer=customer_id, error=error.detail)
        return False
    return True


async def _sync_everything(context: Context) -> int:
    """Until nothing is owed, or what is left backs off for too long; answers how many targets are left."""
    syncer, until = Syncer(context), time.monotonic() + PATIENCE_S
    while True:
        async with context.database.connection() as connection:
            owed = await targets.sweep(connection, again_s=0.0, limit=500)
            left = await targets.count_owed(connection)
        if left == 0 or time.monotonic() > until:
            return left
        if owed:
            await sync_all(syncer, owed, at_once=AT_ONCE)
        else:
            await asyncio.sleep(LOOK_S)


async def find_lost(context: Context, logs: Iterable[Mapping[str, Any]]) -> list[Lost]:
    """What the logs say was done and the database does not know, oldest first."""
    logs = list(logs)
    made = [one for line in logs for one in _actions(line)]
    ids = {kind: [one.id for one in made if one.kind == kind] for kind in NEXT}
    async with context.database.connection() as connection:
        lost = {
            "grant": await restored.list_lost_grants(connection, ids["grant"]),
            "revocation": await restored.list_lost_revocations(connection, ids["revocation"]),
            "key": await restored.list_lost_keys(connection, ids["key"]),
            "key_end": await restored.list_revived_keys(connection, ids["key_end"]),
        }
        moves = await find_lost_moves(connection, logs)
    gone = [one for one in made if one.id in lost[one.kind]]
    gone += [Lost(kind=one.kind, id=str(one.user_key), at=one.at, next=one.next) for one in moves]
    return sorted(gone, key=lambda one: one.at)


NEXT: dict[Literal["grant", "revocation", "key", "key_end"], str] = {
    "grant": "give it again: tollhouse grant …; who asked for it knows what it was",
    "revocation": "end it again: tollhouse revoke {id} --project … --reason …",
    "key": "make a new one: tollhouse keys create …; whoever holds it is refused",
    "key_end": "end it again: tollhouse keys revoke {id}",
}


def _actions(line: Mapping[str, Any]) -> list[Lost]:
    at = str(line.get("timestamp", ""))
    match line.get("event"):
        case "grant_created":
            named = [("grant", line.get("grant_id"))]
        case "grants_revoked":
            named = [("revocation", grant_id) for grant_id in line.get("grant_ids") or ()]
        case "key_created":
            named = [("key", line.get("key_id"))]
        case "key_rotated":
            named = [("key", line.get("replaced_by")), ("key_end", line.get("key_id"))]
        case "key_revoked":
            named = [("key_end", line.get("key_id"))]
        case _:
            return []
    return [
        Lost(kind=kind, id=str(id_), at=at, next=NEXT[kind].format(id=id_))  # type: ignore[arg-type,index] # above
        for kind, id_ in named
        if id_
    ]
