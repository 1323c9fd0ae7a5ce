"""Billing periods on the calendar, in UTC seconds."""

import calendar
from datetime import UTC, datetime, timedelta

from deploy.local.stripe_simulator.store import Json

DAYS = {"day": 1, "week": 7}
MONTHS = {"month": 1, "year": 12}


def period_end(start: int, recurring: Json) -> int:
    """When the period of a price's `recurring` that begins at `start` ends.

    A day that the month does not have is its last day: from 31 January one month leads to 28 February.
    """
    begin = datetime.fromtimestamp(start, UTC)
    interval, count = recurring["interval"], recurring["interval_count"]
    if interval in DAYS:
        return int((begin + timedelta(days=DAYS[interval] * count)).timestamp())
    months = begin.year * 12 + begin.month - 1 + MONTHS[interval] * count
    year, month = divmod(months, 12)
    day = min(begin.day, calendar.monthrange(year, month + 1)[1])
    return int(begin.replace(year=year, month=month + 1, day=day).timestamp())
