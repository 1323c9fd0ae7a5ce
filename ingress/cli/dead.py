"""`tollhouse dead`: what gave up, and what an operator does about it."""

from datetime import datetime

import click

from domain.context import Context
from domain.errors import FieldError, Invalid
from domain.flows.dead import discard_dead, retry_dead
from domain.flows.list_dead import MOST, ListedDead, list_dead, show_dead
from ingress.cli.grants import this_operator
from ingress.cli.terminal import command, json_option, opened, print_json, print_table

project_option = click.option("--project", help="Only what belongs to this project.  [default: everything]")


@click.group()
def dead() -> None:
    """See what gave up (dead targets, failed events), retry it, or discard it."""


@dead.command(name="list")
@project_option
@click.option("--cursor", help="The next_cursor of the page before.")
@click.option("--limit", type=click.IntRange(1, MOST), default=50, show_default=True)
@json_option
@command
async def list_(*, project: str | None, cursor: str | None, limit: int, as_json: bool) -> None:
    """List what gave up, the longest waiting first."""
    async with opened() as context:
        page = await list_dead(context, project, cursor=cursor, limit=limit)
    if as_json:
        print_json(page)
        return
    if not page.data:
        click.echo("Nothing gave up: no dead target, no failed event.")
        return
    print_table(
        ("id", "kind", "user", "age", "waiting", "tries", "error"),
        [(one.id, _kind(one), _user(one), _age(one), one.waiting, one.tries, one.error) for one in page.data],
    )
    click.echo(
        "\nNext: remove the cause, then `tollhouse dead retry ID`; `dead show ID` says more; "
        "`dead discard ID --reason …` gives it up."
    )
    if page.next_cursor:
        click.echo(f"More: add --cursor {page.next_cursor}", err=True)


@dead.command()
@click.argument("dead_id", metavar="ID")
@project_option
@json_option
@command
async def show(*, dead_id: str, project: str | None, as_json: bool) -> None:
    """Show one, with the events that wait on it."""
    async with opened() as context:
        detail = await show_dead(context, project, dead_id)
    if as_json:
        print_json(detail)
        return
    one = detail.dead
    rows = [("id", one.id), ("kind", _kind(one)), ("user", _user(one)), ("age", _age(one))]
    rows += [("waiting", str(one.waiting)), ("tries", str(one.tries)), ("error", one.error)]
    print_table(("what", "said"), [*rows, ("next", one.next)])
    click.echo()
    print_table(
        ("event", "type", "state", "tries", "received", "reason"),
        [
            (event.event_id, event.type, event.state, event.tries, _second(event.received_at), event.reason)
            for event in detail.events
        ],
    )


@dead.command()
@click.argument("dead_ids", metavar="[ID]...", nargs=-1)
@click.option(
    "--all", "is_all", is_flag=True, help="Everything that gave up, of the project if one is named."
)
@project_option
@click.option("--reason", help="Why, for the audit log.")
@json_option
@command
async def retry(
    *, dead_ids: tuple[str, ...], is_all: bool, project: str | None, reason: str | None, as_json: bool
) -> None:
    """Give what gave up another try: a target one, a failed event all of them.

    Harmless however often. The scheduler rings within seconds; `tollhouse dead list` then shows whether it
    gave up again.
    """
    if bool(dead_ids) == is_all:
        raise _refused("[ID]...", "name what to retry, or --all")
    async with opened() as context:
        wanted = [one.id for one in await _list_all(context, project)] if is_all else dead_ids
        operator = this_operator()
        done = [await retry_dead(context, project, one, operator, reason=reason) for one in wanted]
    if as_json:
        print_json({"retried": done})
        return
    for one in done:
        click.echo(f"{one.id}: goes on; {len(one.reopened)} failed events are pending again.")
    if not done:
        click.echo("Nothing gave up: nothing to retry.")


@dead.command()
@click.argument("dead_ids", metavar="ID...", nargs=-1, required=True)
@project_option
@click.option("--reason", required=True, help="Why, for the audit log and the events.")
@json_option
@command
async def discard(*, dead_ids: tuple[str, ...], project: str | None, reason: str, as_json: bool) -> None:
    """Give up for good what waits: its events are ignored, and answers stay as they are.

    A later event of the same object, or `tollhouse explain USER --repair`, has Stripe read again.
    """
    async with opened() as context:
        operator = this_operator()
        done = [await discard_dead(context, project, one, reason, operator) for one in dead_ids]
    if as_json:
        print_json({"discarded": done})
        return
    for one in done:
        click.echo(f"{one.id}: given up; {len(one.discarded)} events are ignored.")


async def _list_all(context: Context, project: str | None) -> list[ListedDead]:
    found: list[ListedDead] = []
    cursor: str | None = None
    while True:
        page = await list_dead(context, project, cursor=cursor, limit=MOST)
        found += page.data
        cursor = page.next_cursor
        if cursor is None:
            return found


def _kind(one: ListedDead) -> str:
    (target,) = one.target
    return f"dead {target}" if one.kind == "target" else f"failed {one.event_type}"


def _user(one: ListedDead) -> str:
    return f"{one.user_id} ({one.project})" if one.user_id is not None else "unknown"


def _age(one: ListedDead) -> str:
    """In the largest unit that says at least 2 of it."""
    if one.age_s is None:
        return ""
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if one.age_s >= 2 * seconds:
            return f"{one.age_s / seconds:.0f} {unit}"
    return f"{one.age_s:.0f} s"


def _second(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds")


def _refused(option: str, what: str) -> Invalid:
    return Invalid("The call does not say what to do.", errors=(FieldError(option, what),))
