"""`tollhouse catalog apply`."""

from collections.abc import Mapping
from pathlib import Path

import click

from domain.context import Context
from domain.flows.apply_catalog import Applied, apply_catalog, find_confirmation
from domain.flows.publish_catalog import (
    Catalog,
    Published,
    PublishedProject,
    publish_locally,
    read_catalog,
)
from domain.flows.recompute_due import Backlog, CaughtUp
from ingress.cli.catalog.group import CATALOG, CONFIRM, ask_confirmation, read_text
from ingress.cli.catalog.stripe import print_changes, print_endpoint, print_retirable
from ingress.cli.grants import this_operator
from ingress.cli.progress import progress
from ingress.cli.terminal import command, json_option, opened, print_json, print_table, say


@click.command()
@CATALOG
@click.option("--local", is_flag=True, help="Store and recompute only; create nothing in Stripe.")
@click.option(
    "--wait",
    is_flag=True,
    help="With --local: recompute here and now instead of leaving it to the scheduler. Without: always so.",
)
@CONFIRM
@json_option
@command
async def apply(*, file: Path, local: bool, wait: bool, confirm: str | None, as_json: bool) -> None:
    """Make FILE the catalog in force: in Stripe, then here; then recompute; then archive old prices.

    Applying the same content again changes nothing, and one that was interrupted is continued by applying
    again. What Stripe has that is not ours is named and stays. In live mode the environment's name is asked.
    Until a user's turn has come the answer stays what it was.
    """
    projects = read_catalog(read_text(file), file=str(file))
    if local:
        await _apply_locally(projects, wait=wait, as_json=as_json)
    else:
        await _apply_to_stripe(projects, confirm, as_json=as_json)


async def _apply_to_stripe(projects: Mapping[str, Catalog], confirm: str | None, *, as_json: bool) -> None:
    async with opened("stripe-cli") as context:
        confirmed = ask_confirmation(find_confirmation(context), confirm)
        with progress("Recomputing users") as show:
            applied = await apply_catalog(
                context, projects, confirmed=confirmed, on_progress=show, operator=this_operator()
            )
    if as_json:
        print_json(_applied_as_dict(applied))
        return
    if applied.changes:
        print_changes(applied.changes)
    else:
        click.echo("Stripe had it all.")
    for note in applied.unmanaged:
        say(f"Not ours, left as it is: {note.noun} {note.stripe_id} {note.detail}")
    _print(applied.projects, applied.recomputed, 0)
    print_retirable(applied.retirable)
    if applied.endpoint is not None:
        print_endpoint(applied.endpoint)


def _applied_as_dict(applied: Applied) -> dict[str, object]:
    told = {name: getattr(applied, name) for name in applied.__struct_fields__}
    if applied.endpoint is None or applied.endpoint.signing_secret is None:
        return told
    secret = applied.endpoint.signing_secret.reveal()
    return {**told, "endpoint": {"id": applied.endpoint.id, "signing_secret": secret}}


async def _apply_locally(projects: Mapping[str, Catalog], *, wait: bool, as_json: bool) -> None:
    async with opened() as context:
        published = await publish_locally(context, projects, this_operator())
        caught_up = await _catch_up(context) if wait else None
    if as_json:
        print_json({**_as_dict(published), "waited": caught_up})
    else:
        _print(published.projects, caught_up, published.behind)


async def _catch_up(context: Context) -> CaughtUp:
    with progress("Recomputing users") as show:
        return await Backlog(context).catch_up(show)


def _as_dict(published: Published) -> dict[str, object]:
    return {name: getattr(published, name) for name in published.__struct_fields__}


def _print(projects: Mapping[str, PublishedProject], caught_up: CaughtUp | None, behind: int) -> None:
    print_table(
        ("project", "version", "changed", "apps"),
        [
            (key, project.version, "yes" if project.is_new else "no", ", ".join(project.apps))
            for key, project in projects.items()
        ],
    )
    if caught_up is not None:
        click.echo(f"Recomputed {caught_up.recomputed} users.")
        if caught_up.failed:
            click.echo(
                f"{caught_up.failed} users could not be recomputed and keep their answer: `recompute_failed` "
                "in the log says why. The scheduler goes on trying."
            )
    elif behind:
        click.echo(f"The scheduler recomputes {behind} users. See: tollhouse catalog status")
    else:
        click.echo("Nobody has to be recomputed.")
