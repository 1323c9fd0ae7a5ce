"""`tollhouse keys`."""

from datetime import UTC, datetime
from typing import Literal

import click

from domain.flows.manage_keys import SCOPES, create_key
from ingress.cli.terminal import command, json_option, opened, print_json


@click.group()
def keys() -> None:
    """Make API keys."""


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
    """Make a key and show it, this once.

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
        )
    if as_json:
        print_json(created)
        return
    click.echo(created.key)
    click.echo("Keep it now: it is shown only this once.", err=True)
