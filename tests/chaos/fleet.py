"""Real processes: started, killed by their number, and started again as an operator's supervisor would."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from deploy.local.processes import (
    Child,
    ProcessFailed,
    Program,
    ask_to_stop,
    become_subreaper,
    bury,
    children_of,
    has_ended,
    is_ready,
    kill_group,
    reap_group,
    see_it_end,
    start,
)

LOOK_EVERY_S = 0.02


@dataclass(slots=True)
class Kept:
    """A program that is kept running, and its present process."""

    program: Program
    child: Child | None = None
    is_ready: bool = False
    #: Not started again until somebody says so.
    is_held: bool = False
    deaths: int = 0
    ready_at: float = 0.0


@dataclass(slots=True)
class Fleet:
    """All processes of one deployment. Main thread only: children die with the thread that made them."""

    _kept: dict[str, Kept] = field(default_factory=dict)
    _watching: asyncio.Task[None] | None = None

    async def start(self, *programs: Program) -> None:
        """Start them at once; returns when all are ready. Raises ProcessFailed."""
        if self._watching is None:
            become_subreaper()
            self._watching = asyncio.create_task(self._watch())
        for program in programs:
            self._kept[program.name] = Kept(program, start(program))
        await asyncio.gather(*(self.until_ready(program.name) for program in programs))

    async def until_ready(self, name: str, within_s: float = 60.0) -> None:
        async with asyncio.timeout(within_s):
            while not self._kept[name].is_ready:
                if self._watching is not None and self._watching.done():
                    self._watching.result()
                await asyncio.sleep(LOOK_EVERY_S)

    async def until_all_ready(self) -> None:
        for name, kept in self._kept.items():
            if not kept.is_held:
                await self.until_ready(name)

    def pid(self, name: str) -> int | None:
        child = self._kept[name].child
        return None if child is None or has_ended(child) else child.pid

    def names(self, prefix: str) -> list[str]:
        return [name for name in self._kept if name.startswith(prefix)]

    def deaths(self, prefix: str = "") -> int:
        return sum(self._kept[name].deaths for name in self.names(prefix))

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """A signal to the process itself; what it forked has to notice by its own means."""
        pid = self.pid(name)
        if pid is not None:
            os.kill(pid, number)

    def signal(self, pid: int, number: signal.Signals) -> None:
        """To one of ours that may have ended meanwhile."""
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def kill_child(self, name: str) -> None:
        """kill -9 of one process that this one has forked, such as a worker below its main process."""
        for child in self.forked_by(name)[:1]:
            self.signal(child, signal.SIGKILL)

    def forked_by(self, name: str) -> list[int]:
        pid = self.pid(name)
        return [] if pid is None else children_of(pid)

    def hold(self, name: str) -> None:
        """kill -9, and not started again before `release`."""
        kept = self._kept[name]
        kept.is_held = True
        if kept.child is not None and not has_ended(kept.child):
            kill_group(kept.child.pid)

    def release(self, name: str) -> None:
        self._kept[name].is_held = False

    def rearm(self, name: str, **environ: str) -> None:
        """From its next start on it has this environment, too."""
        kept = self._kept[name]
        kept.program = replace(kept.program, env={**(kept.program.env or {}), **environ})

    async def restart(self, name: str) -> float:
        """An orderly stop, and a new process. Answers how long the stop took, in seconds."""
        kept = self._kept[name]
        child = kept.child
        assert child is not None, f"{name} does not run"
        kept.is_held = True
        began = time.monotonic()
        ask_to_stop(child)
        while not has_ended(child) and time.monotonic() - began < kept.program.stop_timeout_s:  # noqa: ASYNC110 - a process has no event
            await asyncio.sleep(LOOK_EVERY_S)
        took_s = time.monotonic() - began
        self.release(name)
        await asyncio.sleep(5 * LOOK_EVERY_S)
        await self.until_ready(name)
        return took_s

    async def stop(self) -> None:
        """End everything, the newest first."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        running = [kept.child for kept in reversed(self._kept.values()) if kept.child is not None]
        self._kept.clear()
        for child in _not_servers(running):
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGCONT)
            kill_group(child.pid)
        for child in running:
            ask_to_stop(child)
            see_it_end(child)
            reap_group(child.pid)

    async def _watch(self) -> None:
        while True:
            for kept in self._kept.values():
                _look_after(kept)
            await asyncio.sleep(LOOK_EVERY_S)


def _not_servers(running: Sequence[Child]) -> Iterator[Child]:
    """A server is asked, because a killed one leaves its shared memory behind; nobody else has to be."""
    return (child for child in running if child.program.name not in {"postgres", "valkey"})


def _look_after(kept: Kept) -> None:
    child = kept.child
    if child is None:
        if not kept.is_held:
            kept.child, kept.is_ready = start(kept.program), False
        return
    if has_ended(child):
        kept.deaths += 1
        bury(child)
        reap_group(child.pid)
        kept.child, kept.is_ready = None, False
        return
    if not kept.is_ready:
        with suppress(ProcessFailed):
            kept.is_ready = is_ready(child)
            kept.ready_at = time.monotonic()
