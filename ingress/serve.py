"""`python -m ingress.serve webhook`: one door's process. uvicorn, with the options that make it ours.

All of them in one place, so that no deployment can forget one: no access log (ours says more), no server
header, no trust in forwarded addresses, no WebSockets, and connections that end (ingress/connection.py).
"""

import argparse
import asyncio
import resource

import uvicorn
from msgspec.structs import replace

from domain import metrics
from domain.errors import TollhouseError
from domain.settings import Settings, load_settings
from domain.telemetry import get_logger
from ingress.connection import Connection, end_late

log = get_logger()

DOORS = ("webhook", "read", "api")
DEFAULT_PORT = {"api": 8000, "webhook": 8001, "read": 8002}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ingress.serve", description="Run one door.")
    parser.add_argument("door", choices=DOORS)
    parser.add_argument("--host", default="127.0.0.1", help="default: this machine only")
    parser.add_argument("--port", type=int, help="default: 8000 for api, 8001 webhook, 8002 read")
    asked = parser.parse_args()
    try:
        settings = load_settings(asked.door)
    except TollhouseError as error:
        raise SystemExit(error.detail) from error
    use_every_socket()
    DoorServer(configure(asked.door, asked.host, asked.port or DEFAULT_PORT[asked.door], settings)).run()


def configure(door: str, host: str, port: int, settings: Settings) -> uvicorn.Config:
    """Uvicorn's options for one door."""

    class Limited(Connection):
        limits = replace(Connection.limits, arrival_s=settings.arrival_s)

    return uvicorn.Config(
        f"ingress.{door}:app",
        host=host,
        port=port,
        http=Limited,
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_level="warning",
    )


class DoorServer(uvicorn.Server):
    """A server that looks after its connections once a second."""

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            ended = end_late(self.server_state.connections, asyncio.get_running_loop().time())
            for reason, count in ended.items():
                metrics.connections_ended.labels(reason).inc(count)
            if ended:
                log.warning("connections_ended", **ended)
        return await super().on_tick(counter)


def use_every_socket() -> None:
    """Each connection is a file to the system, which by default lets a process have 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main()
