"""One run, from its row to its end: who may begin one, and how it is moved on."""

import asyncio
import shlex
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, FieldError, Invalid, Throttled, Unavailable, Unknown
from domain.flows.grant import require_head
from domain.flows.idempotency import Keep, keep_nothing
from domain.flows.read_budget import noting_429, patient_budget
from domain.flows.reconcile.look import Account, Look, Scope
from domain.flows.reconcile.second_look import decide
from domain.flows.reconcile.show import Run, load_run
from domain.flows.reconcile.stages import FIRST, SECOND_LOOK, STAGE_NAMES, STAGES, add, stage_after
from domain.flows.record_action import Operator, record_action
from domain.model import Counts
from domain.rules.drift import KINDS, advise
from domain.rules.new_grant import reason_faults
from domain.store import customers, reconciliation
from domain.store import watermark as watermarks
from domain.store.reconciliation import NewRun, RunRow
from domain.store.session import Connection
from domain.telemetry import get_logger

log = get_logger()

#: Longer than one step takes, waits for the read budget included.
LEASE_S = 90.0
#: What one step may wait for its slots.
STEP_S = 30.0
#: A scheduler's turn: then it looks whether it has to stop.
TURN_S = 20.0
#: Between two looks at what is too young for its second look.
LOOK_S = 0.5
#: Runs, and what they named, are kept so long.
KEPT_DAYS = 90

#: Called after every step with the stages that are done, and how many there are.
Progress = Callable[[int, int], None]


class Wish(Struct, frozen=True, kw_only=True):
    """None: every project, every user of it."""

    project: str | None = None
    user_id: str | None = None
    is_check: bool = False
    is_full: bool = False


async def begin(
    context: Context,
    wish: Wish,
    operator: Operator,
    *,
    reason: str | None = None,
    keep: Keep = keep_nothing,
) -> Run:
    """Begin a run, which whoever comes next carries out. One audit row, in its transaction.

    `keep` keeps the answer in it.

    Raises:
        Unknown: there is no such project or user.
        Invalid: a user without a project, a reason that is too long.
        Conflict: one is running.
        Unavailable: Postgres is away.
    """
    if reason is not None and (faults := reason_faults(reason)):
        raise Invalid("This is no reason.", errors=tuple(faults), code="reason_invalid")
    async with context.database.transaction() as connection:
        user_key = await _find_user(connection, wish)
        run_id = f"run_{uuid.uuid4().hex}"
        await reconciliation.prune_runs(connection, days=KEPT_DAYS)
        new = NewRun(
            run_id=run_id,
            project=wish.project,
            user_key=user_key,
            is_check=wish.is_check,
            is_full=wish.is_full,
            stage=FIRST,
            actor=operator.actor,
        )
        if not await reconciliation.insert_run(connection, new):
            raise await _running(connection)
        await record_action(
            connection,
            operator,
            action="reconciliation.start",
            project=wish.project,
            user_key=user_key,
            subject=("run", run_id),
            reason=reason,
            details={"check": wish.is_check, "full": wish.is_full},
        )
        run = await load_run(connection, run_id)
        await keep(connection, run)
    log.info("reconciliation_started", run_id=run_id, check=wish.is_check, full=wish.is_full)
    return run


async def _find_user(connection: Connection, wish: Wish) -> int | None:
    if wish.project is not None:
        await require_head(connection, wish.project)
    if wish.user_id is None:
        return None
    if wish.project is None:
        said = FieldError("project", "name the project that the user belongs to")
        raise Invalid("A user is named by its project and its id.", errors=(said,))
    found = await customers.find_user_key(connection, wish.project, wish.user_id)
    if found is None:
        raise Unknown(f"Nobody knows a user {wish.user_id!r} in project {wish.project}.", code="unknown_user")
    return found


async def _running(connection: Connection) -> Conflict:
    row = await reconciliation.find_running(connection)
    name = row.run_id if row is not None else "one"
    return Conflict(
        f"A reconciliation is running already ({name}): wait for its end, which `tollhouse reconcile --runs` "
        "or GET /api/v1/admin/reconciliation/runs shows. If its process has died, a scheduler or `tollhouse "
        f"reconcile` goes on with it after {LEASE_S:g} s. If it can never end, --abandon gives it up.",
        code="reconciliation_running",
    )


async def carry_out(
    context: Context, run_id: str, *, within_s: float = float("inf"), progress: Progress | None = None
) -> tuple[int, ...]:
    """Move a run on until it ends or the time is over; answers the targets that may be rung.

    Whoever comes next goes on with one that is not at its end.

    Raises:
        Conflict: another process is at it.
        Unavailable: Stripe or Postgres is away; the run stays where it is.
        Broken: the run failed, and its row says why.
    """
    runner = _Runner(context, run_id, progress)
    if not await runner.claim():
        raise Conflict(f"{run_id} is being carried out by another process.", code="reconciliation_running")
    try:
        await runner.go_on(time.monotonic() + within_s)
    except Unavailable:
        raise
    except Exception as error:
        # A step that fails so would fail again: the next run begins anew.
        await runner.fail(error)
        raise
    finally:
        await runner.release()
    return tuple(runner.owed)


async def find_unattended(context: Context) -> str | None:
    """A run that a process has left behind, or that nobody has taken yet."""
    async with context.database.connection() as connection:
        row = await reconciliation.find_running(connection)
    return row.run_id if row is not None and not row.is_leased else None


async def see_through(context: Context, run_id: str, *, progress: Progress | None = None) -> None:
    """Until the run has ended, whoever carries it out or gives it up; errors as `carry_out`, but Conflict."""
    while await _is_running(context, run_id):
        try:
            await carry_out(context, run_id, progress=progress)
        except Conflict:
            # A scheduler was faster: it gives the run back after its turn.
            await asyncio.sleep(LOOK_S)


async def _is_running(context: Context, run_id: str) -> bool:
    async with context.database.connection() as connection:
        row = await reconciliation.find_run(connection, run_id, None)
    return row is not None and row.state == "running"


class _Runner:
    def __init__(self, context: Context, run_id: str, progress: Progress | None) -> None:
        self._context = context
        self._run_id = run_id
        self._progress = progress
        self._token = uuid.uuid4().hex
        self._row: RunRow | None = None
        self.owed: dict[int, None] = {}

    async def claim(self) -> bool:
        """Take the lease, or renew it."""
        async with self._context.database.connection() as connection:
            self._row = await reconciliation.claim_run(connection, self._run_id, self._token, LEASE_S)
        return self._row is not None

    async def go_on(self, until: float) -> None:
        while (row := self._row) is not None and time.monotonic() < until:
            try:
                is_over = await self._step(row)
            except Throttled:
                # Others need Stripe more; the same step again.
                is_over = False
            if is_over or not await self.claim():
                return
            if self._progress is not None and self._row is not None:
                self._progress(STAGE_NAMES.index(self._row.stage), len(STAGE_NAMES))

    async def _step(self, row: RunRow) -> bool:
        """One step; answers whether the run is at its end."""
        scope = Scope(
            run_id=row.run_id,
            project=row.project,
            user_key=row.user_key,
            is_check=row.is_check,
            is_full=row.is_full,
        )
        account = Account(self._context, patient_budget(self._context, STEP_S))
        async with noting_429(self._context):
            if row.stage == SECOND_LOOK:
                return await self._look_again(account, scope, row)
            look = await STAGES[row.stage](account, scope, row.cursor)
        await self._write(row, look, reads=account.reads)
        return False

    async def _write(self, row: RunRow, look: Look, *, reads: int) -> None:
        stage = row.stage if look.cursor is not None else stage_after(row.stage)
        more = Counts(reads=reads, suspected=len(look.suspects))
        async with self._context.database.transaction() as connection:
            names = await reconciliation.name_users(
                connection, [one.user_key for one in look.suspects if one.user_key is not None]
            )
            is_ours = await reconciliation.move_run(
                connection,
                row.run_id,
                self._token,
                stage=stage,
                cursor=look.cursor,
                counts=add(add(row.counts, look.counts), more),
            )
            if not is_ours:
                return
            await reconciliation.add_seen(connection, row.run_id, look.seen)
            named = [
                (one, KINDS[one.type].severity, advise(one, user_id=_quoted(names.get(one.user_key or 0))))
                for one in look.suspects
            ]
            await reconciliation.add_suspects(connection, row.run_id, named)

    async def _look_again(self, account: Account, scope: Scope, row: RunRow) -> bool:
        async with self._context.database.connection() as connection:
            suspected = await reconciliation.next_suspected(connection, row.run_id)
        if suspected is None:
            await self._end(row)
            return True
        wait_s = self._context.settings.reconcile_settle_s - suspected.age_s
        if wait_s > 0 and suspected.suspect.type != "event_missing":
            await asyncio.sleep(min(wait_s, LOOK_S))
            return False
        decided = await decide(account, scope, suspected)
        self.owed |= dict.fromkeys(decided.owed)
        if decided.is_drift:
            log.warning(
                "drift_found",
                run_id=row.run_id,
                type=suspected.suspect.type,
                object_id=suspected.suspect.object_id,
                user_key=suspected.suspect.user_key,
                repaired=decided.is_repaired,
            )
        more = Counts(reads=account.reads, drifts=decided.is_drift, repaired=decided.is_repaired)
        async with self._context.database.connection() as connection:
            await reconciliation.move_run(
                connection,
                row.run_id,
                self._token,
                stage=SECOND_LOOK,
                cursor=None,
                counts=add(row.counts, more),
            )
        return False

    async def _end(self, row: RunRow) -> None:
        async with self._context.database.transaction() as connection:
            if not await reconciliation.end_run(connection, row.run_id, self._token, "done"):
                return
        log.info(
            "reconciliation_ended",
            run_id=row.run_id,
            compared=row.counts.compared,
            drifts=row.counts.drifts,
            repaired=row.counts.repaired,
            reads=row.counts.reads,
        )

    async def fail(self, error: Exception) -> None:
        detail = f"{type(error).__name__}: {error}"[:1000]
        async with self._context.database.transaction() as connection:
            ended = await reconciliation.end_run(connection, self._run_id, self._token, "failed", detail)
        if ended:
            log.error("reconciliation_failed", run_id=self._run_id, error=detail)

    async def release(self) -> None:
        async with self._context.database.connection() as connection:
            await reconciliation.release_run(connection, self._run_id, self._token)


def _quoted(user_id: str | None) -> str | None:
    """As a shell takes it: users are named by callers."""
    return None if user_id is None else shlex.quote(user_id)


async def run_once(
    context: Context, within_s: float = TURN_S, asked_by: str | None = None
) -> tuple[int, ...]:
    """A scheduler's turn: the nightly pass begins when it is due, and whatever runs is moved on.

    `asked_by`: wants a pass, due or not. Answers the targets that may be rung. Errors as `carry_out`.
    """
    async with context.database.connection() as connection:
        row = await reconciliation.find_running(connection)
        is_due = row is None and (asked_by is not None or await _is_due(context, connection))
    if row is not None and row.is_leased:
        return ()
    try:
        run_id = row.run_id if row is not None else None
        if run_id is None and is_due:
            run_id = (await begin(context, Wish(is_full=True), Operator(actor=asked_by or "scheduler"))).id
        return () if run_id is None else await carry_out(context, run_id, within_s=within_s)
    except Conflict:
        # Another scheduler was faster.
        return ()


async def _is_due(context: Context, connection: Connection) -> bool:
    if not context.settings.reconcile_enabled:
        return False
    watermark = await watermarks.read_watermark(connection)
    if watermark.fixed_at is None:
        return False
    last = await reconciliation.last_full_start(connection) or watermark.fixed_at
    return last < last_night(watermark.now, context.settings.reconcile_hour)


def last_night(now: datetime, hour: int) -> datetime:
    """The newest instant, not after `now`, at which a nightly pass begins."""
    today = now.astimezone(UTC).replace(hour=hour, minute=0, second=0, microsecond=0)
    return today if today <= now else today - timedelta(days=1)
