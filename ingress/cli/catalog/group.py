"""The group itself, and the file that most of its verbs take."""

import sys
from pathlib import Path

import click

from domain.errors import Rejected

CATALOG = click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
CONFIRM = click.option(
    "--confirm", metavar="NAME", help="In live mode: the environment's name (TOLLHOUSE_ENV)."
)


@click.group()
def catalog() -> None:
    """Check, plan, apply and verify the catalog file (docs/catalog.md)."""


def read_text(file: Path) -> str:
    """Raises: Rejected, where it is no text."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Rejected(f"{file} is not UTF-8: save it as UTF-8 ({error.reason}).") from error


def ask_confirmation(wanted: str | None, given: str | None) -> str | None:
    """What was typed: at the prompt, where there is a terminal and no option."""
    if wanted is None or given is not None or not sys.stdin.isatty():
        return given
    answer: str = click.prompt(f"This changes Stripe in LIVE mode. Type {wanted} to go on", err=True)
    return answer
