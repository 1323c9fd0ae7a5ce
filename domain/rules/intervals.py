"""Days, weeks and months of a time zone as instants. Pure.

A day begins at its midnight in the zone, so one may have 23 or 25 hours.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from domain.errors import FieldError, Invalid

Interval = Literal["day", "week", "month"]

#: Nobody has a Stripe account of before, and later ones have instants that some zones cannot have.
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2999, 12, 31)
#: Of one answer: a year of days.
MOST_INTERVALS = 400


def starts_between(since: date, until: date, interval: Interval) -> list[date]:
    """The first days of the intervals of `[since, until)`, and `until`; the first and last may be cut.

    Raises:
        Invalid: there is no day between them, or there are more than 400 intervals.
    """
    if not FIRST_DAY <= since <= until <= LAST_DAY:
        what = f"days from {FIRST_DAY} to {LAST_DAY}, the first before the second"
        raise Invalid("These days cannot be.", errors=(FieldError("from", what),))
    if since == until:
        raise Invalid("There is no day between these.", errors=(FieldError("to", "a day after from"),))
    starts = [since]
    while (after := _next_start(starts[-1], interval)) < until:
        starts.append(after)
        if len(starts) > MOST_INTERVALS:
            what = f"at most {MOST_INTERVALS} intervals; ask for less time, or for longer intervals"
            raise Invalid("This is too much at once.", errors=(FieldError("interval", what),))
    return [*starts, until]


def instant_of(day: date, zone: ZoneInfo) -> datetime:
    """When a day begins in a zone; aware UTC."""
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def month_of(day: date) -> tuple[date, date]:
    """The first day of a day's month, and of the next one."""
    first = day.replace(day=1)
    return first, _next_start(first, "month")


def _next_start(day: date, interval: Interval) -> date:
    """Weeks begin on Monday."""
    match interval:
        case "day":
            return day + timedelta(days=1)
        case "week":
            return day + timedelta(days=7 - day.weekday())
        case "month":
            return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
