"""Where tests keep their files: nothing of a run outlives it, and no run touches another that lives."""

import os
import subprocess
import sys
from pathlib import Path

from tests.memory import leave_directory, take_directory

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_run_gives_its_directory_back(tmp_path):
    directory = take_directory(tmp_path, wanted_free=0)
    assert directory is not None
    assert str(os.getpid()) in directory.name
    (directory / "cluster").mkdir()
    leave_directory(directory)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed_by_the_next_and_what_a_living_one_has_is_not(tmp_path):
    program = f"""
import os, pathlib, signal
from tests.memory import take_directory
directory = take_directory(pathlib.Path({str(tmp_path)!r}), wanted_free=0)
(directory / "cluster").mkdir()
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=False)
    (left,) = tmp_path.iterdir()
    ours = take_directory(tmp_path, wanted_free=0)
    next_one = take_directory(tmp_path, wanted_free=0)
    assert ours is not None
    assert next_one is not None
    assert not left.exists()
    assert sorted(tmp_path.iterdir()) == sorted([ours, next_one])
    leave_directory(ours)
    leave_directory(next_one)


def test_a_failed_run_keeps_its_files_until_the_next(tmp_path):
    failed = take_directory(tmp_path, wanted_free=0)
    assert failed is not None
    leave_directory(failed, keep=True)
    assert failed.exists()
    take_and_leave = take_directory(tmp_path, wanted_free=0)
    assert take_and_leave is not None
    leave_directory(take_and_leave)
    assert list(tmp_path.iterdir()) == []


def test_files_stay_on_disk_where_memory_is_short_or_missing(tmp_path):
    assert take_directory(tmp_path, wanted_free=1 << 62) is None
    assert take_directory(tmp_path / "missing") is None
    assert list(tmp_path.iterdir()) == []
