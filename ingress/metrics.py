"""`GET /api/v1/metrics/project/{project}/…`: money figures, as JSON or as a table for a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.responses import Response

from domain.flows.figures import FiguresWish, Interval
from domain.flows.measure_revenue import (
    ListedEntry,
    Revenue,
    RevenueEntries,
    Sums,
    list_revenue_entries,
    measure_revenue,
)
from domain.flows.measure_subscriptions import SubscriptionFigures, measure_subscriptions
from ingress.operation import Call, Example, operation
from ingress.wire import PageQuery, QueryStruct

Slug = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00]*\Z")]
Currency = Annotated[str, Meta(pattern=r"^[A-Za-z]{3}\Z", description="three letters, such as usd")]
FirstDay = Annotated[date, Meta(description="a day, such as 2026-10-01; left out: the first of this month")]
DayAfter = Annotated[date, Meta(description="the day after the last, such as 2026-11-01; left out: tomorrow")]
Zone = Annotated[Slug, Meta(description="an IANA zone; left out: the project's")]
_PATH = "/api/v1/metrics/project/{project}"
_NAMES = {"project": "The project, by its slug."}
_EXAMPLE = Example(path={"project": "acme"}, query={"from": "2026-10-01", "to": "2026-11-01"})
_REFUSES = ("unknown_project", "unknown_app")


class FiguresQuery(QueryStruct, frozen=True, rename={"since": "from", "until": "to"}):
    since: FirstDay | None = None
    until: DayAfter | None = None
    interval: Interval = "month"
    app: Slug | None = None
    currency: Currency | None = None
    timezone: Zone | None = None
    format: Literal["json", "csv"] | None = None


class EntriesQuery(PageQuery, frozen=True, rename={"since": "from", "until": "to"}):
    since: FirstDay | None = None
    until: DayAfter | None = None
    app: Slug | None = None
    currency: Currency | None = None
    timezone: Zone | None = None
    format: Literal["json", "csv"] | None = None


@operation(
    "GET",
    f"{_PATH}/subscriptions",
    summary="What a project's subscriptions come to a month, and how that moved",
    says="MRR. `definitions` in the answer say what each figure is.",
    scope="metrics:read",
    of="named",
    names=_NAMES,
    answers={200: SubscriptionFigures},
    refuses=_REFUSES,
    is_table=True,
    example=_EXAMPLE,
)
async def get_subscription_figures(call: Call[FiguresQuery, None]) -> Response:
    """200 with a row per interval and currency."""
    found = await measure_subscriptions(call.context, call.project, _wish(call.query))
    if not wants_table(call):
        return call.answer(found, headers={"vary": "Accept, Authorization"})
    kinds = ("new", "reactivated", "imported", "upgraded", "downgraded", "churned")
    return _table(
        (
            *("from", "to", "currency", "mrr", "grace_mrr", "trial_mrr", "subscriptions"),
            *("grace_subscriptions", "trial_subscriptions", "trials_ended", "trials_converted"),
            *(f"{kind}_{name}" for kind in kinds for name in ("users", "mrr")),
        ),
        (
            (
                *(row.since, row.until, row.currency, row.mrr, row.grace.mrr, row.trial.mrr),
                *(row.subscriptions, row.grace.subscriptions, row.trial.subscriptions),
                *(row.trials_ended, row.trials_converted),
                *(part for kind in kinds for part in msgspec.structs.astuple(row.movements[kind])),
            )
            for row in found.data
        ),
    )


@operation(
    "GET",
    f"{_PATH}/revenue",
    summary="What a project earned",
    says="Exact to the minor unit. `definitions` in the answer say what each figure is.",
    scope="metrics:read",
    of="named",
    names=_NAMES,
    answers={200: Revenue},
    refuses=_REFUSES,
    is_table=True,
    example=_EXAMPLE,
)
async def get_revenue(call: Call[FiguresQuery, None]) -> Response:
    """200 with a row per interval and currency; as a table also per app."""
    found = await measure_revenue(call.context, call.project, _wish(call.query))
    if not wants_table(call):
        return call.answer(found, headers={"vary": "Accept, Authorization"})
    return _table(
        ("from", "to", "currency", "app", *Sums.__struct_fields__),
        (
            (row.since, row.until, row.currency, app, *msgspec.structs.astuple(sums))
            for row in found.data
            for app, sums in row.apps.items()
        ),
    )


@operation(
    "GET",
    f"{_PATH}/revenue/entries",
    summary="The objects behind a project's revenue, oldest first",
    scope="metrics:read",
    of="named",
    names=_NAMES,
    answers={200: RevenueEntries},
    refuses=_REFUSES,
    is_table=True,
    example=_EXAMPLE,
)
async def get_revenue_entries(call: Call[EntriesQuery, None]) -> Response:
    """200 with a page; a table names the next one in `Tollhouse-Next-Cursor`."""
    asked = call.query
    page = await list_revenue_entries(
        call.context, call.project, _wish(asked), cursor=asked.cursor, limit=asked.limit
    )
    if not wants_table(call):
        return call.answer(page, headers={"vary": "Accept, Authorization"})
    rows = (msgspec.structs.astuple(entry) for entry in page.data)
    following = {} if page.next_cursor is None else {"tollhouse-next-cursor": page.next_cursor}
    return _table(ListedEntry.__struct_fields__, rows, following)


def wants_table(call: Call[Any, None]) -> bool:
    """`format` says it; else an `Accept` that names CSV."""
    asked = call.query.format
    return asked == "csv" or (asked is None and "text/csv" in call.request.headers.get("accept", ""))


def _wish(asked: FiguresQuery | EntriesQuery) -> FiguresWish:
    return FiguresWish(
        since=asked.since,
        until=asked.until,
        interval=asked.interval if isinstance(asked, FiguresQuery) else "month",
        app=asked.app,
        currency=asked.currency,
        timezone=asked.timezone,
    )


def _table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], headers: dict[str, str] | None = None
) -> Response:
    kept = {"cache-control": "no-store", "vary": "Accept, Authorization", **(headers or {})}
    return Response(write_csv(columns, rows), 200, kept, media_type="text/csv")


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """RFC 4180. A text that a spreadsheet would run as a formula is quoted by an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


ROUTES = [get_subscription_figures, get_revenue, get_revenue_entries]
