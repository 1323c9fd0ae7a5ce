"""`tollhouse backfill`: customers of an existing Stripe account become users of a project."""

import asyncio
import csv
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from domain.errors import FieldError, Invalid
from domain.flows.backfill import (
    ByMetadata,
    Comparison,
    Difference,
    DryRun,
    Import,
    ImportCustomer,
    Mapping,
    Unlinked,
    begin,
    carry_out,
    list_unmapped,
    open_project,
)
from domain.flows.backfill import compare as compare_answers
from domain.flows.backfill import complete as complete_project
from domain.flows.backfill import dry_run as run_dry
from domain.flows.backfill.mapping import read_mapping
from ingress.cli.grants import project_option, this_operator
from ingress.cli.progress import progress
from ingress.cli.terminal import command, json_option, opened, print_json, print_table, say

METADATA = "metadata."
EXIT_DIFFERS = 1
#: Lines of a table; a map of another system differs everywhere.
MOST_SHOWN = 100
COLUMNS = ("stripe_customer_id", "user_id", "reason")

allow_new_option = click.option(
    "--allow-new/--refuse-new",
    "allows_new",
    default=None,
    help="Whether checkouts may make customers before `backfill complete`.  [default: refuse]",
)


@click.group(invoke_without_command=True)
@click.option("--project", help="The project that the customers' users belong to.")
@click.option("--map", "map_file", type=click.Path(path_type=Path), help="CSV: stripe_customer_id,user_id.")
@click.option("--user-from", help="metadata.KEY: where each customer's metadata holds our user's id.")
@click.option(
    "--unmapped", type=click.Path(path_type=Path), help="Write customers that were not linked to this CSV."
)
@click.option("--dry-run", is_flag=True, help="Write nothing: say what would be linked and given.")
@click.option("--restart", is_flag=True, help="Give up a running import with another map.")
@allow_new_option
@json_option
@click.pass_context
def backfill(ctx: click.Context, /, **options: object) -> None:
    """Link the customers of an existing Stripe account to users, and take what they have bought.

    Reads Stripe's lists within the read budget and changes nothing at Stripe. Stopped or killed, the same
    command goes on where it was. docs/migrate.md has the whole way, with cut-over and rollback.
    """
    if ctx.invoked_subcommand is None:
        _backfill(**options)  # type: ignore[arg-type] # as click has parsed them, by the options above


@command
async def _backfill(
    *,
    project: str | None,
    map_file: Path | None,
    user_from: str | None,
    unmapped: Path | None,
    dry_run: bool,
    restart: bool,
    allows_new: bool | None,
    as_json: bool,
) -> None:
    if project is None:
        raise Invalid("The call names no project.", errors=(FieldError("--project", "name one"),))
    mapping = await asyncio.to_thread(_read_mapping, map_file, user_from)
    _refuse_unwritable(unmapped, map_file)
    operator = this_operator()
    async with opened("stripe-cli") as context:
        if dry_run:
            with progress("reading") as show:
                would = await run_dry(context, project, mapping, progress=show)
            if unmapped is not None:
                await _write_unmapped(unmapped, would.unmapped)
            print_json(would) if as_json else _print_dry(would, unmapped)
            return
        begun = await begin(context, project, mapping, operator, allows_new=allows_new, restart=restart)
        if begun.is_resumed and not as_json:
            say(f"{begun.import_id} goes on where it was.")
        with progress("importing") as show:
            done = await carry_out(context, project, begun.import_id, operator, progress=show)
        if unmapped is not None:
            left = [one async for one in list_unmapped(context, done.import_id)]
            await _write_unmapped(unmapped, left)
    print_json(_as_json(done)) if as_json else _print(done, unmapped)


def _as_json(done: Import) -> dict[str, object]:
    """Without the ids of targets, which only a bell understands: `counts.left_to_sync` says how many wait."""
    return {name: value for name, value in msgspec.structs.asdict(done).items() if name != "owed"}


def _read_mapping(map_file: Path | None, user_from: str | None) -> Mapping:
    if map_file is not None and user_from is None:
        return read_mapping(read_lines(map_file, "--map"))
    if map_file is not None or user_from is None:
        said = FieldError("--map or --user-from", "give one of them: it says which user a customer is")
        raise Invalid("The call does not say whose the customers are.", errors=(said,))
    key = user_from.removeprefix(METADATA)
    if not user_from.startswith(METADATA) or not key:
        raise Invalid("This is no place of a user's id.", errors=(FieldError("--user-from", "metadata.KEY"),))
    return ByMetadata(key=key)


def read_lines(path: Path, option: str) -> list[str]:
    """The lines of a file that the caller names, with their ends: a quoted cell may hold several."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    except OSError as error:
        said = f"{path}: {error.strerror}"
    except UnicodeDecodeError:
        said = f"{path} is no UTF-8: save it as UTF-8"
    raise Invalid("The file cannot be read.", errors=(FieldError(option, said),))


def _refuse_unwritable(unmapped: Path | None, map_file: Path | None) -> None:
    """Before hours of work, not after it."""
    if unmapped is None:
        return
    said = None
    if not unmapped.absolute().parent.is_dir():
        said = f"there is no directory {unmapped.absolute().parent}"
    elif unmapped.is_dir() or not os.access(
        unmapped if unmapped.exists() else unmapped.absolute().parent, os.W_OK
    ):
        said = f"{unmapped} cannot be written"
    elif map_file is not None and unmapped.resolve() == map_file.resolve():
        said = "is the file of --map, which would be overwritten: name another one"
    if said is not None:
        raise Invalid(
            "The unmapped customers could not be written.", errors=(FieldError("--unmapped", said),)
        )


async def _write_unmapped(path: Path, left: Sequence[ImportCustomer | Unlinked]) -> None:
    def write() -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows((one.customer_id, one.user_id or "", one.reason or "") for one in left)

    await asyncio.to_thread(write)


def _print_dry(would: DryRun, unmapped: Path | None) -> None:
    why = "" if unmapped is None else f" ({unmapped} says why)"
    say(
        f"Nothing was written. {would.linked} of {would.customers} customers would be linked, to "
        f"{would.users} users; {len(would.unmapped)} would not{why}."
    )
    if would.unknown_prices:
        say("No plan knows these prices, and they would give nothing: list them in a price's `stripe_ids`.")
        print_table(
            ("price", "product", "sold"),
            [(one.price_id, one.product_id, one.times) for one in would.unknown_prices],
        )
    print_table(
        ("app", "feature", "users who would have it"),
        [(one.app, one.feature, one.users) for one in would.would_be],
    )
    say("The same command without --dry-run imports them.")


def _print(done: Import, unmapped: Path | None) -> None:
    counts = done.counts
    say(
        f"{done.import_id}: {counts.linked} customers linked, {counts.already} were their user's before; "
        f"{counts.objects} objects taken in {counts.reads} reads of Stripe."
    )
    if counts.left_to_sync:
        say(f"{counts.left_to_sync} customers changed meanwhile or are on no list: workers read them now.")
    if counts.unmapped and unmapped is None:
        say(f"{counts.unmapped} of {counts.customers} customers were not linked: --unmapped FILE says why.")
    elif counts.unmapped:
        say(
            f"{counts.unmapped} of {counts.customers} customers were not linked; {unmapped} says why: fill "
            "in a user_id where you know one, and give it to --map."
        )
    say(
        f"Next: tollhouse backfill compare ANSWERS.csv --project {done.project}, then "
        f"tollhouse backfill complete --project {done.project}"
    )


@backfill.command()
@click.argument("answers", type=click.Path(path_type=Path), metavar="ANSWERS.csv")
@project_option
@json_option
@command
async def compare(*, answers: Path, project: str, as_json: bool) -> None:
    """Compare an older system's answers (CSV: user_id,feature,granted) with what apps read here.

    Each line is compared for every app that sees the feature. Exits with 1 where anything differs.
    """
    lines = await asyncio.to_thread(read_lines, answers, "ANSWERS.csv")
    async with opened() as context:
        compared = await compare_answers(context, project, lines)
    print_json(compared) if as_json else _print_comparison(compared)
    if compared.differences:
        sys.exit(EXIT_DIFFERS)


def _print_comparison(compared: Comparison) -> None:
    different = compared.differences
    if different:
        print_table(
            ("line", "user", "feature", "app", "theirs", "here", "because"),
            [
                (one.line, one.user_id, one.feature, one.app, _word(one.theirs), _word(one.ours), _why(one))
                for one in different[:MOST_SHOWN]
            ],
        )
        if len(different) > MOST_SHOWN:
            say(f"… and {len(different) - MOST_SHOWN} more: --json shows all.")
    say(
        f"{compared.answers} answers of {compared.users} users: {len(different)} differ. "
        f"{compared.unknown_users} users are unknown here."
    )
    if different:
        one = different[0]
        say(f"Next: tollhouse explain {shlex.quote(one.user_id)} --project {compared.project}")


def _word(granted: bool) -> str:  # noqa: FBT001 - a cell of a table
    return "yes" if granted else "no"


def _why(one: Difference) -> str:
    return "nobody knows the user: it was not linked" if one.is_unknown else one.reason


@backfill.command("await")
@project_option
@allow_new_option
@json_option
@command
async def await_import(*, project: str, allows_new: bool | None, as_json: bool) -> None:
    """Say that customers of another system are to come, before the first backfill.

    Until `backfill complete`, a checkout for a user without a customer answers 409 `import_pending`.
    """
    async with opened() as context:
        gate = await open_project(context, project, this_operator(), allows_new=allows_new)
    if as_json:
        print_json(gate)
    elif gate.allows_new:
        say(f"{project} waits for its import; checkouts make customers meanwhile.")
    else:
        say(f"{project} waits for its import: checkouts for users without a customer answer 409 meanwhile.")


@backfill.command()
@project_option
@json_option
@command
async def complete(*, project: str, as_json: bool) -> None:
    """Say that no more customers are to come: checkouts make customers again.

    What is left of the maps in the database is deleted. Said twice it changes nothing.
    """
    async with opened() as context:
        gate = await complete_project(context, project, this_operator())
    print_json(gate) if as_json else say(f"{project} waits for no import: checkouts make customers.")
