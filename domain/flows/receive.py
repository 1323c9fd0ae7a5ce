"""Receive: what Stripe delivered is verified, stored and marked in one transaction; nothing else happens."""

import asyncio
import logging
import time
import zlib
from datetime import UTC, datetime
from hashlib import sha256

import msgspec
from msgspec import Struct

from domain import metrics
from domain.context import Context
from domain.errors import Broken, Unavailable
from domain.flows.group_commit import GroupCommit
from domain.model import NewEvent
from domain.rules.events import BodyRefused, Deployment, Envelope, classify, read_envelope
from domain.rules.signature import SignatureRefused, verify_signature
from domain.store import deployment as deployments
from domain.telemetry import get_logger

log = get_logger()

#: Postgres compresses slower than we do, and it would do it while holding the row.
ZLIB_LEVEL = 1
#: While no process with a Stripe key has said whose this database is, the row is looked for this often.
LOOK_AGAIN_S = 1.0


class Received(Struct, frozen=True, kw_only=True):
    event_id: str
    is_duplicate: bool
    #: Targets that are owed a sync: the door may ring for them.
    owed: tuple[int, ...]


class Receiver:
    """Stores deliveries; one per process. It remembers the deployment row once there is one."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._deployment: Deployment | None = None
        self._looking = asyncio.Lock()
        self._look_again_at = 0.0
        self._group = GroupCommit(context.database)

    async def warm(self) -> None:
        """Prepare for the first delivery; where Postgres is away, the first one prepares."""
        try:
            await self._find_deployment()
            await self._group.warm()
        except Unavailable as error:
            log.warning("receiver_not_warm", error=error.detail)

    async def receive(self, body: bytes, signature: bytes | None, request_id: str) -> Received:
        """Verify, store, mark; returns once the event is durable.

        Raises:
            SignatureRefused, BodyRefused: nothing is stored.
            Unavailable: Postgres is away; Stripe will deliver again.
        """
        settings = self._context.settings
        now = datetime.now(tz=UTC)
        active = [
            secret.secret.reveal().encode()
            for secret in settings.stripe_webhook_secrets
            if secret.not_after is None or now <= secret.not_after
        ]
        try:
            verify_signature(body, signature, active, at=now, tolerance_s=settings.signature_tolerance_s)
            envelope = read_envelope(body)
        except SignatureRefused as refused:
            _note_refused(refused.reason)
            raise
        except BodyRefused:
            _note_refused("body")
            raise
        try:
            # One deadline for all of it: waiting for a connection and for the statement must not add up.
            async with asyncio.timeout(settings.database_timeout_s):
                return await self._store(envelope, body, request_id)
        except (Unavailable, Broken) as error:
            metrics.deliveries.labels("failed", error.code).inc()
            raise
        except TimeoutError as error:
            metrics.deliveries.labels("failed", "slow").inc()
            raise Unavailable("Postgres answered too slowly to store the event") from error

    async def _store(self, envelope: Envelope, body: bytes, request_id: str) -> Received:
        event = msgspec.structs.replace(
            classify(envelope, await self._find_deployment()),
            request_id=request_id,
            payload=zlib.compress(body, ZLIB_LEVEL),
        )
        stored = await self._group.mark(event, sha256(body).digest())
        await self._context.faults.reach("receive.committed", event.event_id)
        _note_received(event, is_duplicate=not stored.is_new)
        return Received(
            event_id=event.event_id,
            is_duplicate=not stored.is_new,
            owed=() if stored.owed is None else (stored.owed,),
        )

    async def _find_deployment(self) -> Deployment | None:
        """None: nobody knows yet, and the worker will judge whose the event is."""
        if self._deployment is None:
            # A thousand deliveries at once must not ask a thousand times, each for a connection of its own.
            async with self._looking:
                if time.monotonic() >= self._look_again_at:
                    self._deployment = await self._look_for_deployment()
                    pause_s = LOOK_AGAIN_S if self._deployment is None else float("inf")
                    self._look_again_at = time.monotonic() + pause_s
        return self._deployment

    async def _look_for_deployment(self) -> Deployment | None:
        async with self._context.database.connection() as connection:
            row = await deployments.find_deployment(connection)
        return None if row is None else Deployment(row.account_id, row.mode, row.env)


def _note_refused(reason: str) -> None:
    metrics.deliveries.labels("refused", reason).inc()
    log.warning("webhook_refused", reason=reason)


def _note_received(event: NewEvent, *, is_duplicate: bool) -> None:
    metrics.deliveries.labels("duplicate" if is_duplicate else "stored", event.reason or "").inc()
    # A used type without a target is an event of a shape we do not understand: somebody must look.
    level = logging.ERROR if event.reason == "no_target" else logging.INFO
    log.log(
        level,
        "event_received",
        event_id=event.event_id,
        type=event.type,
        state=event.state.value,
        reason=event.reason,
        duplicate=is_duplicate,
    )
