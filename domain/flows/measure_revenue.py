"""What a project earned by interval, app and currency, exact to the minor unit; and the objects behind."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

from msgspec import Struct

from domain.context import Context
from domain.errors import FieldError, Invalid
from domain.flows.figures import FiguresWish, Period, read_period
from domain.store import revenue
from domain.store.revenue import EntrySum, ListedEntry

#: The app of what belongs to no one app, in answers.
NO_APP = "none"
__all__ = ["ListedEntry", "Revenue", "RevenueEntries", "Sums", "list_revenue_entries", "measure_revenue"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = (_EPOCH - timedelta(days=1), "", "", "")

DEFINITIONS = {
    "gross": "Payments that succeeded in Stripe, tax included, on the day they were paid.",
    "tax": "The tax in gross.",
    "refunded": "Refunds, tax included, on the day each was made; one that failed is taken back on the day "
    "it was read as failed.",
    "disputed": "What disputes withdrew, tax included, less what they gave back, each on its own day.",
    "net": "gross - tax - (refunded - refunded_tax) - (disputed - disputed_tax).",
    "not_included": "Stripe's fees, payments outside of Stripe, and a customer's credit used for an invoice.",
    "apps": "Each payment split over its lines, each line by the weights of its plan in the catalog in force "
    "at the payment, by largest remainder: apps add up to the total. none: of no one app.",
    "days": "Of timezone; from is included, to is not. A refund or dispute of later changes no earlier day.",
    "complete_from": "From then on every payment of the project's users is here. Of earlier ones, those of "
    "customers that were linked or imported with their history.",
    "amounts": "Integer minor units of the currency as Stripe has them: usd 1900 is 19.00, jpy 1900 is 1900.",
}


class Sums(Struct, frozen=True, kw_only=True):
    gross: int = 0
    tax: int = 0
    refunded: int = 0
    #: The tax in refunded.
    refunded_tax: int = 0
    disputed: int = 0
    #: The tax in disputed.
    disputed_tax: int = 0
    net: int = 0


class RevenueRow(Struct, frozen=True, kw_only=True, rename={"since": "from", "until": "to"}):
    #: First day, and the day after the last.
    since: date
    until: date
    currency: str
    total: Sums
    #: By app; they add up to the total. `none`: of no one app.
    apps: dict[str, Sums]


class Revenue(Struct, frozen=True, kw_only=True, rename={"since": "from", "until": "to"}):
    project: str
    since: date
    #: Exclusive.
    until: date
    interval: str
    timezone: str
    #: Null: all of them.
    app: str | None
    currency: str | None
    complete_from: datetime
    #: By interval, then currency; every interval has a row of every currency that was paid in.
    data: list[RevenueRow]
    #: By currency, of the whole time.
    totals: dict[str, Sums]
    definitions: dict[str, str]


class RevenueEntries(Struct, frozen=True, kw_only=True):
    data: list[ListedEntry]
    next_cursor: str | None


async def measure_revenue(context: Context, project: str, wish: FiguresWish) -> Revenue:
    """Sums of the entries of a project.

    Raises:
        Unknown: there is no such project or app.
        Invalid: days, a zone or an interval that cannot be.
    """
    async with context.database.snapshot() as connection:
        period = await read_period(context, connection, project, wish)
        found = await revenue.sum_entries(connection, project, period.edges, period.app, period.currency)
    currencies = sorted({one.currency for one in found})
    return Revenue(
        project=project,
        since=period.days[0],
        until=period.days[-1],
        interval=wish.interval,
        timezone=period.zone,
        app=period.app,
        currency=period.currency,
        complete_from=period.complete_from,
        data=_rows(period, found, currencies),
        totals={name: _add_up(one for one in found if one.currency == name) for name in currencies},
        definitions=DEFINITIONS,
    )


async def list_revenue_entries(
    context: Context, project: str, wish: FiguresWish, *, cursor: str | None = None, limit: int = 100
) -> RevenueEntries:
    """The objects behind the sums, by time; `cursor` is the `next_cursor` of the page before.

    Raises:
        Unknown, Invalid: as `measure_revenue`; Invalid also for a cursor that is none of ours.
    """
    after = _read_cursor(cursor) if cursor is not None else _FIRST
    async with context.database.snapshot() as connection:
        period = await read_period(context, connection, project, wish)
        rows = await revenue.list_entries(
            connection,
            project,
            period.edges[0],
            period.edges[-1],
            period.app,
            period.currency,
            after,
            limit + 1,
        )
    page = rows[:limit]
    return RevenueEntries(data=page, next_cursor=_write_cursor(page[-1]) if len(rows) > limit else None)


def _rows(period: Period, found: Iterable[EntrySum], currencies: Sequence[str]) -> list[RevenueRow]:
    by_place: dict[tuple[int, str], list[EntrySum]] = {}
    for one in found:
        by_place.setdefault((one.number, one.currency), []).append(one)
    days = zip(period.days, period.days[1:], strict=False)
    return [
        _row(since, until, currency, by_place.get((number, currency), ()))
        for number, (since, until) in enumerate(days)
        for currency in currencies
    ]


def _row(since: date, until: date, currency: str, found: Sequence[EntrySum]) -> RevenueRow:
    return RevenueRow(
        since=since,
        until=until,
        currency=currency,
        total=_add_up(found),
        apps={
            app or NO_APP: _add_up(one for one in found if one.app == app)
            for app in sorted({one.app for one in found})
        },
    )


def _add_up(found: Iterable[EntrySum]) -> Sums:
    """A refund that failed and a dispute that was reversed are negative: they belong to what they undo."""
    amount = {"payment": 0, "refund": 0, "dispute": 0}
    tax = amount.copy()
    for one in found:
        what = one.kind.partition("_")[0]
        amount[what] += one.amount_minor
        tax[what] += one.tax_minor
    lost = amount["refund"] - tax["refund"] + amount["dispute"] - tax["dispute"]
    return Sums(
        gross=amount["payment"],
        tax=tax["payment"],
        refunded=amount["refund"],
        refunded_tax=tax["refund"],
        disputed=amount["dispute"],
        disputed_tax=tax["dispute"],
        net=amount["payment"] - tax["payment"] - lost,
    )


def _write_cursor(entry: ListedEntry) -> str:
    """Microseconds, object, kind and app: nothing that a URL would have to escape."""
    micros = (entry.happened_at - _EPOCH) // timedelta(microseconds=1)
    return f"{micros}.{entry.object_id}.{entry.kind}.{entry.app or ''}"


def _read_cursor(cursor: str) -> tuple[datetime, str, str, str]:
    try:
        micros, object_id, kind, app = cursor.split(".")
        if not (micros.isascii() and micros.isdigit() and object_id and "\0" not in cursor):
            raise ValueError
        return _EPOCH + timedelta(microseconds=int(micros)), object_id, kind, app
    except (ValueError, OverflowError) as error:
        what = "take the next_cursor of the page before, or leave it out"
        raise Invalid("This is no cursor of this list.", errors=(FieldError("cursor", what),)) from error
