"""One child process: started so that it cannot outlive us, known to be ready, stopped with its whole group.

Each child leads a session of its own, so that Ctrl-C in a terminal reaches only the supervisor (which then
stops everything in order) and so that whatever the child forked can be ended through one group number.

Children must be started from the main thread: the kernel sends a child its death signal when the *thread*
that forked it ends, not only when the process does.
"""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

#: Option number of prctl(2): the signal a process gets when the thread that forked it ends.
PR_SET_PDEATHSIG = 1
#: Option number of prctl(2): orphans below us become our children instead of init's.
PR_SET_CHILD_SUBREAPER = 36

#: How often a waiting loop looks again. Ready processes are seen within this time; 5 ms costs no measurable
#: CPU.
LOOK_EVERY_S = 0.005

#: Another program may take a port between our choosing it and the server binding it; thrice in a row is no
#: accident.
PORT_ATTEMPTS = 3

#: How much of a log a failure shows: enough for a traceback, short enough for one screen.
TAIL_LINES = 15

# Loaded before any fork: the code between fork and exec may call it, but must not import anything.
_libc = ctypes.CDLL(None, use_errno=True)


class ProcessFailed(Exception):
    """A child process ended, or did not become ready; the message says which one and shows the end of its
    log.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """How one child process is started, known to be ready, and stopped."""

    name: str
    argv: Sequence[str]
    #: stdout and stderr are appended here; its directory must exist.
    log: Path
    #: Asked every few milliseconds until True; must answer within a second.
    is_ready: Callable[["Child"], bool]
    #: The whole environment; None = ours.
    env: Mapping[str, str] | None = None
    #: None = ours.
    cwd: Path | None = None
    #: For people: where it listens. Empty when it does not.
    address: str = ""
    #: Sent by the kernel when we die.
    death_signal: signal.Signals = signal.SIGKILL
    stop_signal: signal.Signals = signal.SIGTERM
    ready_timeout_s: float = 30.0
    #: After this long the whole group is killed.
    stop_timeout_s: float = 10.0
    #: Run before each start, for what the previous run of the same program may have left behind.
    before_start: Callable[[], None] | None = None
    #: (uid, gid) to become before exec; None = stay who we are.
    run_as: tuple[int, int] | None = None
    #: What its log says when somebody else has its port. Empty: it has no port of our choosing.
    port_taken: str = ""


class Prepared(Protocol):
    """A server that is ready to be started."""

    @property
    def program(self) -> Program: ...


PreparedT = TypeVar("PreparedT", bound=Prepared)


@dataclass(frozen=True, slots=True)
class Child:
    """A started program. Its pid is also the number of its session and process group."""

    program: Program
    process: subprocess.Popen[bytes]
    #: Where in the log this start began, in bytes: earlier lines belong to earlier runs.
    log_offset: int
    #: time.monotonic() at the start.
    started_at: float

    @property
    def pid(self) -> int:
        return self.process.pid


def start_on_a_free_port(
    prepare: Callable[[], PreparedT], pause: Callable[[float], None] = time.sleep
) -> tuple[PreparedT, Child]:
    """Prepare a server, start it and wait until it is ready; once more when its port was snatched meanwhile.

    `pause` as in `wait_until_ready`. Raises ProcessFailed; nothing is left running then.
    """
    for attempt in range(1, PORT_ATTEMPTS + 1):
        prepared = prepare()
        child = start(prepared.program)
        try:
            wait_until_ready(child, pause)
        except BaseException as error:
            stop(child)
            words = prepared.program.port_taken.encode()
            is_taken = words != b"" and words in log_since_start(child)
            if not isinstance(error, ProcessFailed) or not is_taken or attempt == PORT_ATTEMPTS:
                raise
        else:
            return prepared, child
    raise AssertionError("the last attempt returns or raises")


def start(program: Program) -> Child:
    """Start the program and return at once; `wait_until_ready` waits.

    Raises ProcessFailed when the executable cannot be run at all.
    """
    if program.before_start is not None:
        program.before_start()
    with program.log.open("ab") as log:
        offset = log.tell()
        process = spawn(
            program.argv,
            stdout=log.fileno(),
            env=program.env,
            cwd=program.cwd,
            death_signal=program.death_signal,
            run_as=program.run_as,
        )
    return Child(program, process, offset, time.monotonic())


def wait_until_ready(child: Child, pause: Callable[[float], None] = time.sleep) -> float:
    """Wait for the program's own sign of readiness; returns the seconds since its start.

    `pause` sleeps, and may raise to give up waiting. Raises ProcessFailed when the process ends first or the
    program's `ready_timeout_s` passes; the process is then left to the caller to stop.
    """
    while not is_ready(child):
        pause(LOOK_EVERY_S)
    return time.monotonic() - child.started_at


def is_ready(child: Child) -> bool:
    """One look. Raises ProcessFailed when the process has ended, or has taken too long to become ready."""
    if child.program.is_ready(child):
        return True
    name, limit_s = child.program.name, child.program.ready_timeout_s
    if has_ended(child):
        raise ProcessFailed(f"{name} {describe_end(child)} before it was ready.{log_tail(child)}")
    if time.monotonic() - child.started_at > limit_s:
        raise ProcessFailed(f"{name} was not ready after {limit_s:.0f} s.{log_tail(child)}")
    return False


def stop(child: Child) -> None:
    """Ask the process to end and see to it that it does. Stopping an ended one is harmless."""
    ask_to_stop(child)
    see_it_end(child)


def ask_to_stop(child: Child) -> None:
    """Send the program's stop signal to its leader, if it still runs."""
    if not has_ended(child):
        child.process.send_signal(child.program.stop_signal)


def see_it_end(child: Child, is_hurried: Callable[[], bool] = lambda: False) -> None:
    """Wait for a process that was asked to stop, then kill what is left of its group and reap it.

    `is_hurried` is asked while waiting; True cuts the wait short. The signal is not sent again: to many
    programs (Dramatiq is one) a second one means "never mind your work".
    """
    deadline = time.monotonic() + child.program.stop_timeout_s
    while not has_ended(child) and time.monotonic() < deadline and not is_hurried():
        time.sleep(LOOK_EVERY_S)
    bury(child)


def has_ended(child: Child) -> bool:
    """True when the leader has ended. It is not reaped yet, so its number still belongs to its group."""
    if child.process.returncode is not None:
        return True
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, child.pid, options) is not None


def bury(child: Child) -> None:
    """Kill whatever is left of the group, then reap the leader.

    In this order: while the leader is not reaped the kernel gives its number to nobody else, so the kill
    cannot hit a stranger.
    """
    if child.process.returncode is not None:
        return
    kill_group(child.pid)
    child.process.wait()


def kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def become_subreaper() -> None:
    """Let the kernel hand us what our children leave behind, so that we can reap it (`reap_group`)."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_group(group: int, timeout_s: float = 2.0) -> None:
    """Reap the orphans of a killed group that became our children; there may be none."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-group, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(LOOK_EVERY_S)


def describe_end(child: Child) -> str:
    """How an ended process ended, for people: `ended with exit code 3`, `was ended by SIGKILL`."""
    if not has_ended(child):
        return "still runs"
    bury(child)
    code = child.process.returncode
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def log_since_start(child: Child) -> bytes:
    """What the process has written since this start."""
    with child.program.log.open("rb") as log:
        log.seek(child.log_offset)
        return log.read()


def log_tail(child: Child) -> str:
    """The end of the log, indented under a line that names the file."""
    lines = log_since_start(child).decode(errors="replace").splitlines()[-TAIL_LINES:]
    shown = "".join(f"\n    {line}" for line in lines) or "\n    (it wrote nothing)"
    return f" The end of {child.program.log}:{shown}"


def is_running(pid: int) -> bool:
    """Whether this process runs, ours or not. A zombie does not: where nobody reaps, it stays for ever."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def children_of(pid: int) -> list[int]:
    """The processes this one has forked and that still run; empty when it has ended."""
    try:
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(word) for word in words]


def spawn(
    argv: Sequence[str],
    *,
    stdout: int,
    stdin: int = subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    death_signal: signal.Signals | None = signal.SIGKILL,
    run_as: tuple[int, int] | None = None,
) -> subprocess.Popen[bytes]:
    """Start one process that leads its own session and gets `death_signal` (None: nothing) when we die.

    `stdout` takes stderr too. Raises ProcessFailed when the executable is missing or may not be run.
    """
    try:
        return subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            start_new_session=True,
            user=run_as[0] if run_as else None,
            group=run_as[1] if run_as else None,
            extra_groups=[] if run_as else None,
            preexec_fn=die_with(os.getpid(), death_signal) if death_signal else None,  # noqa: PLW1509 - calls only prctl and getppid
        )
    except OSError as error:
        raise ProcessFailed(f"Cannot run {argv[0]}: {error.strerror or error}.") from error


def die_with(parent: int, death_signal: signal.Signals) -> Callable[[], None]:
    """What a child runs before exec, to get `death_signal` when `parent` (the pid that forks it) dies."""

    def bind() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        # The parent may have died between fork and prctl: then no signal will ever come, so the child ends
        # itself.
        if os.getppid() != parent:
            os._exit(1)

    return bind
