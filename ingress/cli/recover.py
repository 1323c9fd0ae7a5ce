"""`tollhouse recover --after-restore`: before readers open on an older copy of the database."""

import io
from typing import Any

import click
import msgspec

from domain.errors import FieldError, Invalid
from domain.flows.recover import Recovered
from domain.flows.recover import recover as recover_deployment
from ingress.cli.grants import this_operator
from ingress.cli.progress import progress
from ingress.cli.terminal import command, json_option, opened, print_json, print_table, say


@click.command()
@click.option("--after-restore", is_flag=True, help="Say that the database is an older copy of itself.")
@click.option(
    "--log",
    "logs",
    type=click.File("rb"),
    multiple=True,
    help="JSON logs of the lost time: grants and keys that were made then are listed. May be repeated.",
)
@json_option
@command
async def recover(*, after_restore: bool, logs: tuple[io.BufferedReader, ...], as_json: bool) -> None:
    """Bring a deployment up after the restore of an older database.

    Stop `read` and `api` before, start them after. Versions go on a million above what the copy knows,
    answers are computed anew, Stripe is compared in full and read until nothing is owed.
    """
    if not after_restore:
        said = FieldError("--after-restore", "add it once `read` and `api` are stopped; docs/operations.md")
        raise Invalid("The call does not say what to do.", errors=(said,))
    async with opened("stripe-cli") as context:
        with progress("recovering") as show:
            done = await recover_deployment(
                context, this_operator(), logs=[line for log in logs for line in _lines(log)], show=show
            )
    print_json(done) if as_json else _print(done, has_logs=bool(logs))


def _lines(log: io.BufferedReader) -> list[dict[str, Any]]:
    """Lines that are objects; tracebacks and what other programs said are passed over."""
    found = []
    for line in log:
        try:
            read = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if isinstance(read, dict):
            found.append(read)
    return found


def _print(done: Recovered, *, has_logs: bool) -> None:
    since = "nothing is known" if done.lost_since is None else done.lost_since.isoformat(timespec="seconds")
    say(f"The database's newest row is of {since}: later is lost what Stripe does not know.")
    say(f"{done.users} users have new versions; {len(done.adopted)} lost customers are theirs again.")
    counts = done.reconciliation.run.counts
    say(f"{done.reconciliation.run.id}: {counts.drifts} drifts, {counts.repaired} healed; {done.owed} wait.")
    by_hand = [one for one in done.reconciliation.drifts if one.next and one.object_id not in done.adopted]
    if by_hand:
        print_table(("drift", "object", "next"), [(one.type, one.object_id, one.next) for one in by_hand])
    if not has_logs:
        say("Grants, revocations and keys of the lost time: only logs know them. Name the files with --log.")
    elif done.lost:
        print_table(("lost", "id", "at", "next"), [(one.kind, one.id, one.at, one.next) for one in done.lost])
    else:
        say("The logs name no grant and no key that the database does not know.")
    say("Next: start `read` and `api`, then `tollhouse status`.")
