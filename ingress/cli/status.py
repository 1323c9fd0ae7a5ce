"""`tollhouse status`: how the deployment is doing, and what to do about what is not well."""

import asyncio
import sys

import click
import msgspec

from domain.context import Context
from domain.flows.status import Health, Status, read_status
from ingress.cli.terminal import command, json_option, opened, print_json, print_table
from workers.bell import count_bells

#: The exit code of each state; a monitor needs nothing else.
EXIT: dict[Health, int] = {"healthy": 0, "degraded": 1, "down": 2}


@click.command()
@click.option("--minutes", type=click.IntRange(1, 1440), default=10, show_default=True, help="Of the lag.")
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(0.5),
    default=2.0,
    show_default=True,
    help="Seconds, of --watch.",
)
@json_option
@command
async def status(*, minutes: int, watch: bool, every_s: float, as_json: bool) -> None:
    """Say how the deployment is doing, and what to do about what is not well.

    Ends with 0 when it is healthy, 1 when something is degraded (nothing is lost, somebody should look),
    2 when it is down (Postgres away, or its schema too old). With --watch and --json: one line each time.
    """
    async with opened() as context:
        seen = await _look(context, minutes)
        while watch:
            if as_json:
                click.echo(msgspec.json.encode(seen).decode())
            else:
                click.clear()
                _print(seen)
            await asyncio.sleep(every_s)
            seen = await _look(context, minutes)
    print_json(seen) if as_json else _print(seen)
    sys.exit(EXIT[seen.status])


async def _look(context: Context, minutes: int) -> Status:
    bells = count_bells(context.settings) if context.settings.redis_url else None
    return await read_status(context, bells=bells, minutes=minutes)


def _print(seen: Status) -> None:
    click.echo(f"{seen.status}, {seen.at.isoformat(timespec='seconds')}\n")
    print_table(("part", "", "seen"), [(part.name, _mark(part.health), part.finding) for part in seen.parts])
    todo = [(part.name, part.next) for part in seen.parts if part.next is not None]
    if todo:
        click.echo()
        print_table(("next", ""), todo)


def _mark(health: Health) -> str:
    return "ok" if health == "healthy" else health
