"""`tollhouse audit`: who did what, and why."""

from datetime import UTC, datetime

import click
import msgspec

from domain.flows.list_audit import AuditQuery, ListedAction, list_audit
from ingress.cli.event_filters import read_past
from ingress.cli.terminal import command, json_option, opened, print_json, print_table


@click.command()
@click.option("--project", help="Of this project.  [default: of all, and of the whole deployment]")
@click.option("--user", "user_id", help="Of this user of the project.")
@click.option("--actor", help="As it stands in the log: support:anna, or cli:anna from a terminal.")
@click.option("--action", help="Such as grant.create, or grant for all about grants.")
@click.option("--since", help="From then on: 2026-11-22T09:00:00Z, or 3h ago as 3h.")
@click.option("--until", help="Before then.")
@click.option("--cursor", help="The next_cursor of the page before.")
@click.option("--limit", type=click.IntRange(1, 100), default=50, show_default=True)
@json_option
@command
async def audit(
    *,
    project: str | None,
    user_id: str | None,
    actor: str | None,
    action: str | None,
    since: str | None,
    until: str | None,
    cursor: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List what operators did, newest first: by a key, or in a terminal. Nobody can change these rows.

    \b
    tollhouse audit --project acme --user u_17
    tollhouse audit --action catalog.apply --since 7d
    """
    now = datetime.now(UTC)
    query = AuditQuery(
        project=project,
        user_id=user_id,
        actor=actor,
        action=action,
        since=read_past("--since", since, now),
        until=read_past("--until", until, now),
    )
    async with opened() as context:
        page = await list_audit(context, query, cursor=cursor, limit=limit)
    if as_json:
        print_json(page)
        return
    columns = ("at", "who", "did", "project", "user", "to", "why", "details")
    print_table(columns, (_row(one) for one in page.data))
    if page.next_cursor:
        click.echo(f"More: add --cursor {page.next_cursor}", err=True)


def _row(one: ListedAction) -> tuple[object, ...]:
    ((kind, named),) = one.subject.items()
    to = "" if kind == "user" else f"{kind} {named}"
    details = msgspec.json.format(bytes(one.details), indent=-1).decode()
    return (_second(one.at), one.actor, one.action, one.project, one.user_id, to, one.reason, details)


def _second(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
