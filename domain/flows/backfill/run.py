"""One import, from its row to its end: how it is moved on, and what is left of it."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, Throttled, Unavailable, Unknown
from domain.flows.backfill.customers import take_absent, take_customers
from domain.flows.backfill.end import end_import
from domain.flows.backfill.objects import take_objects
from domain.flows.backfill.stages import ABSENT, CUSTOMERS, OBJECTS, STAGES, stage_after
from domain.flows.backfill.step import LeaseLost, Step, Taken, add, lost
from domain.flows.fix_deployment import DeploymentCheck
from domain.flows.read_budget import noting_429, patient_budget
from domain.flows.reconcile.look import Account
from domain.flows.record_action import Operator
from domain.store import import_customers, imports
from domain.store.import_customers import ImportCustomer
from domain.store.imports import ImportCounts, ImportRow
from domain.stripe_gateway import StripeRefused
from domain.telemetry import get_logger

log = get_logger()

#: What one step may wait for its slots of the read budget.
STEP_S = 8.0
#: Between two looks whether a dead process's lease is over.
LOOK_S = 0.5
#: A step that Stripe or Postgres fails so often in a row ends the call; the import stays where it is.
MOST_FAILURES = 6
LONGEST_PAUSE_S = 20.0
#: Parts of a stage in a progress bar.
PARTS = 1000

#: Called after every step with (done, of).
Progress = Callable[[int, int], None]


class Import(Struct, frozen=True, kw_only=True):
    """An import as its operator is told."""

    import_id: str
    project: str
    #: running, done, failed, abandoned.
    state: str
    stage: str
    counts: ImportCounts
    #: Why it failed.
    error: str | None
    #: Targets that may be rung.
    owed: tuple[int, ...] = ()


async def carry_out(
    context: Context, project: str, import_id: str, operator: Operator, *, progress: Progress | None = None
) -> Import:
    """Move an import on until its end. A process that dies leaves it to the next call.

    Raises:
        Conflict: another process is at it, or has given it up or seen it fail.
        Rejected, Broken: it failed, and its row says why; what it has linked stays linked.
        Unavailable: Stripe or Postgres is away; the import stays where it is.
    """
    await DeploymentCheck(context).ensure()
    runner = _Runner(context, project, import_id, operator, progress)
    await runner.wait_for_turn()
    try:
        await runner.go_on()
    except Unavailable:
        raise
    except Exception as error:
        # A step that fails so would fail again.
        await runner.end("failed", f"{type(error).__name__}: {error}"[:1000])
        raise
    finally:
        await runner.release()
    shown = await _show(context, project, import_id, tuple(runner.owed))
    _refuse_unfinished(shown)
    return shown


def _refuse_unfinished(shown: Import) -> None:
    """Whoever is told of an import that ended goes on to the cut-over: another process may have ended it."""
    said = {
        "running": f"{shown.import_id} is being carried out by another process.",
        "abandoned": f"{shown.import_id} was given up by another call, with --restart; what it has linked "
        "stays linked. Next: the newer call's import, or `tollhouse backfill` again.",
        "failed": f"{shown.import_id} has failed in another process: {shown.error}. Next: mend that, then "
        "`tollhouse backfill` again.",
    }
    if shown.state in said:
        raise Conflict(said[shown.state], code="import_running")


class _Runner:
    def __init__(
        self, context: Context, project: str, import_id: str, operator: Operator, progress: Progress | None
    ) -> None:
        self._context = context
        self._project = project
        self._import_id = import_id
        self._operator = operator
        self._progress = progress
        self._token = uuid.uuid4().hex
        self._row: ImportRow | None = None
        self.owed: dict[int, None] = {}

    async def wait_for_turn(self) -> None:
        """A killed process's lease is over in `lease_s`; one that is renewed meanwhile is at work."""
        until = time.monotonic() + self._context.settings.lease_s + LOOK_S
        while not await self._claim():
            async with self._context.database.connection() as connection:
                running = await imports.find_running(connection, self._project)
            if running is None or running.import_id != self._import_id:
                return
            if time.monotonic() > until:
                raise Conflict(
                    f"{self._import_id} is being carried out by another process.", code="import_running"
                )
            await asyncio.sleep(LOOK_S)

    async def _claim(self) -> bool:
        """Take the lease, or renew it. A step that outlasts it goes on while nobody else has taken it."""
        lease_s = self._context.settings.lease_s
        async with self._context.database.connection() as connection:
            self._row = await imports.claim_import(
                connection, self._project, self._import_id, self._token, lease_s
            )
        return self._row is not None

    async def go_on(self) -> None:
        failures = 0
        while (row := self._row) is not None:
            try:
                is_over = await self._step(row)
                failures = 0
            except Throttled:
                # Others need Stripe more; the same step again.
                is_over = False
            except StripeRefused as error:
                if row.cursor is None or error.reason != "resource_missing":
                    raise
                # The last object taken was deleted meanwhile: the list is taken anew.
                await self._move(row.stage, None, row.counts)
                is_over = False
            except LeaseLost:
                raise
            except Unavailable as error:
                failures += 1
                if failures >= MOST_FAILURES:
                    raise
                is_over = False
                await self._pause(failures, error)
            if is_over or not await self._claim():
                return

    async def _pause(self, failures: int, error: Unavailable) -> None:
        log.warning("import_step_failed", import_id=self._import_id, error=error.detail, failures=failures)
        await asyncio.sleep(min(LONGEST_PAUSE_S, self._context.settings.retry_base_s * 2**failures))

    async def _step(self, row: ImportRow) -> bool:
        """One step; answers whether the import is at its end."""
        account = Account(self._context, patient_budget(self._context, STEP_S))
        step = Step(account=account, row=row, token=self._token, actor=self._operator.actor)
        async with noting_429(self._context):
            taken = await TAKE[row.stage](step)
        self.owed |= dict.fromkeys(taken.owed)
        stage = row.stage if taken.cursor is not None else stage_after(row.stage)
        counts = add(add(row.counts, taken.counts), ImportCounts(reads=account.reads))
        await self._move(stage or row.stage, taken.cursor, counts)
        if stage is None:
            await self.end("done", None)
        self._show_progress(row.stage, taken)
        return stage is None

    async def _move(self, stage: str, cursor: str | None, counts: ImportCounts) -> None:
        names = (self._project, self._import_id, self._token)
        async with self._context.database.connection() as connection:
            is_ours = await imports.move_import(connection, *names, stage=stage, cursor=cursor, counts=counts)
        if not is_ours:
            raise lost(self._import_id)

    async def end(self, state: str, error: str | None) -> None:
        async with self._context.database.transaction() as connection:
            is_ended = await end_import(
                connection, self._project, self._import_id, self._operator, state=state, error=error
            )
        if not is_ended:
            return
        log.log(
            20 if state == "done" else 40,
            "import_ended",
            import_id=self._import_id,
            state=state,
            error=error,
        )

    async def release(self) -> None:
        async with self._context.database.connection() as connection:
            await imports.release_import(connection, self._project, self._import_id, self._token)

    def _show_progress(self, stage: str, taken: Taken) -> None:
        if self._progress is not None:
            share = 1.0 if taken.cursor is None else taken.share or 0.0
            self._progress(int((STAGES.index(stage) + share) * PARTS), len(STAGES) * PARTS)


TAKE: dict[str, Callable[[Step], Awaitable[Taken]]] = {
    CUSTOMERS: take_customers,
    ABSENT: take_absent,
    **dict.fromkeys(OBJECTS, take_objects),
}


async def list_unmapped(context: Context, import_id: str) -> AsyncIterator[ImportCustomer]:
    """Customers that were not linked, by id, each with the reason."""
    after = ""
    while True:
        async with context.database.connection() as connection:
            page = await import_customers.list_unmapped(connection, import_id, after, 1000)
        for one in page:
            yield one
        if not page:
            return
        after = page[-1].customer_id


async def _show(context: Context, project: str, import_id: str, owed: tuple[int, ...]) -> Import:
    async with context.database.connection() as connection:
        row = await imports.find_import(connection, project, import_id)
        unmapped = await import_customers.count_unmapped(connection, import_id)
    if row is None:
        raise Unknown(f"There is no import {import_id} of {project}.")
    return Import(
        import_id=row.import_id,
        project=row.project,
        state=row.state,
        stage=row.stage,
        counts=add(row.counts, ImportCounts(unmapped=unmapped)),
        error=row.error,
        owed=owed,
    )
