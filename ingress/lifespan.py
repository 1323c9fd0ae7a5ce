"""What a door's process opens at its start and closes at its end."""

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict

from starlette.types import Scope

from domain.context import Context, open_context
from domain.flows.authenticate import KeyRing
from domain.flows.check_ready import ReadyCheck
from domain.flows.follow_changes import follow_changes
from domain.flows.lookup import Lookup
from domain.flows.note_key_use import follow_key_use, note_key_use
from domain.metrics.listener import listening
from domain.settings import Process, Settings, load_settings
from domain.telemetry import configure_logging, get_logger
from ingress.border import Border
from ingress.hasty import Hasty
from ingress.limits import KeyLimits

if TYPE_CHECKING:
    from domain.flows.show_catalog import CatalogMemory
    from domain.flows.sync import Syncer
    from workers.bell import Bell

log = get_logger()


class Running:
    """The open parts of one process, as handlers find them."""

    def __init__(self, context: Context, process: Process) -> None:
        self.context = context
        self.process = process
        self.lookup = Lookup(context)
        self.keys = KeyRing(context)
        self.ready = ReadyCheck(context, process, self.lookup)
        self.limits = KeyLimits(context.settings)
        self.border = Border(context.settings)
        self.hasty = Hasty(self.keys, self.limits, self.border)
        #: None: this process has none, and the sweeper rings what it leaves undone within a second.
        self.bell: Bell | None = None
        #: Set by SIGTERM: what is under way is finished, and nobody should send more.
        self.is_draining = False

    @cached_property
    def catalogs(self) -> "CatalogMemory":
        """The pricing pages this process has shown; for processes that show some."""
        from domain.flows.show_catalog import CatalogMemory  # noqa: PLC0415 - `webhook` has none

        return CatalogMemory(self.context)

    @cached_property
    def syncer(self) -> "Syncer":
        """Reads Stripe while somebody waits for the answer; for processes that hold a Stripe key."""
        from domain.flows.read_budget import CLAIM_WAIT_S  # noqa: PLC0415 - the Stripe client, which `read`
        from domain.flows.sync import Syncer  # noqa: PLC0415 - and `webhook` never load

        return Syncer(self.context, max_wait_s=CLAIM_WAIT_S)

    def ring(self, target_ids: Iterable[int]) -> None:
        """Have a worker go on where this process has not come to an end. Never waits, never fails."""
        if self.bell is not None:
            self.bell.ring(target_ids)

    @staticmethod
    def of(scope: Scope) -> "Running":
        """The running process that serves this request."""
        running: Running = scope["state"]["running"]
        return running


class State(TypedDict):
    running: Running


@asynccontextmanager
async def open_running(process: Process, settings: Settings) -> AsyncIterator[Running]:
    """The parts of one process; touches no server, so that the start order of processes is free."""
    async with open_context(process, settings) as context:
        running = Running(context, process)
        following = (
            asyncio.create_task(follow_changes(context, running.lookup, running.keys)),
            asyncio.create_task(follow_key_use(context, running.keys)),
        )
        try:
            yield running
        finally:
            for task in following:
                task.cancel()
            await asyncio.wait(following)
            await running.lookup.close()
            await note_key_use(context, running.keys)


def lifespan_of(process: Process) -> Callable[[Any], AbstractAsyncContextManager[State]]:
    """The lifespan of an app: reads the environment when it starts, not when it is imported."""

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[State]:
        settings = load_settings(process)
        configure_logging(settings, process)
        # Our own line says more, and leaves the probes out.
        logging.getLogger("uvicorn.access").disabled = True
        async with open_running(process, settings) as running, listening(settings, process):
            await running.context.database.warm()
            # Everything made so far lives as long as the process: the collector need not look at it again,
            # which took the slowest percent of reads from 20 to 4 ms.
            gc.collect()
            gc.freeze()
            with _noting_the_end(running, settings.drain_s):
                log.info("process_started", process=process)
                yield {"running": running}
                log.info("process_ended", process=process)

    return lifespan


@contextmanager
def _noting_the_end(running: Running, drain_s: float) -> Any:
    """Make `running` drain at SIGTERM, and only then let the server's own handler close the door.

    Meanwhile requests are still answered, each with `Connection: close`, and `/ready` says 503, so that
    whoever sends them goes elsewhere before the door is closed. A second SIGTERM closes it at once.
    """
    loop = asyncio.get_running_loop()
    close_door: Any = signal.getsignal(signal.SIGTERM)

    def drain(number: int, frame: Any) -> None:
        if not callable(close_door):
            return
        if running.is_draining or drain_s == 0:
            running.is_draining = True
            close_door(number, frame)
            return
        running.is_draining = True
        loop.call_soon_threadsafe(close_later, number, frame)

    def close_later(number: int, frame: Any) -> None:
        # On the loop: a signal handler may interrupt the writing of another line.
        log.info("process_draining", process=running.process, drain_s=drain_s)
        loop.call_later(drain_s, close_door, number, frame)

    signal.signal(signal.SIGTERM, drain)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, close_door)
