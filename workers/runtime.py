"""What a worker process stands on: one Context, one Syncer, opened on its event loop and closed after it."""

import asyncio
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

from dramatiq import Broker, Worker
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.middleware import Middleware

from domain.context import Context, open_context
from domain.errors import TollhouseError, Unavailable
from domain.flows.fix_deployment import WrongDeployment
from domain.flows.sync import Syncer
from domain.flows.wait_for_schema import wait_for_schema
from domain.metrics.listener import listening
from domain.settings import Settings, shared_metrics
from domain.telemetry import get_logger
from workers.bell import Bell
from workers.shared_metrics import leave

log = get_logger()

PR_SET_PDEATHSIG = 1
#: Closing takes milliseconds unless a server hangs: then the process ends without it.
CLOSE_S = 3.0


class Runtime(Middleware):
    """Opens the process's parts before the first message and closes them after the last."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._syncer: Syncer | None = None
        #: For targets to which events were forwarded; it has a connection of its own.
        self.bell = Bell.of(settings)

    @property
    def syncer(self) -> Syncer:
        if self._syncer is None:
            raise TollhouseError("a message arrived before the worker had opened its parts")
        return self._syncer

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002 - dramatiq's signature
        # Before, because messages are worked off from the boot on: of a backlog hundreds would fail at once,
        # and their tracebacks fill the pipe to the master, which reads it a second after it made us.
        _run(self._open())

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        # A bell may stand for four runs of 10 s each, and we are killed 25 s after SIGTERM.
        if self._syncer is not None:
            self._syncer.stop()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        _run(self._close())
        directory = shared_metrics()
        if directory is not None:
            leave(directory)

    async def _close(self) -> None:
        """Close the parts. A run that outlived the shutdown has outlived its lease too: it ends with us."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._stack.aclose()
        except TimeoutError:
            log.warning("worker_closed_in_haste", after_s=CLOSE_S)

    async def _open(self) -> None:
        context = await self._stack.enter_async_context(open_context("worker", self._settings))
        await self._stack.enter_async_context(listening(self._settings, "worker"))
        self.bell.start()
        self._stack.push_async_callback(self.bell.stop)
        self._syncer = Syncer(context)
        # Not awaited: a worker that waits for its schema must still end when it is told to.
        getting_ready = asyncio.create_task(self._get_ready(context, self._syncer))
        self._stack.push_async_callback(_end, getting_ready)

    async def _get_ready(self, context: Context, syncer: Syncer) -> None:
        await wait_for_schema(context)
        await context.database.warm()
        try:
            await syncer.ensure_deployment()
        except WrongDeployment:
            # Refuses to start: the master process ends all workers when one ends like this.
            os.kill(os.getpid(), signal.SIGTERM)
            return
        except Unavailable as error:
            # The start order is free: the first sync asks again.
            log.warning("deployment_unconfirmed", error=error.detail)
        log.info("worker_ready", pid=os.getpid())


def end_once() -> None:
    """Take the first SIGTERM to a worker process and ignore the others.

    At a second one dramatiq leaves its main thread at once, and the process then waits for ever for its event
    loop's thread: neither stopped nor working. Whoever is in a hurry kills; what was held is owed.
    """
    if multiprocessing.parent_process() is None:
        return
    stop: Any = signal.getsignal(signal.SIGTERM)
    is_stopping = False

    def once(number: int, frame: Any) -> None:
        nonlocal is_stopping
        if not is_stopping and callable(stop):
            is_stopping = True
            stop(number, frame)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, once)


def die_with_parent() -> None:
    """Ask Linux for a SIGTERM when the parent process ends: a killed master must not leave us working."""
    parent = multiprocessing.parent_process()
    if not sys.platform.startswith("linux") or parent is None:
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    # It may have ended before the call above.
    if os.getppid() != parent.pid:
        os.kill(os.getpid(), signal.SIGTERM)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def _run(coroutine: Coroutine[None, None, None]) -> None:
    thread = get_event_loop_thread()
    if thread is None:
        raise TollhouseError("the worker has no event loop: the AsyncIO middleware is missing")
    thread.run_coroutine(coroutine)
