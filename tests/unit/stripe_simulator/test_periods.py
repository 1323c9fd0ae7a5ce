from datetime import UTC, datetime

import pytest

from deploy.local.stripe_simulator.periods import period_after, period_end, period_start


@pytest.mark.parametrize(
    ("start", "interval", "count", "end"),
    [
        ("2026-01-15", "month", 1, "2026-02-15"),
        ("2026-01-31", "month", 1, "2026-02-28"),
        ("2028-01-31", "month", 1, "2028-02-29"),
        ("2026-11-30", "month", 3, "2027-02-28"),
        ("2026-12-01", "month", 1, "2027-01-01"),
        ("2028-02-29", "year", 1, "2029-02-28"),
        ("2026-01-01", "week", 2, "2026-01-15"),
        ("2026-02-28", "day", 1, "2026-03-01"),
    ],
)
def test_period_ends_on_the_same_day_or_the_last_of_a_short_month(
    start: str, interval: str, count: int, end: str
) -> None:
    begin = int(datetime.fromisoformat(start).replace(tzinfo=UTC).timestamp())
    expected = int(datetime.fromisoformat(end).replace(tzinfo=UTC).timestamp())
    assert period_end(begin, {"interval": interval, "interval_count": count}) == expected


def seconds(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("anchor", "start", "interval", "end"),
    [
        ("2026-01-31", "2026-01-31", "month", "2026-02-28"),
        ("2026-01-31", "2026-02-28", "month", "2026-03-31"),
        ("2024-02-29", "2027-02-28", "year", "2028-02-29"),
        ("2016-01-31", "2026-06-15", "month", "2026-06-30"),
        ("2026-03-10", "2026-02-20", "month", "2026-03-10"),
        ("2026-12-31", "2026-02-20", "month", "2026-02-28"),
        ("2026-03-10", "2026-02-20", "week", "2026-02-24"),
    ],
)
def test_period_is_counted_from_the_anchor_wherever_it_lies(
    anchor: str, start: str, interval: str, end: str
) -> None:
    terms = {"interval": interval, "interval_count": 1}
    assert period_after(seconds(anchor), seconds(start), terms) == seconds(end)


@pytest.mark.parametrize(
    ("anchor", "end", "start"),
    [
        ("2026-01-31", "2026-02-28", "2026-01-31"),
        ("2026-01-31", "2026-03-31", "2026-02-28"),
        ("2026-03-10", "2026-03-10", "2026-02-10"),
        ("2026-05-31", "2026-03-31", "2026-02-28"),
    ],
)
def test_whole_period_begins_at_the_turn_before_its_end(anchor: str, end: str, start: str) -> None:
    terms = {"interval": "month", "interval_count": 1}
    assert period_start(seconds(anchor), seconds(end), terms) == seconds(start)
