"""Nothing outlives the supervisor, what dies comes back, and stopping has an order."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest

from deploy.local.supervisor import LONGEST_DELAY_S, restart_delay_s
from tests.e2e.local.processes_seen import children_of, descendants_of, is_alive, wait_for


@contextmanager
def supervised(directory, *names):
    """A supervisor process with these stand-ins, all ready; killed with everything below it at the end."""
    argv = [sys.executable, "-m", "tests.e2e.local.supervised_example", str(directory), *names]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            seen.append(line)
            if line == "UP\n":
                break
        try:
            yield process, "".join(seen)
        finally:
            left = descendants_of(process.pid)
            process.kill()
            for pid in left:
                # What had only its parent to live for may end by itself at any moment.
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def survivors(pids):
    return {pid for pid in pids if is_alive(pid)}


@pytest.mark.parametrize("names", [("plain", "forks", "stubborn"), ("postgres", "valkey", "forks")])
def test_kill_9_of_the_supervisor_leaves_no_process_behind(tmp_path, names):
    with supervised(tmp_path, *names) as (process, _):
        below = descendants_of(process.pid)
        assert len(below) >= len(names) + 3  # the guard, and what the stand-ins or servers forked
        process.kill()
        process.wait()
        assert wait_for(lambda: not survivors(below), timeout_s=5.0), survivors(below)


def test_grandchildren_end_even_when_the_guard_is_the_only_one_left_to_end_them(tmp_path):
    with supervised(tmp_path, "forks") as (process, _):
        below = descendants_of(process.pid)
        grandchildren = {pid for child in children_of(process.pid) for pid in children_of(child)}
        assert len(grandchildren) == 2
        process.kill()
        process.wait()
        assert wait_for(lambda: not survivors(below), timeout_s=5.0), survivors(below)


def test_a_killed_guard_is_replaced_before_it_is_needed(tmp_path):
    with supervised(tmp_path, "forks", "plain") as (process, _):
        guard, forks, plain = sorted(children_of(process.pid))
        os.kill(guard, signal.SIGKILL)
        os.kill(plain, signal.SIGKILL)  # its restart makes the supervisor speak to the guard
        assert f"pid {plain} " not in next_line_with(process, "ready again")
        below = descendants_of(process.pid)
        assert set(children_of(forks)) <= below
        process.kill()
        process.wait()
        assert wait_for(lambda: not survivors(below), timeout_s=5.0), survivors(below)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_ends_everything_and_the_exit_code_is_zero(tmp_path, number):
    with supervised(tmp_path, "postgres", "valkey", "forks") as (process, _):
        below = descendants_of(process.pid)
        process.send_signal(number)
        assert process.wait(timeout=10) == 0
        assert not survivors(below)


def test_stages_stop_in_reverse_order_of_their_start(tmp_path):
    with supervised(tmp_path, "polite", "polite") as (process, _):
        process.terminate()
        assert process.wait(timeout=10) == 0
    first, second = ((tmp_path / f"{number}-polite.log").read_text() for number in range(2))
    left_at = [float(text.rpartition("left at ")[2]) for text in (first, second)]
    assert left_at[1] < left_at[0]


def test_a_process_that_ignores_sigterm_is_killed_after_its_deadline(tmp_path):
    with supervised(tmp_path, "stubborn") as (process, _):
        below = descendants_of(process.pid)
        process.terminate()
        assert process.wait(timeout=10) == 0
        assert not survivors(below)


def test_each_process_is_asked_to_stop_once(tmp_path):
    with supervised(tmp_path, "touchy") as (process, _):
        process.terminate()
        assert process.wait(timeout=10) == 0
    assert (tmp_path / "0-touchy.log").read_text().split("\n") == ["ready", "asked 1", ""]


def test_a_killed_process_is_started_again_and_its_leftovers_are_gone(tmp_path):
    with supervised(tmp_path, "forks") as (process, _):
        before = descendants_of(process.pid)
        leader = max(pid for pid in children_of(process.pid) if children_of(pid))
        orphans = children_of(leader)
        os.kill(leader, signal.SIGKILL)
        died, back = next_line_with(process, "! forks"), next_line_with(process, "ready again")
        assert f"pid {leader} was ended by SIGKILL; starting it again" in died
        assert not survivors(orphans)
        new_leader = pid_in(back)
        assert new_leader not in before
        assert len(children_of(new_leader)) == 2


def test_a_killed_postgres_recovers_on_the_same_port(tmp_path):
    with supervised(tmp_path, "postgres") as (process, seen):
        pid, address = pid_in(seen), seen.split()[4]
        assert address.startswith("127.0.0.1:")
        os.kill(pid, signal.SIGKILL)
        back = next_line_with(process, "ready again")
        assert address in back
        assert f"pid {pid} " not in back


def test_a_process_that_fails_at_the_start_ends_the_supervisor_and_shows_its_log(tmp_path):
    argv = [sys.executable, "-m", "tests.e2e.local.supervised_example", str(tmp_path), "plain", "broken"]
    answer = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert answer.returncode == 1
    assert "broken ended with exit code 3 before it was ready." in answer.stderr
    assert "no such table" in answer.stderr


def test_restarts_slow_down_while_a_process_keeps_dying():
    assert [restart_delay_s(failures) for failures in range(1, 6)] == [0.0, 0.5, 1.0, 2.0, 4.0]
    assert restart_delay_s(10_000) == LONGEST_DELAY_S


def next_line_with(process, text):
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"the supervisor ended without saying {text!r}")


def pid_in(line):
    words = line.split()
    return int(words[words.index("pid") + 1])
