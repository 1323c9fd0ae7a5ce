"""Token buckets: what is let through, and when there is more."""

import pytest

from domain.flows.limit import Buckets, Limit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_buckets(rate: float, burst: int, *, at_most: int = 100) -> tuple[Buckets, Clock]:
    clock = Clock()
    return Buckets(Limit(rate, burst), clock=clock, at_most=at_most), clock


def test_a_burst_is_let_through_and_then_one_for_each_interval() -> None:
    buckets, clock = make_buckets(10, 5)
    assert [buckets.take("a") for _ in range(5)] == [0.0] * 5
    assert buckets.take("a") == pytest.approx(0.1, abs=1e-4)
    assert buckets.wait_s("a") == pytest.approx(0.1, abs=1e-4)
    clock.now += 0.1001
    assert (buckets.take("a"), buckets.take("a") > 0) == (0.0, True)


def test_several_at_once_are_let_through_or_none() -> None:
    buckets, clock = make_buckets(10, 5)
    assert (buckets.take("a", 3), buckets.remaining("a")[0]) == (0.0, 2)
    assert buckets.take("a", 3) == pytest.approx(0.1, abs=1e-4)
    assert buckets.remaining("a")[0] == 2
    clock.now += 0.1001
    assert (buckets.take("a", 3), buckets.remaining("a")[0]) == (0.0, 0)


def test_over_a_long_time_a_hasty_caller_gets_exactly_its_rate() -> None:
    buckets, clock = make_buckets(10, 5)
    let_through = 0
    for _ in range(2000):
        clock.now += 0.005
        let_through += buckets.take("a") == 0
    assert let_through in {5 + 100 - 1, 5 + 100}


def test_being_refused_does_not_make_the_wait_longer() -> None:
    buckets, _ = make_buckets(1, 1)
    buckets.take("a")
    assert {round(buckets.take("a"), 3) for _ in range(50)} == {1.0}


def test_one_name_takes_nothing_from_another() -> None:
    buckets, _ = make_buckets(1, 1)
    assert (buckets.take("a"), buckets.take("a") > 0, buckets.take("b")) == (0.0, True, 0.0)


def test_what_remains_is_told_with_the_time_until_all_of_it_is_back() -> None:
    buckets, clock = make_buckets(10, 5)
    assert buckets.remaining("a") == (5, 0)
    for _ in range(3):
        buckets.take("a")
    assert buckets.remaining("a") == (2, 1)
    clock.now += 10
    assert buckets.remaining("a") == (5, 0)
    assert buckets.limit.window_s == 1


def test_a_rate_of_zero_limits_nobody_and_remembers_nobody() -> None:
    buckets, _ = make_buckets(0, 5)
    assert {buckets.take("a") for _ in range(100)} == {0.0}
    assert (buckets.wait_s("a"), buckets._full_at) == (0.0, {})


def test_however_many_names_come_memory_is_bounded_and_full_buckets_go_first() -> None:
    buckets, clock = make_buckets(1, 1, at_most=10)
    for number in range(8):
        buckets.take(f"old{number}")
    clock.now += 2
    buckets.take("busy")
    for number in range(1000):
        buckets.take(f"new{number}")
    assert len(buckets._full_at) <= 10
    buckets, clock = make_buckets(1, 1, at_most=3)
    buckets.take("old")
    clock.now += 1.5
    for name in ("busy", "b", "c"):
        buckets.take(name)
    assert buckets.take("busy") > 0
