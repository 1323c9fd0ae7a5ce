"""`tollhouse catalog status`: which version is in force, and who has not got it yet."""

import click

from domain.flows.catalog_status import list_catalogs
from ingress.cli.terminal import command, json_option, opened, print_json, print_table


@click.command()
@json_option
@command
async def status(*, as_json: bool) -> None:
    """Show each project's version in force and how many users' answers are of an older one."""
    async with opened() as context:
        projects = await list_catalogs(context)
    if as_json:
        print_json({"projects": projects})
        return
    print_table(
        ("project", "version", "applied at", "users", "behind"),
        [
            (row.project, row.version, row.applied_at.isoformat(timespec="seconds"), row.users, row.behind)
            for row in projects
        ],
    )
    if not projects:
        click.echo("No catalog was applied yet. Next: tollhouse catalog apply FILE")
    elif any(row.behind for row in projects):
        click.echo("The scheduler recomputes who is behind; users whose recompute fails are in its log.")
