"""`tollhouse recover --after-restore`: before readers open on an older copy of the database."""

import io
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from domain.errors import FieldError, Invalid
from domain.flows.recover import Recovered
from domain.flows.recover import recover as recover_deployment
from ingress.cli.event_filters import read_past
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
    help="JSON logs of the lost time: what operators did then is listed. May be repeated.",
)
@click.option(
    "--lost-since",
    help="When the backup was made: 2026-11-22T09:00:00Z, or 3h ago as 3h.  [default: its newest row]",
)
@json_option
@command
async def recover(
    *, after_restore: bool, logs: tuple[io.BufferedReader, ...], lost_since: str | None, as_json: bool
) -> None:
    """Bring a deployment up after the restore of an older database.

    Stop every process before, start them after: what one of them writes meanwhile looks as if the backup were
    younger, unless --lost-since says how old it is. Versions go on a million above what the copy knows,
    answers are computed anew, Stripe is compared in full and read until nothing is owed. Safe to stop and to
    type again.
    """
    if not after_restore:
        said = FieldError("--after-restore", "add it once every process is stopped; docs/operations.md")
        raise Invalid("The call does not say what to do.", errors=(said,))
    since = read_past("--lost-since", lost_since, datetime.now(UTC))
    async with opened("stripe-cli") as context:
        with progress("recovering") as show:
            done = await recover_deployment(
                context,
                this_operator(),
                lost_since=since,
                logs=[line for log in logs for line in _lines(log)],
                show=show,
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
    say(f"What came after {since} is lost where Stripe does not know it.")
    say("If the backup is older: the same command with --lost-since and the time it was made.")
    say(f"{done.users} users have new versions; {len(done.adopted)} lost customers are theirs again.")
    counts = done.reconciliation.run.counts
    say(f"{done.reconciliation.run.id}: {counts.drifts} drifts, {counts.repaired} healed; {done.owed} wait.")
    by_hand = [one for one in done.reconciliation.drifts if one.next and one.object_id not in done.adopted]
    if by_hand:
        print_table(("drift", "object", "next"), [(one.type, one.object_id, one.next) for one in by_hand])
    if not has_logs:
        say(
            "Grants, revocations and keys of the lost time, and who was renamed, merged or erased then: only "
            "logs know them. Name the files with --log."
        )
    elif done.lost:
        print_table(("lost", "id", "at", "next"), [(one.kind, one.id, one.at, one.next) for one in done.lost])
    else:
        say("The logs name nothing of the kind that the database does not know.")
    say("Next: start every process, then `tollhouse status`.")
