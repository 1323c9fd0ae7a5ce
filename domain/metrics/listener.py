"""Shows the metrics to Prometheus, on a listener of its own: never on a door's, where strangers are.

Nothing of it may stop a process: a port that is taken is said once and asked for again. Of several processes
that share one port (the children of a worker) whoever has it shows the sum of all, and when it ends the next
takes it. They leave their counts in files of one directory, which prometheus-client reads.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from domain.settings import MetricsBind, Process, Settings, shared_metrics
from domain.telemetry import get_logger

log = get_logger()

#: What a process listens on where the setting names a host only.
PORTS: dict[Process, int] = {"api": 9180, "webhook": 9181, "read": 9182, "worker": 9183, "scheduler": 9184}
#: How soon a taken port is asked for again.
AGAIN_S = 5.0


class Listener:
    """Listens once it can; `close` ends it."""

    def __init__(
        self, bind: MetricsBind, port: int, directory: str | None, *, again_s: float = AGAIN_S
    ) -> None:
        """`port`: where `bind` names none. `directory`: of counts that are shared."""
        self._bind, self._port, self._directory = bind, bind.port or port, directory
        self._again_s = again_s
        self.is_served = False
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._is_over.set()
        self._thread.join(timeout=AGAIN_S)

    def _run(self) -> None:
        is_told = self._directory is not None
        while not self._is_over.is_set():
            try:
                server, _ = start_http_server(self._port, self._bind.host, registry_of(self._directory))
            except OSError as error:
                if not is_told:
                    log.warning("metrics_not_served", port=self._port, error=error.strerror or str(error))
                is_told = True
                self._is_over.wait(self._again_s)
                continue
            log.info("metrics_served", host=self._bind.host, port=self._port)
            self.is_served = True
            self._is_over.wait()
            server.shutdown()
            server.server_close()


@asynccontextmanager
async def listening(settings: Settings, process: Process) -> AsyncIterator[None]:
    """Show this process's metrics within the block, unless they are off."""
    if settings.metrics_bind.host == "":
        yield
        return
    listener = Listener(settings.metrics_bind, PORTS[process], shared_metrics())
    listener.start()
    try:
        yield
    finally:
        await asyncio.to_thread(listener.close)


def registry_of(directory: str | None) -> CollectorRegistry:
    """What to show: this process's counts, or those of all that count in `directory`."""
    if directory is None:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]
    return registry
