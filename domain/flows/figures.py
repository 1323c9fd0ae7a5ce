"""What a question for money figures means: whose, which days of which zone, and since when they are whole."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from domain.context import Context
from domain.errors import FieldError, Invalid
from domain.flows.grant import require_head
from domain.rules.currency import written
from domain.rules.entitlements import refuse_unknown_app
from domain.rules.intervals import Interval, instant_of, month_of, starts_between
from domain.store import revenue
from domain.store.session import Connection

__all__ = ["FiguresWish", "Interval", "Period", "month_of", "read_period", "written"]


class FiguresWish(Struct, frozen=True, kw_only=True):
    """Days are of `timezone`; None: the first of this month, tomorrow, and the project's zone."""

    since: date | None = None
    #: Exclusive.
    until: date | None = None
    interval: Interval = "month"
    app: str | None = None
    #: ISO, any case.
    currency: str | None = None
    timezone: str | None = None


class Period(Struct, frozen=True, kw_only=True):
    project: str
    #: First days of the intervals, and the day after the last.
    days: list[date]
    #: The same as instants.
    edges: list[datetime]
    zone: str
    now: datetime
    complete_from: datetime
    app: str | None
    currency: str | None


async def read_period(context: Context, connection: Connection, project: str, wish: FiguresWish) -> Period:
    """Raises: Unknown, for a project or app that is not there; Invalid, for days or a zone that cannot be."""
    head = await require_head(connection, project)
    if wish.app is not None:
        refuse_unknown_app(head.catalog, wish.app)
    zone = _zone(wish.timezone or head.catalog.timezone)
    now = await context.now(connection)
    today = now.astimezone(zone).date()
    days = starts_between(
        wish.since or month_of(today)[0], wish.until or today + timedelta(days=1), wish.interval
    )
    return Period(
        project=project,
        days=days,
        edges=[instant_of(day, zone) for day in days],
        zone=zone.key,
        now=now,
        complete_from=await revenue.find_figures_since(connection, project) or now,
        app=wish.app,
        currency=wish.currency.lower() if wish.currency is not None else None,
    )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        what = "a zone of the IANA database, such as UTC or Europe/Berlin"
        raise Invalid("There is no such time zone.", errors=(FieldError("timezone", what),)) from error
