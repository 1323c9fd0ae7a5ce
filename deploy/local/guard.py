"""Ends what a killed supervisor left behind. A program of its own: `python guard.py`, told everything on
stdin.

    +GROUP SECONDS    a process group was started; after our parent's death give it SECONDS to end by itself
    -GROUP            the group has ended

stdin closes when the supervisor ends, however it ends. After an orderly stop no group is left and there is
nothing to do; after a kill -9 the kernel has ended the supervisor's direct children (their death signal), and
this program ends what *they* had forked. It imports nothing of ours, so that it starts in milliseconds and
cannot break with us.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable

#: How often groups that were given time are looked at.
LOOK_EVERY_S = 0.05


def main() -> None:
    end_groups(read_groups(sys.stdin))


def read_groups(lines: Iterable[str]) -> dict[int, float]:
    """Read until the other end closes; returns the groups that are left, each with its seconds of grace."""
    groups: dict[int, float] = {}
    for line in lines:
        sign, words = line[:1], line[1:].split()
        if sign == "+":
            groups[int(words[0])] = float(words[1])
        else:
            groups.pop(int(words[0]), None)
    return groups


def end_groups(groups: dict[int, float]) -> None:
    """Kill each group once its leader has ended or its grace is over; returns when all have been."""
    began = time.monotonic()
    waiting = dict(groups)
    while waiting:
        for group, grace_s in list(waiting.items()):
            if time.monotonic() - began >= grace_s or not _is_running(group):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
                del waiting[group]
        time.sleep(LOOK_EVERY_S if waiting else 0)


def _is_running(leader: int) -> bool:
    """False for a zombie too: where nobody reaps orphans, an ended leader stays in the table for ever."""
    try:
        with open(f"/proc/{leader}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123 - starts faster
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


if __name__ == "__main__":
    main()
