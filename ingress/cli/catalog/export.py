"""`tollhouse catalog export`."""

from pathlib import Path

import click

from domain.errors import Rejected
from domain.flows.export_catalog import export_catalog, export_state
from ingress.cli.terminal import command, opened, print_json


@click.command()
@click.option("--project", metavar="KEY", help="Make plans of products that are not ours, in this project.")
@click.option("--state", is_flag=True, help="Print what `catalog parity` compares, as JSON, instead.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it to this file, which must not be there yet.",
)
@command
async def export(*, project: str | None, state: bool, output: Path | None) -> None:
    """Print the catalog file that says what Stripe sells now. Writes nothing there.

    For its products and prices `catalog plan` finds nothing to change. What Stripe does not know, such as
    features and grants, comes from the catalogs in force, where there are any; a comment says what is left
    to be written, and what a catalog cannot say.
    """
    if state and project is not None:
        raise Rejected("--state is of what is ours: leave out --project.")
    async with opened("stripe-cli") as context:
        if state:
            told = await export_state(context)
        else:
            exported = await export_catalog(context, project=project)
    if state:
        print_json(told)
        return
    if output is None:
        click.echo(exported.text, nl=False)
    else:
        _write(output, exported.text)
    plans = sum(exported.plans.values())
    click.echo(f"{plans} plans; {exported.remarks} comments say what to look at.", err=True)


def _write(output: Path, text: str) -> None:
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Rejected(f"{output} cannot be written: {error.strerror}.") from error
