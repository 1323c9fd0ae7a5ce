"""`tollhouse local`: hands over to the local deployment, which is a program of its own."""

import importlib.util
import os
import sys

import click


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def local(*, arguments: tuple[str, ...]) -> None:
    """Run everything on this machine, without Docker or a Stripe account."""
    if importlib.util.find_spec("deploy") is None:
        raise click.ClickException(
            "The local deployment is not installed here: run it from a clone of the repository (`make demo`)."
        )
    program = [sys.executable, "-m", "deploy.local", *(arguments or ("--help",))]
    os.execv(sys.executable, program)  # noqa: S606 - the same interpreter, and our own module
