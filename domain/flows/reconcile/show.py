"""What operators see of runs and of what they named."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from domain.context import Context
from domain.errors import Broken, FieldError, Invalid, Unknown
from domain.flows.grant import require_head
from domain.flows.reconcile.stages import STAGE_NAMES
from domain.model import Counts
from domain.rules.drift import KINDS, Severity
from domain.store import reconciliation
from domain.store.reconciliation import DriftRow, RunRow
from domain.store.session import Connection

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Drifts that a detail names; the run's counts say how many there are.
MOST_DRIFTS = 1000


class Run(Struct, frozen=True, kw_only=True):
    id: str
    #: `running`, `done`, `failed` or `abandoned`.
    state: str
    #: None: every project.
    project: str | None
    check: bool
    full: bool
    #: The part of the pass that is next, and how many of all are behind it.
    stage: str
    stages_done: int
    stages: int
    counts: Counts
    #: Name of the key, `cli:…`, or scheduler.
    actor: str
    #: Why it failed, or by whom it was given up, and why.
    error: str | None
    started_at: datetime
    ended_at: datetime | None


class Drift(Struct, frozen=True, kw_only=True):
    type: str
    severity: Severity
    #: What this type of drift means.
    says: str
    #: What differs here.
    found: str
    #: The operator's command; None: it heals by itself.
    next: str | None
    #: The internal event that has it read again, Stripe's event that was missing, or `recomputed`; None:
    #: nothing was done (a check, or only an operator can).
    repair: str | None
    project: str | None
    user_id: str | None
    customer: str | None
    object_kind: str
    object_id: str
    seen_at: datetime


class RunPage(Struct, frozen=True, kw_only=True):
    data: list[Run]
    next_cursor: str | None


class RunDetail(Struct, frozen=True, kw_only=True):
    run: Run
    #: At most MOST_DRIFTS, in the order in which they were seen.
    drifts: list[Drift]


async def list_runs(
    context: Context, project: str | None, *, cursor: str | None = None, limit: int = 50
) -> RunPage:
    """Newest first. `project` None: all of them; else runs of that project alone.

    Raises:
        Unknown: there is no such project.
        Invalid: a cursor that is none of ours.
    """
    before = _read_cursor(cursor) if cursor is not None else None
    async with context.database.connection() as connection:
        if project is not None:
            await require_head(connection, project)
        rows = await reconciliation.list_runs(connection, project, before, limit + 1)
    page = rows[:limit]
    return RunPage(
        data=[_run(row) for row in page],
        next_cursor=_write_cursor(page[-1]) if len(rows) > limit else None,
    )


async def show_run(context: Context, project: str | None, run_id: str) -> RunDetail:
    """Raises: Unknown, where there is no such run, or it is not of this project alone."""
    async with context.database.snapshot() as connection:
        # Postgres cannot hold NUL, so nothing is named like that.
        row = await reconciliation.find_run(connection, run_id, project) if "\0" not in run_id else None
        if row is None:
            raise unknown_run(run_id)
        drifts = await reconciliation.list_drifts(connection, run_id, limit=MOST_DRIFTS)
    return RunDetail(run=_run(row), drifts=[_drift(one) for one in drifts])


def unknown_run(run_id: str) -> Unknown:
    return Unknown(
        f"No reconciliation run is named {run_id!r}: `tollhouse reconcile --runs` or "
        "GET /api/v1/admin/reconciliation/runs lists them.",
        code="unknown_run",
    )


async def every_drift(context: Context, run_id: str, *, at_once: int = MOST_DRIFTS) -> AsyncIterator[Drift]:
    """All that a run has named, however many."""
    after = 0
    while True:
        async with context.database.connection() as connection:
            rows = await reconciliation.list_drifts(connection, run_id, after=after, limit=at_once)
        for row in rows:
            yield _drift(row)
        if len(rows) < at_once:
            return
        after = rows[-1].id


async def load_run(connection: Connection, run_id: str) -> Run:
    """One that is known to be there."""
    row = await reconciliation.find_run(connection, run_id, None)
    if row is None:
        raise Broken(f"run {run_id} is gone within its own transaction")
    return _run(row)


def _run(row: RunRow) -> Run:
    return Run(
        id=row.run_id,
        state=row.state,
        project=row.project,
        check=row.is_check,
        full=row.is_full,
        stage=row.stage,
        stages_done=len(STAGE_NAMES) if row.state == "done" else STAGE_NAMES.index(row.stage),
        stages=len(STAGE_NAMES),
        counts=row.counts,
        actor=row.actor,
        error=row.error,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def _drift(row: DriftRow) -> Drift:
    kind = KINDS[row.type]
    return Drift(
        type=row.type,
        severity=kind.severity,
        says=kind.says,
        found=row.found,
        next=row.next,
        repair=row.repair,
        project=row.project,
        user_id=row.user_id,
        customer=row.stripe_customer_id,
        object_kind=row.object_kind,
        object_id=row.object_id,
        seen_at=row.seen_at,
    )


def _write_cursor(row: RunRow) -> str:
    return f"{(row.started_at - _EPOCH) // timedelta(microseconds=1)}.{row.run_id}"


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    micros, _, run_id = cursor.partition(".")
    try:
        if not (micros.isascii() and micros.isdigit() and run_id and "\0" not in run_id):
            raise ValueError
        return _EPOCH + timedelta(microseconds=int(micros)), run_id
    except (ValueError, OverflowError) as error:
        what = "take the next_cursor of the page before, or leave it out"
        raise Invalid("This is no cursor of this list.", errors=(FieldError("cursor", what),)) from error
