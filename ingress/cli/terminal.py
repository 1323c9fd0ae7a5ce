"""How every command ends: its answer as a table or as JSON, its error as a sentence and an exit code."""

import asyncio
import functools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn, ParamSpec

import click
import msgspec

from domain.context import Context, open_context
from domain.errors import Rejected, TollhouseError, Unavailable
from domain.settings import Process, Settings, load_settings
from domain.telemetry import configure_logging

P = ParamSpec("P")

EXIT_BROKEN, EXIT_REJECTED, EXIT_UNAVAILABLE = 1, 2, 3

json_option = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")


def command(function: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an async command to its end; a named error becomes its sentence and exit code."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            _refuse_other_encodings(kwargs)
            asyncio.run(_await(function(*args, **kwargs)))
        except TollhouseError as error:
            fail(error, as_json=bool(kwargs.get("as_json")))

    return run


@asynccontextmanager
async def opened(process: Process = "cli") -> AsyncIterator[Context]:
    """The Context of a command; its logs say only warnings, so that the answer stays readable."""
    settings = terminal_settings(process)
    async with open_context(process, settings) as context:
        yield context


def terminal_settings(process: Process = "cli") -> Settings:
    """The settings of a command, with its log on stderr set up."""
    settings = load_settings(process)
    configure_logging(msgspec.structs.replace(settings, log_level="warning"), "cli")
    return settings


def print_json(answer: Any) -> None:
    """The answer on stdout: Structs, times and all, in the same form as the HTTP API."""
    click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())


def say(text: str) -> None:
    """A line on stdout that names what callers chose, such as a user's id."""
    click.echo(_printable(text))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - 60 ms that `--json` and `--help` need not wait for
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else _printable(str(cell))) for cell in row))
    # A pipe has no width; a table cut to 80 columns would lose ids.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _printable(text: str) -> str:
    """What callers chose (ids, reasons) must not steer the operator's terminal: `\\x1b[2J` clears it."""
    return "".join(
        character if character.isprintable() or character == "\n" else repr(character)[1:-1]
        for character in text
    )


def fail(error: TollhouseError, *, as_json: bool) -> NoReturn:
    """Say what is wrong and end with the code of the error's family."""
    fields = error.errors if isinstance(error, Rejected) else ()
    if as_json:
        print_json({"error": {"code": error.code, "detail": error.detail, "errors": list(fields)}})
    else:
        click.secho(_printable(f"tollhouse: {error.detail}"), err=True)
        for field in fields:
            click.secho(_printable(f"  {_as_written(field['field'])}: {field['detail']}"), err=True)
        if isinstance(error, Unavailable) and "tollhouse " not in error.detail:
            click.secho("  Next: `tollhouse doctor` says what is in the way.", err=True)
    sys.exit(exit_code(error))


def _as_written(field: str) -> str:
    """The option of this command that fills the field, as its caller wrote it; else the field."""
    context = click.get_current_context(silent=True)
    options = {} if context is None else {one.name: one.opts[0] for one in context.command.params}
    return options.get(field) or options.get(field.removesuffix("_at")) or field


def exit_code(error: TollhouseError) -> int:
    if isinstance(error, Rejected):
        return EXIT_REJECTED
    return EXIT_UNAVAILABLE if isinstance(error, Unavailable) else EXIT_BROKEN


def _refuse_other_encodings(values: Mapping[str, object]) -> None:
    """Python keeps bytes of a call that are no UTF-8 as lone surrogates, which no server takes."""
    for name, value in values.items():
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and any("\ud800" <= character <= "\udfff" for character in text):
                raise Rejected(f"What you wrote for {name} is no UTF-8: set the terminal to UTF-8.")


async def _await(running: Awaitable[None]) -> None:
    await running
