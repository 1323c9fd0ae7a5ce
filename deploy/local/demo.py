"""`make demo`: a purchase becomes an entitlement, from nothing, in front of your eyes.

Everything is real (servers, processes, HTTP, signatures) except Stripe, which is the simulator. The state is
the demo's own (`.tollhouse/demo`) and is emptied at each start; what `up` keeps is not touched.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from deploy.local import demo_operator, demo_steps, demo_subscription
from deploy.local.demo_steps import Mismatch, Story
from deploy.local.environment import ROOT, Ports
from deploy.local.ports import is_free
from deploy.local.processes import Program, start, stop, wait_until_ready
from deploy.local.state import Ready, State, read_struct
from deploy.local.web import Connection, NoAnswer

PREFERRED_PORT_BASE = 8000
#: The lease of a killed worker has to run out before another may take its work up: 15 s by default, shorter
#: here so that nobody has to wait. The other two go with it: one fetch must end within a lease, and the
#: sweeper looks again.
LEASE_S = 3
SETTINGS = {"lease_s": LEASE_S, "fetch_timeout_s": 2.5, "ring_again_s": 2}
RECOVERY_TIMEOUT_S = 20.0
STEPS = (*demo_steps.STEPS, *demo_subscription.STEPS, *demo_operator.STEPS)


def run_demo(directory: Path, say: Callable[[str], None]) -> int:
    """Tell the whole story; returns the exit code: 0, 1 for a mismatch, 130 when stopped.

    Raises ProcessFailed when the deployment cannot be started.
    """
    began = time.monotonic()
    state = State(directory)
    state.open()
    base = choose_port_base()
    if base != PREFERRED_PORT_BASE:
        say(f"Port {PREFERRED_PORT_BASE} or one of the next three is in use: taking {base} to {base + 3}.")
    with stopped_by_signals():
        try:
            with deployment(state, base, say) as story:
                failed = tell(story, state, say)
        except Stopped:
            say("Stopped.")
            return 130
    if failed:
        return 1
    summarise(story, time.monotonic() - began, say)
    return 0


def choose_port_base() -> int:
    """8000 if it and the next three are free, else the next four that are."""
    for base in range(PREFERRED_PORT_BASE, 65000, 10):
        if all(is_free(port) for port in Ports(base).by_name.values()):
            return base
    raise Mismatch("four free neighbouring ports", "none on 127.0.0.1")


class Stopped(BaseException):
    """Ctrl-C, SIGTERM, or the end of the process that started the demo."""


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise Stopped inside the block; so does the death of our parent (`make`)."""

    def stop_now(_number: int, _frame: FrameType | None) -> None:
        for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(again, signal.SIG_IGN)  # the ordered stop that follows must not be cut short
        raise Stopped

    old = {
        number: signal.signal(number, stop_now) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def deployment(state: State, base: int, say: Callable[[str], None]) -> Iterator[Story]:
    """A `tollhouse local up` of our own, emptied first; it ends with the block, and with us."""
    ready_file = state.ready
    ready_file.unlink(missing_ok=True)
    words = ["up", "--reset", "--state", str(state.directory), "--port-base", str(base)]
    words += ["--workers", "1", *(f"--setting={name}={value}" for name, value in SETTINGS.items())]
    up = Program(
        name="tollhouse local up",
        argv=[sys.executable, "-m", "deploy.local", *words],
        cwd=ROOT,
        log=state.directory / "up.log",
        is_ready=lambda _: ready_file.exists(),
        ready_timeout_s=120.0,
        stop_timeout_s=60.0,
    )
    up.log.unlink(missing_ok=True)
    child = start(up)
    try:
        took_s = wait_until_ready(child)
        ready = read_struct(ready_file, Ready)
        say(f"✓ started {len(ready.pids)} processes in {took_s:.1f} s: {', '.join(ready.pids)}")
        with Connection(ready.base_url) as app:
            yield Story(ready_file, ready, app, LEASE_S, RECOVERY_TIMEOUT_S, say)
    finally:
        stop(child)


def tell(story: Story, state: State, say: Callable[[str], None]) -> bool:
    """Run the steps; True when one of them failed (and said so)."""
    for number, step in enumerate(STEPS, 1):
        try:
            line = step(story)
        except (Mismatch, NoAnswer) as error:
            say(f"✗ step {number} ({step.__name__.replace('_', ' ')}): {error}")
            say(f"  The logs are in {state.directory / 'logs'}.")
            return True
        say(f"✓ {number}. {line}")
    return False


def summarise(story: Story, took_s: float, say: Callable[[str], None]) -> None:
    say("")
    for what, figure in [*story.figures, ("The whole demo, start and stop included", f"{took_s:.1f} s")]:
        say(f"  {what:<50} {figure:>14}")
    say("")
    say("Next: `make up` keeps all this running on port 8000 with its own data, `make down` stops it;")
    say("docs/integration_guide.md is for a team with an app, docs/event-path.md tells how it works.")
