"""`tollhouse migrate`."""

import click

from domain.flows.migrate import migrate as run_migration
from ingress.cli.terminal import command, json_option, print_json, terminal_settings


@click.command()
@json_option
@command
async def migrate(*, as_json: bool) -> None:
    """Bring the database schema to what this build needs.

    Safe to run from many places at once and on a database that is already there. Run it before starting a
    new release; the previous release goes on running on the new schema.
    """
    migrated = await run_migration(terminal_settings("migrate"))
    if as_json:
        print_json(migrated)
    elif migrated.before == migrated.after:
        click.echo(f"The schema is at {migrated.after}: nothing to do.")
    else:
        click.echo(f"The schema went from {migrated.before or 'nothing'} to {migrated.after}.")
