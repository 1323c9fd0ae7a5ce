"""One process per directory, by a lock the kernel drops with its holder."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOMENT_S = 0.1


class AlreadyRunning(Exception):
    """Another process holds the directory."""

    def __init__(self, path: Path, holder: int | None) -> None:
        self.holder = holder
        who = f"process {holder}" if holder else "another process"
        super().__init__(f"{path.parent} is in use by {who}: stop it first, or use another directory.")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` for the block, with our pid in it; raises AlreadyRunning at once when taken.

    The file stays: removing it would let a third process lock a new file of the same name beside the
    second's.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _take(descriptor):
            raise AlreadyRunning(path, find_holder(path))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    """Try for a moment: whoever asks `find_holder` holds the lock too, for microseconds."""
    deadline = time.monotonic() + MOMENT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(MOMENT_S / 10)
        else:
            return True


def find_holder(path: Path) -> int | None:
    """The pid of the process that holds the lock now, or None when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 32, 0).strip()
        return int(text) if text.isdigit() else None
    else:
        return None
    finally:
        os.close(descriptor)
