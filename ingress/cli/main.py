"""The tree of commands; what each one does lives in its own module."""

import importlib
import sys
from collections.abc import Sequence

import click

#: Command → (module under ingress.cli, its one line in `--help`): listed here so that help imports nothing.
COMMANDS: dict[str, tuple[str, str]] = {
    "migrate": ("migrate", "Bring the database schema to what this build needs."),
    "catalog": ("catalog", "Check, plan, apply and verify the catalog file."),
    "keys": ("keys", "Make, list, rotate and revoke API keys."),
    "grant": ("grants", "Give a user something, or take it away, whatever Stripe says."),
    "revoke": ("grants", "End grants; what else gives access stays."),
    "grants": ("grant_lists", "List what was granted, what soon ends; make many grants from a file."),
    "audit": ("audit", "List what operators did, and why."),
    "find": ("find", "Say whose something is: any id, an invoice number, an e-mail."),
    "explain": ("explain", "Say why a user may or may not use something, and which link is broken."),
    "users": ("users", "See a user and what led to its answers; sync, export, merge, rename, erase."),
    "customers": ("customers", "Say whose a Stripe customer is that Tollhouse did not make."),
    "events": ("events", "See what Stripe delivered, and give events their turn again."),
    "revenue": ("revenue", "Say what a project earned in a month, and what its subscriptions come to."),
    "status": ("status", "Say how the deployment is doing, and what to do next."),
    "doctor": ("doctor", "Check Postgres, Redis, Stripe and the settings, and say what to do first."),
    "scheduler": ("scheduler", "See who leads and what the timed jobs do; pause, resume or run one."),
    "reconcile": ("reconcile", "Compare Stripe, mirror, answers and cache, and heal what differs."),
    "recover": ("recover", "Bring a deployment up after the restore of an older database."),
    "backfill": ("backfill", "Bring the customers of an existing Stripe account in, and what they bought."),
    "dead": ("dead", "See what gave up, retry it, or discard it."),
    "seed": ("local", "Fill the local deployment with users and their histories."),
    "local": ("local", "Run everything on this machine, without Docker or a Stripe account."),
}


class _Lazy(click.Group):
    """A group that knows the names of its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"ingress.cli.{COMMANDS[name][0]}"), name)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tollhouse")
def tollhouse() -> None:
    """Billing and entitlements for every micro-app of a company, on top of Stripe.

    Settings come from the environment; .env.example lists them.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    tollhouse.main(args=list(sys.argv[1:] if arguments is None else arguments), prog_name="tollhouse")
