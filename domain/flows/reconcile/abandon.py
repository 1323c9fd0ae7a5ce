"""Give a run up: one that can never end, such as where Stripe refuses a list, keeps others from beginning."""

from domain.context import Context
from domain.errors import Conflict, Invalid, Unknown
from domain.flows.idempotency import Keep, keep_nothing
from domain.flows.reconcile.show import Run, load_run, unknown_run
from domain.flows.record_action import Operator, record_action
from domain.rules.new_grant import reason_faults
from domain.store import reconciliation
from domain.store.reconciliation import RunRow
from domain.store.session import Connection
from domain.telemetry import get_logger

log = get_logger()


async def abandon(
    context: Context,
    run_id: str | None,
    operator: Operator,
    *,
    project: str | None = None,
    reason: str | None = None,
    keep: Keep = keep_nothing,
) -> Run:
    """The run ends where it stands, with one audit row; what it has named and repaired stays.

    A process that is at it comes to know at its next step, and does nothing more. What was given up before
    is answered as it is. `run_id` None: the one that is running. `project` None: whoever's it is.

    Raises:
        Unknown: there is no such run, or it is not of this project alone; none is running.
        Conflict: it has ended by itself. Invalid: the reason cannot be one.
        Unavailable: Postgres is away; asking again is safe.
    """
    if reason is not None and (faults := reason_faults(reason)):
        raise Invalid("This is no reason.", errors=tuple(faults), code="reason_invalid")
    said = None if reason is None else reason.strip()
    async with context.database.transaction() as connection:
        row = await _find(connection, run_id, project)
        error = f"given up by {operator.actor}" + ("" if said is None else f": {said}")
        is_ended_now = await reconciliation.abandon_run(connection, row.run_id, error)
        if is_ended_now:
            await _record(connection, operator, row, said)
        run = await load_run(connection, row.run_id)
        if run.state != "abandoned":
            raise _over(run)
        await keep(connection, run)
    if is_ended_now:
        log.warning("reconciliation_abandoned", run_id=run.id, stage=run.stage, actor=operator.actor)
    return run


async def _find(connection: Connection, run_id: str | None, project: str | None) -> RunRow:
    if run_id is not None:
        # Postgres cannot hold NUL, so nothing is named like that.
        row = await reconciliation.find_run(connection, run_id, project) if "\0" not in run_id else None
        if row is None:
            raise unknown_run(run_id)
        return row
    row = await reconciliation.find_running(connection)
    if row is None or project not in {None, row.project}:
        whose = "" if project is None else f" of {project} alone"
        raise Unknown(
            f"No reconciliation{whose} is running, so there is nothing to give up: `tollhouse reconcile "
            "--runs` lists those that were.",
            code="unknown_run",
        )
    return row


async def _record(connection: Connection, operator: Operator, row: RunRow, reason: str | None) -> None:
    await record_action(
        connection,
        operator,
        action="reconciliation.abandon",
        project=row.project,
        user_key=row.user_key,
        subject=("run", row.run_id),
        reason=reason,
        details={"stage": row.stage, "cursor": row.cursor, "actor": row.actor},
    )


def _over(run: Run) -> Conflict:
    return Conflict(
        f"{run.id} has ended by itself ({run.state}), so nothing is to be given up: "
        f"`tollhouse reconcile --run {run.id}` shows what it has named.",
        code="reconciliation_ended",
    )
