"""`up --detach` and `down`: the same deployment without a terminal."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy.local.environment import ROOT
from deploy.local.lock import AlreadyRunning, find_holder
from deploy.local.processes import ProcessFailed, is_running
from deploy.local.state import State

#: A cold start with an initial schema takes seconds; a machine under load deserves patience.
START_TIMEOUT_S = 120.0
#: Longer than the slowest ordered stop: 25 s for the services, 10 s each for the servers.
STOP_TIMEOUT_S = 60.0
LOOK_EVERY_S = 0.05


def start_in_background(directory: Path, arguments: Sequence[str], report: Callable[[str], None]) -> None:
    """Run `up` with these arguments in a session of its own and return when it is ready.

    Raises AlreadyRunning when it runs already, ProcessFailed with the reason when it ends or takes too long.
    """
    state = State(directory)
    state.open()
    holder = find_holder(state.lock)
    if holder is not None:
        raise AlreadyRunning(state.lock, holder)
    state.ready.unlink(missing_ok=True)  # a killed deployment could not remove it
    log = state.directory / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.local", "up", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(state, process, log)
    except BaseException:
        process.terminate()  # it stops what it started, in order
        process.wait()
        raise
    report(log.read_text().rstrip())
    report("It runs in the background: `make down` (tollhouse local down) stops it.")


def stop_background(directory: Path, report: Callable[[str], None]) -> None:
    """Stop the deployment that holds this state directory, and wait until everything has ended.

    That nothing runs is said, not an error. Raises ProcessFailed when it does not end.
    """
    state = State(directory)
    holder = find_holder(state.lock)
    if holder is None:
        report(f"Nothing runs in {state.directory}.")
        return
    try:
        os.kill(holder, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it ended between the two lines
    except PermissionError as error:
        raise ProcessFailed(f"Process {holder} belongs to another user: stop it as that user.") from error
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while is_running(holder):
        if time.monotonic() > deadline:
            raise ProcessFailed(f"Process {holder} did not stop within {STOP_TIMEOUT_S:.0f} s.")
        time.sleep(LOOK_EVERY_S)
    report("Stopped.")


def _wait_until_ready(state: State, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not state.ready.exists() or find_holder(state.lock) != process.pid:
        if process.poll() is not None:
            reason = log.read_text(errors="replace").rstrip()
            where = f"This is {log}; the processes' own logs are in {log.parent}/logs."
            raise ProcessFailed(f"It did not start:\n{reason}\n({where})")
        if time.monotonic() > deadline:
            raise ProcessFailed(f"Not ready after {START_TIMEOUT_S:.0f} s; see {log} and {log.parent}/logs.")
        time.sleep(LOOK_EVERY_S)
