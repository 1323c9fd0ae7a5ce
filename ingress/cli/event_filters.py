"""Which events a command means: the same options for every verb of `tollhouse events`."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import click

from domain.flows.inspect_events import EventQuery
from domain.model import EventState
from ingress.cli.grants import read_instant


def filter_options(function: Callable[..., None]) -> Callable[..., None]:
    """Which events; the names are those of `EventQuery`."""
    for option in reversed(
        (
            click.option("--state", type=click.Choice([state.value for state in EventState])),
            click.option("--type", "type_", help="Such as checkout.session.completed."),
            click.option("--source", help="stripe, or one of our own: timer, sync, operator, …"),
            click.option(
                "--object", "object_id", help="The object it names, or the customer it is synced with."
            ),
            click.option("--project", help="Of this project.  [default: of all, and of nobody]"),
            click.option("--user", "user_id", help="Of this user of the project."),
            click.option("--app", help="Of users who checked out through this app of the project."),
            click.option("--since", help="Received from then on: 2026-11-22T09:00:00Z, or 3h ago as 3h."),
            click.option("--until", help="Received before then."),
        )
    ):
        function = option(function)
    return function


def read_query(filters: Mapping[str, Any]) -> EventQuery:
    """The values of `filter_options`. Raises: Invalid, where an instant cannot be read."""
    now = datetime.now(UTC)
    plain = {name: filters[name] for name in ("state", "source", "object_id", "project", "user_id", "app")}
    since, until = (read_past(f"--{name}", filters[name], now) for name in ("since", "until"))
    return EventQuery(type=filters["type_"], since=since, until=until, **plain)


def read_past(option: str, text: str | None, now: datetime) -> datetime | None:
    """An instant; a span is so long ago, because nothing has happened later than now."""
    return read_instant(option, text, now, is_past=True)
