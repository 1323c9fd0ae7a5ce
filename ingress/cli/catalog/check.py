"""`tollhouse catalog check` and `schema`: what needs no server."""

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from domain.flows.check_catalog import CheckedCatalog, catalog_schema, check_catalog
from ingress.cli.catalog.group import CATALOG, read_text
from ingress.cli.terminal import EXIT_REJECTED, command, json_option, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.model import SourceRef


@click.command()
@CATALOG
@json_option
@command
async def check(*, file: Path, as_json: bool) -> None:
    """Read FILE, name everything that is wrong with it and run its scenarios. Touches no server.

    Ends with 2 where the file is wrong or a scenario gives another answer than expected.
    """
    checked = check_catalog(read_text(file), file=str(file))
    if as_json:
        print_json({"ok": not checked.failed, "projects": checked.projects, "failed": checked.failed})
    else:
        _print(checked, file)
    if checked.failed:
        sys.exit(EXIT_REJECTED)


@click.command()
def schema() -> None:
    """Print the JSON Schema of the catalog file, for editors."""
    print_json(catalog_schema())


def _print(checked: CheckedCatalog, file: Path) -> None:
    columns = ("project", "apps", "features", "plans", "scenarios")
    print_table(columns, [[getattr(row, column) for column in columns] for row in checked.projects])
    for failed in checked.failed:
        click.echo(f"\n{failed.project}: {failed.name}  [{failed.table}]")
        for wrong in failed.wrong:
            click.echo(f"  {wrong.feature} in {wrong.app}")
            for one in wrong.differences:
                click.echo(f"    {one.part:<8} expected {_shown(one.expected)}, got {_shown(one.got)}")
            click.echo(f"    because  {wrong.reason}, {_named(wrong.sources)}")
    if checked.failed:
        count = sum(row.scenarios for row in checked.projects)
        click.echo(f"\n{len(checked.failed)} of {count} scenarios give another answer than {file} expects.")
        click.echo("Correct the plans, or what the scenario expects.")
    else:
        click.echo(f"{file} is valid. Next: tollhouse catalog plan {file}")


def _named(sources: "Sequence[SourceRef]") -> str:
    return ", ".join(f"{one.kind} {one.id} ({one.plan or one.effect})" for one in sources) or "no source"


def _shown(value: object) -> str:
    """As the file would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return ", ".join(map(str, value)) or "nothing" if isinstance(value, list) else str(value)
