"""`tollhouse keys`."""

from datetime import UTC, datetime
from typing import Literal

import click

from domain.flows.list_keys import ListedKey, list_keys
from domain.flows.manage_keys import SCOPES, create_key, revoke_key
from domain.flows.rotate_key import rotate_key
from ingress.cli.grants import read_instant, this_operator
from ingress.cli.terminal import command, json_option, opened, print_json, print_table

_SHOWN_ONCE = "Keep it now: it is shown only this once."
#: Rows asked for at one time.
_PAGE = 100


@click.group()
def keys() -> None:
    """Make, list, rotate and revoke API keys."""


@keys.command()
@click.option("--project", help="The project the key belongs to; for an operator: limits it to this one.")
@click.option("--app", help="The app of the project; without it the key is a project's.")
@click.option("--operator", is_flag=True, help="A key for operators, of one project or of all.")
@click.option("--name", help="Shown as the actor of changes.  [default: what it is for]")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="Instead of the default ones."
)
@click.option("--expires", type=click.DateTime(), help="UTC; without it the key has no end.")
@json_option
@command
async def create(
    *,
    project: str | None,
    app: str | None,
    operator: bool,
    name: str | None,
    scopes: tuple[str, ...],
    expires: datetime | None,
    as_json: bool,
) -> None:
    """Make a key and show it, this once. An app has at most two that are live.

    \b
    tollhouse keys create --project acme --app editor     a micro-app
    tollhouse keys create --project acme                  a gateway of a project
    tollhouse keys create --operator                      an operator of every project
    """
    kind: Literal["app", "project", "operator"] = "operator" if operator else "app" if app else "project"
    async with opened() as context:
        created = await create_key(
            context,
            kind=kind,
            project=project,
            app=app,
            name=name or "/".join(part for part in (project, app) if part) or "operator",
            scopes=scopes,
            expires_at=None if expires is None else expires.replace(tzinfo=UTC),
            operator=this_operator(),
        )
    if as_json:
        print_json(created)
        return
    click.echo(created.key)
    click.echo(_SHOWN_ONCE, err=True)


@keys.command("list")
@click.option("--project", help="Only keys of this project.")
@click.option("--app", help="Only keys of this app of the project.")
@click.option("--ended", is_flag=True, help="Revoked and expired ones too.")
@json_option
@command
async def list_all(*, project: str | None, app: str | None, ended: bool, as_json: bool) -> None:
    """Who has a key, what it may do, when it was last used and when it ends. Never a secret."""
    if app is not None and project is None:
        raise click.UsageError("--app needs --project: an app's name is its project's own.")
    found: list[ListedKey] = []
    cursor: str | None = None
    async with opened() as context:
        while True:
            page = await list_keys(
                context, project=project, app=app, with_ended=ended, cursor=cursor, limit=_PAGE
            )
            found += page.data
            cursor = page.next_cursor
            if cursor is None:
                break
    if as_json:
        print_json({"data": found})
        return
    columns = ("id", "state", "for", "name", "scopes", "made", "last used", "ends")
    print_table(columns, (_row(key) for key in found))


@keys.command()
@click.argument("key_id", metavar="KEY_ID")
@click.option("--overlap", default="24h", show_default=True, help="So long the old one is let in: 1h, 7d.")
@click.option("--reason", help="For the audit log.")
@json_option
@command
async def rotate(*, key_id: str, overlap: str, reason: str | None, as_json: bool) -> None:
    """Make a key like KEY_ID and show it, this once; KEY_ID ends after the overlap.

    \b
    1. tollhouse keys rotate 0C7bq…         both keys work from now on
    2. give the new key to the app          no request is refused meanwhile
    3. tollhouse keys list                  the old one is no longer used
    """
    now = datetime.now(UTC)
    ends_at = read_instant("--overlap", overlap, now) or now
    async with opened() as context:
        rotated = await rotate_key(
            context,
            key_id,
            overlap=ends_at - now,
            operator=this_operator(),
            reason=reason,
        )
    if as_json:
        print_json(rotated)
        return
    click.echo(rotated.created.key)
    ends = f"{rotated.replaced_ends_at:%Y-%m-%d %H:%M:%S} UTC"
    click.echo(f"{_SHOWN_ONCE} {key_id} is let in until {ends}.", err=True)


@keys.command()
@click.argument("key_id", metavar="KEY_ID")
@click.option("--reason", help="For the audit log.")
@json_option
@command
async def revoke(*, key_id: str, reason: str | None, as_json: bool) -> None:
    """End a key now, in every process: within a moment, or within 10 s where the cache is away."""
    async with opened() as context:
        await revoke_key(context, key_id, operator=this_operator(), reason=reason)
    if as_json:
        print_json({"key_id": key_id, "state": "revoked"})
        return
    click.echo(f"{key_id} is revoked.")


def _row(key: ListedKey) -> tuple[object, ...]:
    whose = "/".join(part for part in (key.project, key.app) if part) or "every project"
    return (
        key.key_id,
        key.state,
        f"{key.kind} {whose}",
        key.name,
        " ".join(key.scopes),
        _short(key.created_at),
        _short(key.last_used_at) or "never",
        _short(key.revoked_at or key.expires_at) or "never",
    )


def _short(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}"
