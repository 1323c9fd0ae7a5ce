"""The tests' files in memory: 73 tests with a database each took the kernel 31 s on disk, and 6 s there.

`take_directory` answers None where the machine must keep them on disk; `leave_directory` gives one back, or
the next run does for a run that was killed.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108 - not a place for secrets of others: our directory is 0700
#: Containers often have 64 MB there.
WANTED_FREE_BYTES = 2 * 1024**3
_PREFIX = f"tollhouse-tests-{os.getuid()}-"
#: Descriptors of the directories this process holds: a lock goes with the process, however it ends.
_held: dict[Path, int] = {}


def take_directory(memory: Path = MEMORY, wanted_free: int = WANTED_FREE_BYTES) -> Path | None:
    """A new empty directory in memory, named by our pid; None where there is too little of it.

    What killed runs have left is removed first.
    """
    if not _is_usable(memory):
        return None
    for directory in memory.glob(f"{_PREFIX}*"):
        _remove_abandoned(directory)
    if shutil.disk_usage(memory).free < wanted_free:
        return None
    # Locked before it gets the name by which another run could find it and think it abandoned.
    unnamed = Path(tempfile.mkdtemp(prefix=".tollhouse-", dir=memory))
    descriptor = os.open(unnamed, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    directory = unnamed.rename(memory / f"{_PREFIX}{os.getpid()}-{unnamed.name[-8:]}")
    _held[directory] = descriptor
    return directory


def leave_directory(directory: Path, *, keep: bool = False) -> None:
    """Give it back, and with `keep` its contents to whoever wants to look at them before the next run."""
    if not keep:
        shutil.rmtree(directory, ignore_errors=True)
    os.close(_held.pop(directory))


def _is_usable(memory: Path) -> bool:
    """Some systems have none, and some forbid programs there, of which tests write a few."""
    return (
        memory.is_dir()
        and os.access(memory, os.W_OK | os.X_OK)
        and not os.statvfs(memory).f_flag & os.ST_NOEXEC
    )


def _remove_abandoned(directory: Path) -> None:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
    except OSError:
        return  # another run has just removed it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # its run lives
    else:
        shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(descriptor)
