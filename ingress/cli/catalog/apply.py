"""`tollhouse catalog apply`."""

from pathlib import Path

import click

from domain.context import Context
from domain.errors import Rejected
from domain.flows.publish_catalog import Published, publish_locally, read_catalog
from domain.flows.recompute_due import Backlog, CaughtUp
from ingress.cli.catalog.group import CATALOG, read_text
from ingress.cli.progress import progress
from ingress.cli.terminal import command, json_option, opened, print_json, print_table


@click.command()
@CATALOG
@click.option("--local", is_flag=True, help="Store and recompute only; create nothing in Stripe.")
@click.option("--wait", is_flag=True, help="Recompute here and now instead of leaving it to the scheduler.")
@json_option
@command
async def apply(*, file: Path, local: bool, wait: bool, as_json: bool) -> None:
    """Make FILE the catalog in force; every user it concerns is recomputed in batches.

    Until a user's turn has come the answer stays what it was. Applying the same content again changes
    nothing; a --wait that was interrupted is continued by the scheduler, or by calling it again.
    """
    if not local:
        raise Rejected(
            "Creating products and prices in Stripe is not built yet: make them there under the ids that "
            "--json lists, then apply with --local.",
            code="not_built",
        )
    projects = read_catalog(read_text(file), file=str(file))
    async with opened() as context:
        published = await publish_locally(context, projects)
        caught_up = await _catch_up(context) if wait else None
    if as_json:
        print_json({**_as_dict(published), "waited": caught_up})
    else:
        _print(published, caught_up)


async def _catch_up(context: Context) -> CaughtUp:
    with progress("Recomputing users") as show:
        return await Backlog(context).catch_up(show)


def _as_dict(published: Published) -> dict[str, object]:
    return {name: getattr(published, name) for name in published.__struct_fields__}


def _print(published: Published, caught_up: CaughtUp | None) -> None:
    print_table(
        ("project", "version", "changed", "apps"),
        [
            (key, project.version, "yes" if project.is_new else "no", ", ".join(project.apps))
            for key, project in published.projects.items()
        ],
    )
    if caught_up is not None:
        click.echo(f"Recomputed {caught_up.recomputed} users.")
        if caught_up.failed:
            click.echo(
                f"{caught_up.failed} users could not be recomputed and keep their answer: `recompute_failed` "
                "in the log says why. The scheduler goes on trying."
            )
    elif published.behind:
        click.echo(f"The scheduler recomputes {published.behind} users. See: tollhouse catalog status")
    else:
        click.echo("Nobody has to be recomputed.")
