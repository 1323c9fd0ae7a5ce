"""A process of its own for each `tollhouse`, forked from one that has imported it: a start costs a second."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

#: What commands import, directly or not; a module that is missing here is imported by whoever needs it.
PRELOADED = [
    "ingress.cli.main",
    "ingress.cli.audit",
    "ingress.cli.events",
    "ingress.cli.explain",
    "ingress.cli.grants",
    "ingress.cli.grant_lists",
    "ingress.cli.keys",
    "ingress.cli.customers",
    "ingress.cli.catalog.group",
    "tests.ingress.forked",
]
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(PRELOADED)


class Running(Struct, frozen=True):
    """A command that runs, and where its output goes."""

    pid: int
    out: Path
    err: Path


@contextmanager
def forked(words: Sequence[str], environ: Mapping[str, str]) -> Iterator[tuple[Running, Callable[[], int]]]:
    """`tollhouse WORDS` in exactly this environment, and what waits for its end and answers its exit code."""
    with tempfile.TemporaryDirectory() as directory:
        out, err = Path(directory) / "out", Path(directory) / "err"
        process = _forks.Process(target=_become, args=(list(words), dict(environ), str(out), str(err)))
        process.start()
        assert process.pid is not None

        def wait() -> int:
            process.join()
            assert process.exitcode is not None
            return process.exitcode

        yield Running(process.pid, out, err), wait
        wait()
        process.close()


def run_forked(words: Sequence[str], environ: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """`tollhouse WORDS` in exactly this environment, its output and exit code."""
    with forked(words, environ) as (running, wait):
        code = wait()
        out, err = running.out.read_text("utf-8"), running.err.read_text("utf-8")
        return subprocess.CompletedProcess(list(words), code, out, err)


def _become(words: Sequence[str], environ: Mapping[str, str], out: str, err: str) -> None:
    os.environ.clear()
    os.environ.update(environ)
    for path, number in ((out, 1), (err, 2)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    # As from a terminal: what runs in a shell's background, as a whole test run may, ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from ingress.cli.main import main  # noqa: PLC0415 - after the environment is what it will be

    main(words)
