"""What a project earned by interval, app and currency, exact to the minor unit; and the objects behind."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from msgspec import Struct

from domain.context import Context
from domain.errors import FieldError, Invalid
from domain.flows.figures import FiguresWish, Period, read_period
from domain.store import revenue
from domain.store.revenue import Bucket, ListedEntry

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
        buckets = await revenue.sum_entries(connection, project, period.edges, period.app, period.currency)
    currencies = sorted({bucket.currency for bucket in buckets})
    return Revenue(
        project=project,
        since=period.days[0],
        until=period.days[-1],
        interval=wish.interval,
        timezone=period.zone,
        app=period.app,
        currency=period.currency,
        complete_from=period.complete_from,
        data=_rows(period, buckets, currencies),
        totals={one: add_up(b for b in buckets if b.currency == one) for one in currencies},
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


def add_up(buckets: Iterable[Bucket]) -> Sums:
    found = list(buckets)
    sums = {
        name: sum(getattr(bucket, name) for bucket in found)
        for name in ("gross", "tax", "refunded", "refunded_tax", "disputed", "disputed_tax")
    }
    lost = sums["refunded"] - sums["refunded_tax"] + sums["disputed"] - sums["disputed_tax"]
    return Sums(**sums, net=sums["gross"] - sums["tax"] - lost)


def _rows(period: Period, buckets: Iterable[Bucket], currencies: Iterable[str]) -> list[RevenueRow]:
    by_place: dict[tuple[int, str], list[Bucket]] = {}
    for bucket in buckets:
        by_place.setdefault((bucket.number, bucket.currency), []).append(bucket)
    ends = zip(period.days, period.days[1:], strict=False)
    names = sorted(currencies)
    return [
        RevenueRow(
            since=since,
            until=until,
            currency=currency,
            total=add_up(by_place.get((number, currency), ())),
            apps={b.app or NO_APP: add_up([b]) for b in by_place.get((number, currency), ())},
        )
        for number, (since, until) in enumerate(ends)
        for currency in names
    ]


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
