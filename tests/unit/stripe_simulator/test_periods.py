from datetime import UTC, datetime

import pytest

from deploy.local.stripe_simulator.periods import period_end


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
