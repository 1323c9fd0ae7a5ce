"""Billing periods on the calendar, in UTC seconds."""

import calendar
from datetime import UTC, datetime, timedelta

from deploy.local.stripe_simulator.store import Json

DAYS = {"day": 1, "week": 7}
MONTHS = {"month": 1, "year": 12}
DAY_S = 86_400
#: The shortest and the longest that an interval can be, in days.
BOUNDS = {"day": (1, 1), "week": (7, 7), "month": (28, 31), "year": (365, 366)}


def period_end(start: int, recurring: Json) -> int:
    """When the period of a price's `recurring` that begins at `start` ends.

    A day that the month does not have is its last day: from 31 January one month leads to 28 February.
    """
    return shifted(start, recurring, 1)


def period_after(anchor: int, start: int, recurring: Json) -> int:
    """When the period that begins at `start` ends: the next whole number of intervals from the anchor.

    Counted from the anchor and not from `start`, so that 31 January leads over 28 February to 31 March.
    The anchor may lie in the future: then the period before it is a part of an interval.
    """
    number = fewest(start - anchor, recurring)
    while shifted(anchor, recurring, number) <= start:
        number += 1
    return shifted(anchor, recurring, number)


def period_start(anchor: int, end: int, recurring: Json) -> int:
    """When the whole interval that ends at `end` began, counted from the anchor like `period_after`."""
    number = fewest(end - anchor, recurring) - 1
    while shifted(anchor, recurring, number + 1) < end:
        number += 1
    return shifted(anchor, recurring, number)


def fewest(seconds: int, recurring: Json) -> int:
    """A number of intervals that is never more than what fits; negative for a time before the anchor."""
    shortest, longest = BOUNDS[recurring["interval"]]
    days = longest if seconds >= 0 else shortest
    return seconds // (days * DAY_S * int(recurring["interval_count"]))


def shifted(moment: int, recurring: Json, number: int) -> int:
    """The moment moved by a number of intervals, which may be negative."""
    begin = datetime.fromtimestamp(moment, UTC)
    interval, count = recurring["interval"], recurring["interval_count"] * number
    if interval in DAYS:
        return int((begin + timedelta(days=DAYS[interval] * count)).timestamp())
    year, month = divmod(begin.year * 12 + begin.month - 1 + MONTHS[interval] * count, 12)
    day = min(begin.day, calendar.monthrange(year, month + 1)[1])
    return int(begin.replace(year=year, month=month + 1, day=day).timestamp())
