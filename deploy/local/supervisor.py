"""All child processes of one deployment: started in order, restarted when they die, stopped in reverse order.

    with Supervisor(print) as supervisor:
        supervisor.start_together([...])
        supervisor.watch()          # until SIGINT, SIGTERM or SIGHUP

Nothing outlives it. An orderly stop ends stage by stage; after a kill -9 the kernel ends the direct children
(death signal, see processes) and the guard ends what those had forked.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from deploy.local import guard as guard_program
from deploy.local.processes import (
    LOOK_EVERY_S,
    Child,
    PreparedT,
    ProcessFailed,
    Program,
    ask_to_stop,
    become_subreaper,
    bury,
    describe_end,
    has_ended,
    is_ready,
    reap_group,
    see_it_end,
    spawn,
    start,
    start_on_a_free_port,
    stop,
)

#: A process that dies again within this time of becoming ready counts as failing, and waits longer each time.
STEADY_AFTER_S = 30.0
#: The first restart is immediate (a kill -9 must cost milliseconds), the later ones wait 0.5 s doubled each
#: time.
FIRST_DELAY_S = 0.5
#: An operator who repairs the cause should not wait longer than this for the next attempt.
LONGEST_DELAY_S = 10.0
#: Signals may arrive at any time, but nothing else wakes us: restarts and readiness are looked at this often.
WATCH_EVERY_S = 0.1

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(BaseException):
    """Somebody asked this process to stop; raised only where waiting is safe to give up."""


@dataclass(slots=True)
class _Kept:
    """A program we keep running, and where it stands."""

    program: Program
    child: Child | None = None
    is_ready: bool = False
    ready_at: float = 0.0
    #: Deaths in a row without a steady run between them.
    failures: int = 0
    #: time.monotonic() before which it is not started again.
    start_at: float = 0.0


@dataclass(slots=True)
class Supervisor:
    """See the module. Must be entered in the main thread: it owns the process's signals while it is open."""

    #: Takes one line for people.
    report: Callable[[str], None]
    #: Called after a restarted process is ready again: pids have changed.
    on_restart: Callable[[], None] = lambda: None
    _stages: list[list[_Kept]] = field(default_factory=list)
    _stop_requests: int = 0
    _guard: "_Guard | None" = None
    _wake_reader: int = -1
    _wake_writer: int = -1
    _old_handlers: dict[signal.Signals, "signal._HANDLER"] = field(default_factory=dict)

    def __enter__(self) -> Self:
        become_subreaper()
        self._guard = _Guard()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            self._old_handlers[number] = signal.signal(number, self._note_stop)
        # Without a handler SIGCHLD would not wake the loop; what to do about it is decided there.
        self._old_handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_all()
        signal.set_wakeup_fd(-1)
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        os.close(self._wake_reader)
        os.close(self._wake_writer)
        if self._guard is not None:
            self._guard.close()

    def start_prepared(self, prepare: Callable[[], PreparedT]) -> PreparedT:
        """Start a server on a free port as a stage of its own, and wait until it is ready.

        Raises ProcessFailed, StopRequested.
        """
        prepared, child = start_on_a_free_port(prepare, self.pause)
        kept = _Kept(prepared.program, child)
        self._stages.append([kept])
        self._tell_guard(child)
        self._note_ready(kept)
        self._report_ready(kept)
        return prepared

    def start_together(self, programs: Sequence[Program]) -> None:
        """Start the programs at once as one stage, and wait until all are ready.

        Raises ProcessFailed when one of them ends or is not ready in time; StopRequested.
        """
        stage: list[_Kept] = []
        self._stages.append(stage)
        for program in programs:
            kept = _Kept(program, start(program))
            stage.append(kept)
            self._tell_guard(kept.child)
        waiting = list(stage)
        while waiting:
            for kept in list(waiting):
                if self._is_ready_now(kept):
                    waiting.remove(kept)
                    self._report_ready(kept)
            if waiting:
                self.pause(LOOK_EVERY_S)

    def watch(self) -> None:
        """Keep everything running; returns when a stop was requested."""
        with contextlib.suppress(StopRequested):
            while True:
                for kept in self._all():
                    self._look_after(kept)
                self.pause(WATCH_EVERY_S)

    def pause(self, seconds: float) -> None:
        """Sleep, cut short by the end of a child; raises StopRequested when a stop was requested."""
        self.refuse_after_stop()
        select.select([self._wake_reader], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_reader, 4096)
        self.refuse_after_stop()

    def refuse_after_stop(self) -> None:
        """Raise StopRequested if a stop was requested."""
        if self._stop_requests:
            raise StopRequested

    def pids(self) -> dict[str, int]:
        """Name and pid of every process that runs now."""
        return {kept.program.name: kept.child.pid for kept in self._all() if kept.child is not None}

    def _all(self) -> Iterator[_Kept]:
        for stage in self._stages:
            yield from stage

    def _note_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stop_requests += 1

    def _is_ready_now(self, kept: _Kept) -> bool:
        """One look at a process that was started; raises ProcessFailed when it will not become ready."""
        if kept.child is None or not is_ready(kept.child):
            return False
        self._note_ready(kept)
        return True

    def _note_ready(self, kept: _Kept) -> None:
        kept.is_ready = True
        kept.ready_at = time.monotonic()

    def _look_after(self, kept: _Kept) -> None:
        """One look at one process that should be running."""
        if kept.child is None:
            if time.monotonic() >= kept.start_at:
                self._start_again(kept)
        elif has_ended(kept.child):
            self._note_death(kept, kept.child, describe_end(kept.child))
        elif not kept.is_ready:
            try:
                is_back = self._is_ready_now(kept)
            except ProcessFailed:
                stop(kept.child)
                self._note_death(kept, kept.child, "did not become ready")
                return
            if is_back:
                self._report_ready(kept, again=True)
                self.on_restart()

    def _note_death(self, kept: _Kept, child: Child, how: str) -> None:
        self._forget(child)
        was_steady = kept.is_ready and time.monotonic() - kept.ready_at >= STEADY_AFTER_S
        kept.failures = 1 if was_steady else kept.failures + 1
        delay_s = restart_delay_s(kept.failures)
        kept.child, kept.is_ready = None, False
        kept.start_at = time.monotonic() + delay_s
        when = "starting it again" if delay_s == 0 else f"starting it again in {delay_s:g} s"
        log = kept.program.log
        self.report(f"! {kept.program.name:<10} pid {child.pid} {how}; {when} (log: {log})")

    def _start_again(self, kept: _Kept) -> None:
        try:
            kept.child = start(kept.program)
        except ProcessFailed as error:
            kept.failures += 1
            kept.start_at = time.monotonic() + LONGEST_DELAY_S
            self.report(f"! {kept.program.name:<10} {error} Trying again in {LONGEST_DELAY_S:g} s.")
            return
        self._tell_guard(kept.child)

    def _report_ready(self, kept: _Kept, *, again: bool = False) -> None:
        if kept.child is None:
            return
        took_s = kept.ready_at - kept.child.started_at
        name, address = f"{kept.program.name:<10}", f"{kept.program.address or '-':<22}"
        word = "ready again" if again else "ready"
        self.report(f"✓ {name} pid {kept.child.pid:<8} {address} {word} in {took_s:.2f} s")

    def _stop_all(self) -> None:
        """Newest stage first; within a stage all are asked at once. A second signal while stopping kills."""
        asked_before = self._stop_requests
        for stage in reversed(self._stages):
            children = [kept.child for kept in stage if kept.child is not None]
            for child in children:
                ask_to_stop(child)
            for child in children:
                see_it_end(child, lambda: self._stop_requests > max(asked_before, 1))
                self._forget(child)
        self._stages.clear()

    def _tell_guard(self, child: Child | None) -> None:
        if self._guard is not None and child is not None:
            self._guard.started(child)

    def _forget(self, child: Child) -> None:
        """After the leader's end: what it had forked was handed to us by the kernel, and ends here too."""
        bury(child)
        reap_group(child.pid)
        if self._guard is not None:
            self._guard.ended(child)


def restart_delay_s(failures: int) -> float:
    """How long to wait before the next start, after so many deaths in a row (1 = the first)."""
    if failures <= 1:
        return 0.0
    return min(FIRST_DELAY_S * 2.0 ** min(failures - 2, 10), LONGEST_DELAY_S)


class _Guard:
    """Our end of the guard program: tells it each group, and replaces it should somebody kill it."""

    def __init__(self) -> None:
        self._groups: dict[int, float] = {}
        self._process, self._pipe = self._open()

    def started(self, child: Child) -> None:
        # A server whose death signal is its own quick shutdown gets the time to finish it.
        grace_s = 0.0 if child.program.death_signal == signal.SIGKILL else 3.0
        self._groups[child.pid] = grace_s
        self._tell(f"+{child.pid} {grace_s}\n")

    def ended(self, child: Child) -> None:
        if self._groups.pop(child.pid, None) is not None:
            self._tell(f"-{child.pid}\n")

    def close(self) -> None:
        """Close the pipe: the guard ends what is left (after an orderly stop nothing) and then itself."""
        os.close(self._pipe)
        self._process.wait()

    def _tell(self, line: str) -> None:
        try:
            os.write(self._pipe, line.encode())
        except BrokenPipeError:
            os.close(self._pipe)
            self._process.wait()
            self._process, self._pipe = self._open()
            for group, grace_s in self._groups.items():
                os.write(self._pipe, f"+{group} {grace_s}\n".encode())

    def _open(self) -> tuple[subprocess.Popen[bytes], int]:
        reader, writer = os.pipe()
        try:
            process = spawn(
                [sys.executable, "-I", "-S", str(Path(guard_program.__file__))],
                stdin=reader,
                stdout=subprocess.DEVNULL,
                death_signal=None,
            )
        finally:
            os.close(reader)
        return process, writer
