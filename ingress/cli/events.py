"""`tollhouse events`."""

import asyncio
from contextlib import aclosing, suppress
from typing import Any

import click
import msgspec

from domain.flows.inspect_events import (
    ListedEvent,
    count_events,
    follow_events,
    list_events,
    show_event,
    used_types,
)
from domain.flows.replay import requeue as requeue_events
from ingress.cli.event_filters import filter_options, read_query
from ingress.cli.events_replay import replay
from ingress.cli.grants import this_operator
from ingress.cli.terminal import command, json_option, opened, print_json, print_table, say


@click.group()
def events() -> None:
    """See what Stripe delivered, and give events their turn again."""


@events.command(name="list")
@filter_options
@click.option("--cursor", help="The next_cursor of the page before.")
@click.option("--limit", type=click.IntRange(1, 100), default=50, show_default=True)
@json_option
@command
async def list_(*, cursor: str | None, limit: int, as_json: bool, **filters: Any) -> None:
    """List events, newest first."""
    async with opened() as context:
        page = await list_events(context, read_query(filters), cursor=cursor, limit=limit)
    if as_json:
        print_json(page)
        return
    print_table(_COLUMNS, [_row(event) for event in page.data])
    if page.next_cursor:
        click.echo(f"More: add --cursor {page.next_cursor}", err=True)


@events.command()
@filter_options
@click.option(
    "--every", "every_s", type=click.FloatRange(0.05), default=1.0, show_default=True, help="Seconds."
)
@click.option("--count", type=click.IntRange(1), help="End after so many.  [default: with Ctrl-C]")
@json_option
@command
async def tail(*, every_s: float, count: int | None, as_json: bool, **filters: Any) -> None:
    """Show events as they arrive, one line each, until Ctrl-C. With --json: one object a line."""
    shown = 0
    with suppress(asyncio.CancelledError):
        async with opened() as context:
            click.echo("Waiting for events; Ctrl-C ends.", err=True)
            async with aclosing(follow_events(context, read_query(filters), every_s=every_s)) as arriving:
                async for event in arriving:
                    say(msgspec.json.encode(event).decode() if as_json else "  ".join(_row(event)))
                    shown += 1
                    if shown == count:
                        return


_COLUMNS = ("received", "event", "type", "state", "reason", "target", "user")


def _row(event: ListedEvent) -> tuple[str, ...]:
    return (
        event.received_at.isoformat(timespec="milliseconds"),
        event.event_id,
        event.type,
        event.state,
        event.reason or "",
        event.target_ref or "",
        f"{event.user_id} ({event.project})" if event.user_id is not None else event.project or "",
    )


@events.command()
@json_option
@command
async def count(*, as_json: bool) -> None:
    """Count events by state, reason and type."""
    async with opened() as context:
        counted = await count_events(context)
    if as_json:
        print_json({"data": counted})
        return
    print_table(
        ("events", "state", "reason", "type", "newest"),
        [
            (one.events, one.state, one.reason, one.type, one.newest_at.isoformat(timespec="seconds"))
            for one in counted
        ],
    )


@events.command()
@click.argument("event_id")
@json_option
@command
async def show(*, event_id: str, as_json: bool) -> None:
    """Show one event and its payload."""
    async with opened() as context:
        detail = await show_event(context, event_id)
    if as_json:
        print_json(detail)
        return
    event = detail.event
    rows = [(name, getattr(event, name)) for name in event.__struct_fields__]
    print_table(("field", "value"), [*rows, ("outcome", detail.outcome), ("next", detail.next)])
    if detail.siblings:
        click.echo()
        print_table(
            ("beside it", "type", "state", "received"),
            [
                (one.event_id, one.type, one.state, one.received_at.isoformat(timespec="seconds"))
                for one in detail.siblings
            ],
        )
    click.echo()
    if detail.payload is None:
        click.echo("There is no payload: it has expired, or the event is our own.")
    else:
        print_json(detail.payload)


@events.command()
@click.argument("event_ids", nargs=-1)
@json_option
@command
async def requeue(*, event_ids: tuple[str, ...], as_json: bool) -> None:
    """Give events their turn again: the named ones, or every failed or pending one.

    Harmless however often: an event is a hint to read Stripe again, never a fact. The scheduler rings for
    them within a second.
    """
    async with opened() as context:
        requeued = await requeue_events(context, event_ids, this_operator())
    if as_json:
        print_json(requeued)
        return
    click.echo(f"{len(requeued.event_ids)} events are pending again: workers take them within seconds.")
    for event_id, reason in requeued.skipped.items():
        click.echo(f"left as it is: {event_id} ({reason})")


@events.command()
@json_option
@command
async def types(*, as_json: bool) -> None:
    """List the event types to configure an endpoint at Stripe with, and what each is used for."""
    used = used_types()
    if as_json:
        print_json({"enabled_events": [one.type for one in used if not one.is_old_name]})
        return
    print_table(
        ("type", "object read", "why"),
        [(one.type, one.object_kind, one.why) for one in used if not one.is_old_name],
    )


events.add_command(replay)
