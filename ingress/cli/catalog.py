"""`tollhouse catalog`."""

from pathlib import Path

import click

from domain.errors import Rejected
from domain.flows.publish_catalog import publish_locally, read_catalog
from ingress.cli.terminal import command, json_option, opened, print_json, print_table

CATALOG = click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))


@click.group()
def catalog() -> None:
    """Check and apply the catalog file (docs/catalog.md)."""


@catalog.command()
@CATALOG
@json_option
@command
async def check(*, file: Path, as_json: bool) -> None:
    """Read FILE and name everything that is wrong with it. Touches no server."""
    projects = read_catalog(_read(file), file=str(file))
    rows = [
        (key, len(project.apps), len(project.features), len(project.plans))
        for key, project in sorted(projects.items())
    ]
    columns = ("project", "apps", "features", "plans")
    if as_json:
        print_json({"ok": True, "projects": [dict(zip(columns, row, strict=True)) for row in rows]})
        return
    print_table(columns, rows)
    click.echo(f"{file} is valid. Next: tollhouse catalog apply --local {file}")


@catalog.command()
@CATALOG
@click.option("--local", is_flag=True, help="Store and recompute only; create nothing in Stripe.")
@json_option
@command
async def apply(*, file: Path, local: bool, as_json: bool) -> None:
    """Make FILE the catalog in force and recompute every user it concerns.

    Applying the same content again changes nothing.
    """
    if not local:
        raise Rejected(
            "Creating products and prices in Stripe is not built yet: make them there under the ids that "
            "--json lists, then apply with --local.",
            code="not_built",
        )
    projects = read_catalog(_read(file), file=str(file))
    async with opened() as context:
        published = await publish_locally(context, projects)
    if as_json:
        print_json(published)
        return
    print_table(
        ("project", "version", "changed", "apps"),
        [
            (key, project.version, "yes" if project.is_new else "no", ", ".join(project.apps))
            for key, project in published.projects.items()
        ],
    )
    click.echo(f"Recomputed {published.recomputed} users.")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Rejected(f"{file} is not UTF-8: save it as UTF-8 ({error.reason}).") from error
