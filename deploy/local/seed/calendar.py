"""Moments in the past, in unix time, as Stripe counts periods: by calendar months."""

from datetime import UTC, datetime

DAY_S = 86_400.0
#: Every month has it, so that a renewal is always on the day of the first payment.
LAST_COMMON_DAY = 28


def months_before(moment: float, months: int) -> float:
    """The same day and time, so many months earlier; on the 29th and later the 28th."""
    at = datetime.fromtimestamp(moment, UTC)
    month = at.year * 12 + at.month - 1 - months
    day = min(at.day, LAST_COMMON_DAY)
    return at.replace(year=month // 12, month=month % 12 + 1, day=day).timestamp()
