"""What the kernel says about processes: the tests of supervision believe nothing else."""

import time
from pathlib import Path


def is_alive(pid: int) -> bool:
    """A zombie is dead: it runs nothing and waits only to be read by its parent."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def children_of(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def descendants_of(pid: int) -> set[int]:
    found = set(children_of(pid))
    for child in list(found):
        found |= descendants_of(child)
    return found


def wait_for(condition, timeout_s=10.0):
    """The first true answer of `condition`; the last answer when time is up, for the assert to show."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return answer
