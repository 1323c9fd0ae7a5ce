"""`tollhouse catalog parity`."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from domain.flows.compare_accounts import AccountState, Difference, compare_with, read_state
from ingress.cli.catalog.group import read_text
from ingress.cli.terminal import EXIT_REJECTED, command, json_option, opened, print_json, print_table, say


@click.command()
@click.option(
    "--other",
    "file",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="What `tollhouse catalog export --state` printed at the other deployment.",
)
@json_option
@command
async def parity(*, file: Path, as_json: bool) -> None:
    """Compare this deployment with another, such as test with live: does it sell and give the same?

    Ends with 2 where something differs, and names it. Ids do not count, nor products that are not ours.
    """
    other = read_state(read_text(file), file=str(file))
    async with opened("stripe-cli") as context:
        here, differences = await compare_with(context, other)
    if as_json:
        print_json(
            {
                "ok": not differences,
                "here": _named(here),
                "there": _named(other),
                "differences": differences,
            }
        )
    else:
        _print(here, other, differences)
    if differences:
        sys.exit(EXIT_REJECTED)


def _named(state: AccountState) -> dict[str, str]:
    return {"account": state.account, "mode": state.mode, "env": state.env}


def _print(here: AccountState, there: AccountState, differences: Iterable[Difference]) -> None:
    names = [f"{one.env} ({one.account}, {one.mode} mode)" for one in (here, there)]
    rows = [row for one in differences for row in _rows(one)]
    if not rows:
        say(f"{names[0]} and {names[1]} sell and give the same.")
        return
    print_table(("", "project", "what", "key", "field", "here", "there"), rows)
    say(f"{names[0]}, here, differs from {names[1]}: apply the same file in both.")


def _rows(difference: Difference) -> Iterator[tuple[object, ...]]:
    of = (difference.place, difference.project)
    noun = difference.noun
    if noun.change != "changed":
        sides = ("there is", "-") if noun.change == "removed" else ("-", "there is")
        yield (*of, noun.noun, noun.key, "", *sides)
    for field in noun.fields:
        yield (*of, noun.noun, noun.key, field.field, _shown(field.before), _shown(field.after))


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) or "-" if isinstance(value, list | tuple) else str(value)
