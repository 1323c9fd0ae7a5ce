"""`tollhouse doctor`: is everything that a deployment stands on as it must be?"""

import sys

import click

from domain.context import open_context
from domain.flows.diagnose import Diagnosis, Outcome, diagnose
from ingress.cli.terminal import command, json_option, print_json, print_table, terminal_settings
from workers.bell import look_at_queue

#: Warnings are for reading; a script that deploys stops for what has failed.
EXIT: dict[Outcome, int] = {"ok": 0, "skipped": 0, "warning": 0, "failed": 1}
SHOWN: dict[Outcome, str] = {"ok": "ok", "warning": "warning", "failed": "FAILED", "skipped": "skipped"}


@click.command()
@click.option(
    "--limit",
    "limit_s",
    type=click.FloatRange(0.1, 60.0),
    default=5.0,
    show_default=True,
    help="Seconds that one check may take.",
)
@json_option
@command
async def doctor(*, limit_s: float, as_json: bool) -> None:
    """Look at everything Tollhouse stands on: Postgres, the two Redis, Stripe, the settings of this terminal.

    One line per check, with what to do where it is not ok, and one sentence at the end: what to do first.
    Changes nothing. What is away or not set here keeps nothing else from being looked at. Ends with 0, also
    when it warns, and with 1 when something has failed. Every process has an environment of its own: run it
    in theirs.
    """
    settings = terminal_settings("cli")
    queue = look_at_queue(settings) if settings.redis_url else None
    async with open_context("stripe-cli" if settings.stripe_secret_key else "cli", settings) as context:
        seen = await diagnose(context, queue=queue, limit_s=limit_s)
    print_json(seen) if as_json else _print(seen)
    sys.exit(EXIT[seen.outcome])


def _print(seen: Diagnosis) -> None:
    rows = [(check.name, SHOWN[check.outcome], check.finding) for check in seen.checks]
    print_table(("check", "", "seen"), rows)
    todo = [(check.name, check.next) for check in seen.checks if check.next is not None]
    if todo:
        click.echo()
        print_table(("next", ""), todo)
    click.echo(f"\n{seen.first}")
