"""Where the children of one worker leave their counts, so that whichever is asked can show the sum of all.

Imports nothing that counts: prometheus-client reads at its import whether it is to count in files.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

#: `<prefix><pid of the parent>-<when it began>`: a number alone may be another process's by now.
PREFIX = "tollhouse-metrics-"


def shared_directory(parent: int) -> str:
    """Where the children of `parent` leave their counts. Directories of dead parents are removed."""
    mine = Path(tempfile.gettempdir()) / f"{PREFIX}{_named(parent)}"
    mine.mkdir(mode=0o700, exist_ok=True)
    for other in mine.parent.glob(f"{PREFIX}*"):
        pid = other.name.removeprefix(PREFIX).partition("-")[0]
        if other.stat().st_uid == os.getuid() and other.name != f"{PREFIX}{_named(int(pid))}":
            shutil.rmtree(other, ignore_errors=True)
    return str(mine)


def leave(directory: str) -> None:
    """Say that this child ends. The last one removes the directory: the counts of ended ones count on."""
    place = Path(directory)
    (place / f"ended_{os.getpid()}").touch()
    ended = {_pid_in(path) for path in place.glob("ended_*")}
    others = {_pid_in(path) for path in place.glob("*.db")} - ended
    if not any(Path(f"/proc/{pid}").exists() for pid in others):
        shutil.rmtree(place, ignore_errors=True)


def _pid_in(path: Path) -> str:
    return path.stem.rpartition("_")[2]


def _named(pid: int) -> str:
    """The process, told apart from later ones of the same number where the system says when it began."""
    if not sys.platform.startswith("linux"):
        return f"{pid}-0"
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return f"{pid}-gone"
    return f"{pid}-{status.rpartition(')')[2].split()[19]}"
