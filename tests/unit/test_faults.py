"""Fault points: for tests, where somebody asked for them, and each one of them stands somewhere."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from domain.errors import Unavailable
from domain.faults import NO_FAULTS, POINTS, Faults, parse_fault_points
from domain.settings import SettingsInvalid, load_settings

ROOT = Path(__file__).resolve().parents[2]
BASE = {
    "TOLLHOUSE_ENV": "test",
    "TOLLHOUSE_DATABASE_URL": "postgresql://db/tollhouse",
    "TOLLHOUSE_REDIS_URL": "redis://localhost:6379/0",
    "TOLLHOUSE_STRIPE_SECRET_KEY": "sk_test_1",
}


def test_every_fault_point_stands_in_the_code_once() -> None:
    said = [
        name
        for path in (ROOT / "domain/flows").rglob("*.py")
        for name in re.findall(r'faults\.reach\("([a-z.]+)"', path.read_text())
    ]
    assert sorted(said) == sorted(POINTS)


async def test_without_a_setting_nothing_happens() -> None:
    for name in POINTS:
        await NO_FAULTS.reach(name)


async def test_each_action_does_what_it_says() -> None:
    faults = Faults(
        parse_fault_points("sync.fetched@cus_1=raise:1, sync.claimed=break:1,sync.committed=stall:0.05:1")
    )
    with pytest.raises(Unavailable):
        await faults.reach("sync.fetched", "cus_1")
    await faults.reach("sync.fetched", "cus_2")
    with pytest.raises(RuntimeError):
        await faults.reach("sync.claimed")
    started = time.monotonic()
    await faults.reach("sync.committed")
    assert time.monotonic() - started >= 0.05


async def test_a_chance_of_zero_never_happens() -> None:
    faults = Faults(parse_fault_points("sync.fetched=raise:0"))
    for _ in range(100):
        await faults.reach("sync.fetched")


def test_a_killed_process_is_killed() -> None:
    program = (
        "import asyncio; from domain.faults import *;"
        "asyncio.run(Faults(parse_fault_points('sync.fetched=kill:1')).reach('sync.fetched'))"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    assert ended.returncode == -9


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sync.nowhere=kill:1", "there are receive.committed, "),
        ("sync.fetched=explode:1", "write sync.fetched=kill:CHANCE"),
        ("sync.fetched=stall:1", "stall:SECONDS:CHANCE"),
        ("sync.fetched", "write sync.fetched=kill:CHANCE"),
    ],
)
def test_a_wrong_fault_point_is_refused_with_what_to_write(text: str, said: str) -> None:
    with pytest.raises(SettingsInvalid, match="TOLLHOUSE_FAULT_POINTS") as refused:
        load_settings("worker", {**BASE, "TOLLHOUSE_FAULT_POINTS": text})
    assert said in refused.value.detail


@pytest.mark.parametrize(
    "changes",
    [{"TOLLHOUSE_STRIPE_SECRET_KEY": "rk_live_1"}, {"TOLLHOUSE_ENV": "production"}],
    ids=["live key", "production"],
)
def test_fault_points_are_refused_in_earnest(changes: dict[str, str]) -> None:
    with pytest.raises(SettingsInvalid, match="for tests: unset it"):
        load_settings("worker", {**BASE, "TOLLHOUSE_FAULT_POINTS": "sync.fetched=kill:1", **changes})
    assert load_settings("worker", {**BASE, "TOLLHOUSE_FAULT_POINTS": "sync.fetched=kill:1"}).fault_points
