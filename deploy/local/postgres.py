"""The embedded Postgres: a real server on loopback, owned by whoever starts it.

    with running_postgres(directory, fsync=False) as server:
        ...  # server.url

The cluster is made under a temporary name and renamed when it is whole, so an interrupted first start leaves
nothing half-made. The password is random, kept in a 0600 file beside the cluster; there is no unix socket
(its path is limited to 107 bytes, which a deep directory exceeds) and no other way in.
"""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.lock import locked
from deploy.local.ports import free_port
from deploy.local.postgres_binaries import PostgresBinaries, Privileges, find_postgres
from deploy.local.processes import (
    Child,
    ProcessFailed,
    Program,
    kill_group,
    start_on_a_free_port,
    stop,
)

#: Name of the owner role and of the database.
NAME = "tollhouse"

#: Local connections of all processes and a debugging operator; each idle one costs about 2 MB.
MAX_CONNECTIONS = 200

#: How long backends of a killed server may take to notice and end before the next start gives up.
LEFTOVERS_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A prepared server: its program and how to reach it once started."""

    program: Program
    #: postgresql://… of the role that owns the database and is superuser.
    url: str
    port: int
    #: The cluster's directory (PGDATA).
    data: Path


@contextmanager
def running_postgres(
    directory: Path, *, fsync: bool = True, privileges: Privileges | None = None
) -> Iterator[PostgresServer]:
    """A server in `directory` (made when missing) for the length of the block; stopped in order at its end.

    `fsync=False` is for tests only: a power cut then corrupts the cluster, a kill -9 does not.
    Raises ProcessFailed when no server can be started, AlreadyRunning when another process uses the
    directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / "lock"):
        log = directory / "postgres.log"
        server, child = start_on_a_free_port(
            lambda: prepare_postgres(directory, log, fsync=fsync, privileges=privileges)
        )
        try:
            yield server
        finally:
            stop(child)


def prepare_postgres(
    directory: Path, log: Path, *, fsync: bool = True, privileges: Privileges | None = None
) -> PostgresServer:
    """Make the cluster when it is missing and choose a port; starts nothing that stays.

    The caller must hold the directory for itself. Raises ProcessFailed, also when the cluster in `directory`
    was made by another major version.
    """
    directory.mkdir(parents=True, exist_ok=True)
    binaries = find_postgres(directory, privileges)
    data = binaries.home / "data"
    if data.exists():
        _refuse_other_major(data, binaries.major)
    else:
        _make_cluster(binaries, data, directory / "password")
    port = free_port()
    program = Program(
        name="postgres",
        argv=[*binaries.command("postgres"), "-D", str(data), *_settings(port, fsync=fsync)],
        log=log,
        cwd=binaries.home,
        is_ready=_ready_by_pid_file(data),
        address=f"127.0.0.1:{port}",
        # Immediate shutdown: the server ends its backends and frees its shared memory, which SIGKILL would
        # not.
        death_signal=signal.SIGQUIT,
        # Fast shutdown: does not wait for clients to leave, unlike SIGTERM.
        stop_signal=signal.SIGINT,
        ready_timeout_s=60.0,
        before_start=lambda: _clear_leftovers(data),
        run_as=binaries.run_as,
        port_taken="could not bind",
    )
    password = _stored_password(directory / "password")
    return PostgresServer(program, f"postgresql://{NAME}:{password}@127.0.0.1:{port}/{NAME}", port, data)


def _settings(port: int, *, fsync: bool) -> list[str]:
    """Command-line settings, so that the file initdb wrote stays as it is and nothing has to be merged."""
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": str(MAX_CONNECTIONS),
        "password_encryption": "scram-sha-256",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%a ",
        # Compiling a plan costs more than running it for statements of a few rows.
        "jit": "off",
    }
    if not fsync:
        settings |= {"fsync": "off", "full_page_writes": "off"}
    return [argument for key, value in settings.items() for argument in ("-c", f"{key}={value}")]


def _ready_by_pid_file(data: Path) -> Callable[[Child], bool]:
    """Line 8 of postmaster.pid says `ready`, and line 1 that it speaks of this very process."""
    path = data / "postmaster.pid"

    def is_ready(child: Child) -> bool:
        try:
            lines = path.read_text().splitlines()
        except FileNotFoundError:
            return False
        pid, state = lines[0:1], lines[7:8]
        return pid == [str(child.pid)] and [text.strip() for text in state] == ["ready"]

    return is_ready


def _stored_password(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise ProcessFailed(
            f"{path}, the password of the cluster beside it, cannot be read ({error.strerror}): put the file "
            "back, or start again with --reset to throw that data away."
        ) from error


def _refuse_other_major(data: Path, major: int) -> None:
    try:
        made_by = (data / "PG_VERSION").read_text().strip()
    except OSError as error:
        raise ProcessFailed(
            f"{data} is no whole PostgreSQL cluster: PG_VERSION cannot be read ({error.strerror}). Put it "
            "back from a copy, or start again with --reset to throw that data away."
        ) from error
    if made_by != str(major):
        raise ProcessFailed(
            f"{data} was made by PostgreSQL {made_by}, but the server found here is PostgreSQL {major}. "
            "Start again "
            f"with --reset to throw that data away, or make PostgreSQL {made_by} available to keep it."
        )


def _make_cluster(binaries: PostgresBinaries, data: Path, password_file: Path) -> None:
    """Run initdb and make the database into a temporary name, then rename: `data` exists only when it is
    whole.
    """
    for abandoned in data.parent.glob("unfinished-*"):
        shutil.rmtree(abandoned)
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=data.parent))
    password_copy = unfinished / "password"
    cluster = unfinished / "data"
    password = secrets.token_hex(32)
    _write_secret(password_file, password)
    _write_secret(password_copy, password)
    if binaries.run_as is not None:
        for path in (unfinished, password_copy):
            os.chown(path, *binaries.run_as)
    _run(
        binaries,
        [
            *binaries.command("initdb"),
            f"--pgdata={cluster}",
            f"--username={NAME}",
            f"--pwfile={password_copy}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # Byte order, the same on every machine; sorting for people is not the database's job here.
            "--locale=C",
            # The server's first checkpoint syncs the directory; syncing every file one by one costs seconds.
            "--no-sync",
            "--no-instructions",
        ],
    )
    # Single-user mode needs no port and no password, so the database is there before the cluster gets its
    # name.
    _run(
        binaries,
        [*binaries.command("postgres"), "--single", "-D", str(cluster), "postgres"],
        stdin=f"CREATE DATABASE {NAME} OWNER {NAME}\n",
    )
    cluster.rename(data)
    shutil.rmtree(unfinished)


def _run(binaries: PostgresBinaries, argv: list[str], stdin: str = "") -> None:
    """Run one of the installation's programs to its end; its output appears only when it fails."""
    answer = subprocess.run(
        argv,
        input=stdin,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=binaries.home,
        env=os.environ | {"LC_ALL": "C", "TZ": "UTC"},
        user=binaries.run_as[0] if binaries.run_as else None,
        group=binaries.run_as[1] if binaries.run_as else None,
        extra_groups=[] if binaries.run_as else None,
        check=False,
    )
    # Single-user mode reports a failed statement but ends with 0.
    if answer.returncode != 0 or "ERROR:" in answer.stdout or "FATAL:" in answer.stdout:
        raise ProcessFailed(f"{' '.join(argv)} failed:\n{answer.stdout.strip()}")


def _write_secret(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _clear_leftovers(data: Path) -> None:
    """After a kill -9: end what still runs in this cluster, then drop the pid file it left.

    The server itself trusts the file when *any* process has that number now (another program after a reboot
    of a container, a zombie nobody reaps) and would refuse to start.
    """
    path = data / "postmaster.pid"
    deadline = time.monotonic() + LEFTOVERS_TIMEOUT_S
    while leftovers := _processes_in(data):
        if time.monotonic() > deadline:
            raise ProcessFailed(
                f"Processes of an earlier server still run in {data}: {sorted(leftovers)}. End them first."
            )
        for pid in leftovers:
            kill_group(pid)  # each process of a server leads its own group
        time.sleep(0.05)
    path.unlink(missing_ok=True)


def _processes_in(data: Path) -> set[int]:
    """Processes whose working directory is the cluster: the server changes into it, and its backends inherit
    that.
    """
    found = set()
    wanted = data.stat()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            here = (entry / "cwd").stat()
            name = (entry / "comm").read_text()
        except OSError:
            continue  # ended meanwhile, a zombie, or somebody else's
        # A shell that merely stands in the directory is not ours to end.
        if os.path.samestat(here, wanted) and name.startswith("postgres"):
            found.add(int(entry.name))
    return found
