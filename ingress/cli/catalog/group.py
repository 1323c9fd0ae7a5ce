"""The group itself, and the file that most of its verbs take."""

from pathlib import Path

import click

from domain.errors import Rejected

CATALOG = click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))


@click.group()
def catalog() -> None:
    """Check, plan, apply and verify the catalog file (docs/catalog.md)."""


def read_text(file: Path) -> str:
    """Raises: Rejected, where it is no text."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Rejected(f"{file} is not UTF-8: save it as UTF-8 ({error.reason}).") from error
