"""`tollhouse local`: hands over to the local deployment, which is a program of its own."""

import importlib.util
import os
import sys

import click

#: Options are the other program's to read, `--help` too.
_PASSED_ON = {"ignore_unknown_options": True, "help_option_names": []}


@click.command(context_settings=_PASSED_ON, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def local(*, arguments: tuple[str, ...]) -> None:
    """Run everything on this machine, without Docker or a Stripe account."""
    _become(*(arguments or ("--help",)))


@click.command(context_settings=_PASSED_ON, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def seed(*, arguments: tuple[str, ...]) -> None:
    """Fill the local deployment with users and their histories, through the Stripe simulator."""
    _become("seed", *arguments)


def _become(*words: str) -> None:
    if importlib.util.find_spec("deploy") is None:
        raise click.ClickException(
            "The local deployment is not installed here: run it from a clone of the repository (`make demo`)."
        )
    program = [sys.executable, "-m", "deploy.local", *words]
    os.execv(sys.executable, program)  # noqa: S606 - the same interpreter, and our own module
