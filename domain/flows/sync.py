"""Sync: one target, from the claim of its lease to the fenced commit. Twice, or two at once, is harmless.

CLAIM → READ → JUDGE → FETCH → COMMIT → cache; an error ends in FAIL, which only the lease holder can write.
The steps and their reasons are docs/event-path.md.
"""

import asyncio
import time
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager

import msgspec
import structlog
from msgspec import Struct

from domain import metrics
from domain.context import Context
from domain.errors import Broken, Throttled, TollhouseError, Unavailable
from domain.flows.commit import Committed, VerdictChanged, Work, commit
from domain.flows.fetch import Fetched, fetch, fetch_owner
from domain.flows.fix_deployment import DeploymentCheck
from domain.flows.judge import Verdict, judge, of_other_deployment
from domain.flows.link import link_customer
from domain.flows.mark_others import mark_others
from domain.flows.read_budget import SYNC_WAIT_S
from domain.flows.recompute import publish
from domain.flows.vanishing import Vanishing
from domain.model import Claim, PendingEvent
from domain.store import inbox, targets
from domain.stripe_gateway import PAGE
from domain.telemetry import get_logger

log = get_logger()

#: Events one run takes: bounded, so that a run fits its lease.
BATCH = 100
#: Runs per bell, none begun later than RUNS_FOR_S after it; the rest is the sweeper's.
MOST_RUNS = 4
RUNS_FOR_S = 10.0
#: Outcomes of runs that came to no commit; each has said so in the log by itself.
UNFINISHED = frozenset({"rejudged", "postponed", "failed", "dead"})
#: When a run that got no slot of the read budget comes back.
POSTPONE_S = 1.0


class Synced(Struct, frozen=True, kw_only=True):
    """What one bell led to."""

    #: How each run ended: processed, foreign, forwarded, settled, fenced, failed, dead, postponed, rejudged.
    outcomes: tuple[str, ...]
    #: Targets that may be rung: events were forwarded to them.
    owed: tuple[int, ...] = ()


class Syncer:
    """Syncs targets; one per process. Holds no state but whose its Stripe key is and what vanished lately."""

    def __init__(self, context: Context, *, max_wait_s: float = SYNC_WAIT_S) -> None:
        """`max_wait_s`: how long one read may wait for its slot of the read budget."""
        self._context = context
        self._max_wait_s = max_wait_s
        self._deployment = DeploymentCheck(context)
        self._is_stopping = False
        self._vanishing = Vanishing()

    def stop(self) -> None:
        """The process is about to end: runs under way go on, none begins; what is left is rung again."""
        self._is_stopping = True

    async def ensure_deployment(self) -> None:
        """Raises: WrongDeployment, Unavailable. For a process that wants to refuse at its start."""
        await self._deployment.ensure()

    async def sync_target(self, target_id: int) -> Synced:
        """Work off what the target owes; returns at once where another holds it or nothing is owed.

        Raises:
            Unavailable: Postgres is away, so that not even the failure could be written.
        """
        until = time.monotonic() + RUNS_FOR_S
        outcomes: list[str] = []
        owed: list[int] = []
        while len(outcomes) < MOST_RUNS and time.monotonic() < until and not self._is_stopping:
            committed = await self._run(target_id)
            if committed is None:
                break
            outcomes.append(committed.outcome)
            owed.extend(committed.forwarded)
            if not committed.is_owed:
                break
        return Synced(outcomes=tuple(outcomes), owed=tuple(owed))

    async def _run(self, target_id: int) -> Committed | None:
        context = self._context
        async with context.database.connection() as connection:
            claim = await targets.claim(connection, target_id, uuid.uuid4().hex, context.settings.lease_s)
            if claim is None:
                return None
            if claim.claims > targets.MOST_CLAIMS:
                await targets.bury(connection, claim)
                log.error("target_dead", target=claim.target.stripe_id, error="claimed without an outcome")
                return Committed(outcome="dead")
        started = time.perf_counter()
        committed = await self._work_or_fail(claim)
        took_s = time.perf_counter() - started
        metrics.syncs.labels(committed.outcome).observe(took_s)
        if committed.outcome not in UNFINISHED:
            _log_run(claim, committed, took_s)
        return committed

    async def _work_or_fail(self, claim: Claim) -> Committed:
        try:
            return await self._work(claim)
        except VerdictChanged:
            await self._release(claim)
            return Committed(is_owed=True, outcome="rejudged")
        except Throttled:
            await self._postpone(claim)
            return Committed(outcome="postponed")
        except Exception as error:  # noqa: BLE001 - any error ends here, in FAIL: the class decides what follows
            return await self._fail(claim, error)

    async def _work(self, claim: Claim) -> Committed:
        """READ, JUDGE, FETCH, COMMIT of one claim."""
        context = self._context
        await context.faults.reach("sync.claimed", claim.target.stripe_id)
        deployment = await self._deployment.ensure()
        async with context.database.connection() as connection:
            # After a failure fewer: a batch that the read budget cannot serve in time never will be.
            most = max(1, BATCH >> min(claim.attempts, 7))
            found = await inbox.list_pending(connection, claim.target, most + 1)
            events, has_more = tuple(found[:most]), len(found) > most
            verdict = await judge(connection, claim.target, events)
        elsewhere = of_other_deployment(events, deployment)
        mine = [event for event in events if event.event_id not in elsewhere]
        with _bound_to(mine):
            fetched = Fetched()
            if mine and verdict.needs_fetch:
                fetched = await self._fetch(verdict, claim, mine)
            _refuse_broken_before_owner(claim, verdict, fetched)
            if verdict.refs and await self._link(claim, verdict, fetched):
                raise VerdictChanged
            others = await self._mark_others(claim, mine, fetched)
            await context.faults.reach("sync.fetched", claim.target.stripe_id)
            committed = await commit(
                context,
                Work(
                    claim=claim,
                    verdict=verdict,
                    events=events,
                    has_more=has_more,
                    elsewhere=elsewhere,
                    fetched=fetched,
                    vanishing=self._vanishing,
                ),
            )
            await context.faults.reach("sync.committed", claim.target.stripe_id)
            if committed.recomputed is not None:
                await publish(context, [committed.recomputed], committed.read_at)
                _log_readable(committed)
        return msgspec.structs.replace(committed, forwarded=(*committed.forwarded, *others))

    async def _fetch(self, verdict: Verdict, claim: Claim, events: Sequence[PendingEvent]) -> Fetched:
        """FETCH; of an object whose customer is not known, that customer only."""
        if not verdict.is_customer and not verdict.is_shared:
            return await fetch_owner(self._context, claim.target, max_wait_s=self._max_wait_s)
        return await fetch(
            self._context,
            _objects(verdict, claim, events),
            max_wait_s=self._max_wait_s,
            # After a failure smaller pages: what does not fit the time of one run never will otherwise.
            page=max(1, PAGE >> min(claim.attempts, 7)),
        )

    async def _link(self, claim: Claim, verdict: Verdict, fetched: Fetched) -> bool:
        """LINK, in a transaction of its own, if Stripe confirms the reference. Answers whether it did."""
        customer = fetched.customers.get(claim.target.stripe_id)
        ref = next((ref for ref in verdict.refs if customer is not None and customer.ref == str(ref)), None)
        if ref is None:
            return False
        async with self._context.database.transaction() as connection:
            await link_customer(connection, claim.target.stripe_id, ref, read_all=True)
        log.info("customer_linked", customer=claim.target.stripe_id, ref=str(ref))
        return True

    async def _mark_others(
        self, claim: Claim, events: Sequence[PendingEvent], fetched: Fetched
    ) -> tuple[int, ...]:
        """What this run found and another one does, in a transaction of its own, before COMMIT.

        Answers the targets that may be rung.
        """
        async with self._context.database.transaction() as connection:
            causes = {event.type for event in events}
            return await mark_others(connection, claim.target, fetched, causes=causes)

    async def _fail(self, claim: Claim, error: Exception) -> Committed:
        """FAIL: the class of the error decides between back-off for ever and, eight in a row, death."""
        is_broken = not isinstance(error, Unavailable)
        detail = error.detail if isinstance(error, TollhouseError) else f"{type(error).__name__}: {error}"
        async with self._context.database.connection() as connection:
            is_dead = await targets.fail(
                connection,
                claim,
                detail,
                is_broken=is_broken,
                base_s=self._context.settings.retry_base_s,
            )
        log.log(
            40 if is_dead or is_broken or getattr(error, "alarm", False) else 30,
            "target_dead" if is_dead else "sync_failed",
            target=claim.target.stripe_id,
            error=detail,
            family="broken" if is_broken else "unavailable",
            exc_info=error if is_broken and not isinstance(error, TollhouseError) else None,
        )
        return Committed(outcome="dead" if is_dead else "failed")

    async def _release(self, claim: Claim) -> None:
        async with self._context.database.connection() as connection:
            await targets.release(connection, claim)

    async def _postpone(self, claim: Claim) -> None:
        async with self._context.database.connection() as connection:
            await targets.postpone(connection, claim, by_s=POSTPONE_S)
        log.info("sync_postponed", target=claim.target.stripe_id, reason="stripe_budget")


async def sync_all(syncer: Syncer, target_ids: Sequence[int], *, at_once: int) -> int:
    """Sync many targets, a few at a time: what the sweeper does by itself while bells fail.

    Answers how many runs. None is begun later than RUNS_FOR_S after the call; the rest is the next sweep's.
    """
    gate = asyncio.Semaphore(at_once)
    until = time.monotonic() + RUNS_FOR_S

    async def sync_one(target_id: int) -> int:
        async with gate:
            if time.monotonic() > until:
                return 0
            return len((await syncer.sync_target(target_id)).outcomes)

    ended = await asyncio.gather(*(sync_one(target_id) for target_id in target_ids), return_exceptions=True)
    for error in ended:
        if isinstance(error, BaseException):
            raise error
    return sum(runs for runs in ended if isinstance(runs, int))


def _objects(verdict: Verdict, claim: Claim, events: Sequence[PendingEvent]) -> set[tuple[str, str]]:
    """What FETCH reads: of an unlinked customer only the customer itself, to confirm the reference."""
    if verdict.is_customer and verdict.owner is None:
        return {("customer", claim.target.stripe_id)}
    return {(event.object_kind, event.object_id) for event in events}


def _refuse_broken_before_owner(claim: Claim, verdict: Verdict, fetched: Fetched) -> None:
    """Broken before it is known whose it is: nothing else of this target could go on meanwhile."""
    if verdict.owner is not None:
        return
    error = fetched.error_of((claim.target.kind, claim.target.stripe_id))
    if error is not None:
        raise Broken(error)


def _bound_to(events: Sequence[PendingEvent]) -> AbstractContextManager[None]:
    """Every line of this run carries the request ids of the deliveries that led to it."""
    ids = sorted({event.request_id for event in events if event.request_id})
    return structlog.contextvars.bound_contextvars(**({"request_ids": ids} if ids else {}))


def _log_run(claim: Claim, committed: Committed, took_s: float) -> None:
    log.info(
        "target_synced" if not committed.is_fenced else "sync_fenced",
        target=claim.target.stripe_id,
        outcome=committed.outcome,
        duration_ms=round(took_s * 1000, 1),
    )


def _log_readable(committed: Committed) -> None:
    """The event → readable time: from the row's `received_at` to the cache, both ends of one clock."""
    if committed.recomputed is None or committed.age_ms is None:
        return
    since_commit_ms = (time.time() - committed.read_at) * 1000
    metrics.readable.observe((committed.age_ms + since_commit_ms) / 1000)
    log.info(
        "entitlements_recomputed",
        user_key=committed.recomputed.user_key,
        changed=committed.recomputed.changed,
        versions={stored.app: stored.last_version for _, stored in committed.recomputed.sets},
        readable_ms=round(committed.age_ms + since_commit_ms, 1),
    )
