"""`tollhouse revenue`: what a project earned in a month, and what its subscriptions come to."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime

import click
from msgspec import Struct

from domain.errors import FieldError, Invalid
from domain.flows.figures import FiguresWish, month_of, written
from domain.flows.measure_revenue import Revenue, Sums, measure_revenue
from domain.flows.measure_subscriptions import SubscriptionFigures, measure_subscriptions
from ingress.cli.terminal import command, json_option, opened, print_json, print_table
from ingress.metrics import write_csv

_is_month = re.compile(r"(?P<year>2\d{3})-(?P<month>0[1-9]|1[0-2])").fullmatch
_COLUMNS = ("currency", "app", *Sums.__struct_fields__)


class Month(Struct, frozen=True, kw_only=True):
    """Both figures of a month, as `--json` prints them."""

    revenue: Revenue
    subscriptions: SubscriptionFigures


@click.command()
@click.option("--project", required=True, help="Whose.")
@click.option("--month", help="Such as 2026-10.  [default: this month]")
@click.option("--app", help="Of one app.")
@click.option("--currency", help="Of one currency, such as usd.")
@click.option("--timezone", help="Whose days.  [default: the project's]")
@click.option("--csv", "as_csv", is_flag=True, help="A table for a spreadsheet, in minor units.")
@json_option
@command
async def revenue(
    *,
    project: str,
    month: str | None,
    app: str | None,
    currency: str | None,
    timezone: str | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Say what a project earned in a month, by currency and app, and what its subscriptions come to.

    Exact to the minor unit; docs/metrics.md says what each figure is.
    """
    since, until = _month(month)
    wish = FiguresWish(since=since, until=until, app=app, currency=currency, timezone=timezone)
    async with opened() as context:
        found = Month(
            revenue=await measure_revenue(context, project, wish),
            subscriptions=await measure_subscriptions(context, project, wish),
        )
    if as_json:
        print_json(found)
    elif as_csv:
        click.echo(write_csv(_COLUMNS, _rows(found.revenue)), nl=False)
    else:
        _print(found)


def _month(text: str | None) -> tuple[date, date]:
    """Raises: Invalid, for what is no month."""
    if text is None:
        return month_of(datetime.now(UTC).date())
    said = _is_month(text)
    if said is None:
        raise Invalid("This is no month.", errors=(FieldError("month", "year and month, such as 2026-10"),))
    return month_of(date(int(said["year"]), int(said["month"]), 1))


def _rows(found: Revenue) -> Iterator[tuple[object, ...]]:
    """A row per app, and one of them together, in minor units."""
    for row in found.data:
        for app, sums in (*row.apps.items(), ("total", row.total)):
            yield (row.currency, app, *(getattr(sums, name) for name in Sums.__struct_fields__))


def _print(found: Month) -> None:
    asked = found.revenue
    click.echo(f"{asked.project}, {asked.since} to {asked.until} (not included), days of {asked.timezone}")
    click.echo(f"whole since {asked.complete_from.isoformat(timespec='seconds')}\n")
    if not asked.data:
        click.echo("Nothing was paid, given back or disputed in this time.")
    else:
        names = ("gross", "tax", "refunded", "disputed", "net")
        print_table(
            ("currency", "app", *names),
            [
                (row.currency, app, *(written(getattr(sums, name), row.currency) for name in names))
                for row in asked.data
                for app, sums in (*row.apps.items(), ("total", row.total))
            ],
        )
    for row in found.subscriptions.data:
        mrr, grace, trial = (written(one, row.currency) for one in (row.mrr, row.grace.mrr, row.trial.mrr))
        click.echo(f"\nMRR {mrr} {row.currency} of {row.subscriptions} subscriptions")
        click.echo(f"of that in grace {grace}; on trial, and not in it, {trial}")
        moved = [(kind, one.users, written(one.mrr, row.currency)) for kind, one in row.movements.items()]
        print_table(("users", "", "MRR"), moved)
