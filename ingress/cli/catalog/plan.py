"""`tollhouse catalog plan`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from domain.flows.apply_catalog import plan_stripe
from domain.flows.plan_catalog import CatalogPlan, Counts, PlannedProject, PlannedUser, plan_catalog
from domain.flows.publish_catalog import read_catalog
from ingress.cli.catalog.group import CATALOG, read_text
from ingress.cli.catalog.stripe import print_plan, stripe_as_dict
from ingress.cli.progress import progress
from ingress.cli.terminal import (
    command,
    json_option,
    opened,
    print_json,
    print_table,
    say,
    terminal_settings,
)

#: With --exit-code; 1 to 3 are the errors of every command.
EXIT_CHANGES, EXIT_TAKES_AWAY = 4, 5
LISTED = 50
#: --limit 0.
EVERYBODY = sys.maxsize


@click.command()
@CATALOG
@click.option("--list", "with_list", is_flag=True, help="Name the users whose access changes.")
@click.option(
    "--limit",
    default=LISTED,
    show_default=True,
    type=click.IntRange(min=0),
    help="How many users --list names; 0: all of them.",
)
@click.option(
    "--exit-code",
    "with_exit_code",
    is_flag=True,
    help="End with 4 where something changes and with 5 where somebody loses access or gets less or other.",
)
@click.option("--local", is_flag=True, help="Compare users only; do not ask Stripe.")
@json_option
@command
async def plan(
    *, file: Path, with_list: bool, limit: int, with_exit_code: bool, local: bool, as_json: bool
) -> None:
    """Show what applying FILE would change: at Stripe, in the catalog, and for every user. Writes nothing.

    Stripe is compared where TOLLHOUSE_STRIPE_SECRET_KEY is set.

    \b
    gain, lose   access to the feature begins or ends
    more, less   a larger or smaller value, a later or earlier end
    other        neither, such as another set of strings
    """
    projects = read_catalog(read_text(file), file=str(file))
    at_most = (limit or EVERYBODY) if with_list else 0
    asks_stripe = not local and bool(terminal_settings().stripe_secret_key.reveal())
    async with opened("stripe-cli" if asks_stripe else "cli") as context:
        stripe = await plan_stripe(context, projects) if asks_stripe else None
        with progress("Comparing users") as show:
            planned = await plan_catalog(context, projects, list_at_most=at_most, on_progress=show)
    is_changed = planned.is_changed or (stripe is not None and stripe.is_changed)
    if as_json:
        told = {"is_changed": is_changed, "takes_away": planned.takes_away, **_as_dict(planned)}
        print_json({**told, "stripe": None if stripe is None else stripe_as_dict(stripe)})
    else:
        if stripe is not None:
            print_plan(stripe)
        elif not local:
            click.echo("Stripe is not compared: TOLLHOUSE_STRIPE_SECRET_KEY is not set.\n")
        _print(planned, with_list=with_list)
    if with_exit_code and is_changed:
        sys.exit(EXIT_TAKES_AWAY if planned.takes_away else EXIT_CHANGES)


def _as_dict(planned: CatalogPlan) -> dict[str, object]:
    return {name: getattr(planned, name) for name in planned.__struct_fields__}


def _print(planned: CatalogPlan, *, with_list: bool) -> None:
    for project in planned.projects:
        if project.is_changed:
            _print_project(project)
        else:
            click.echo(f"{project.project}: nothing changes, version {project.version} stays.\n")
    if with_list:
        _print_users(planned)
    elif planned.more_users:
        click.echo(f"{planned.more_users} users would notice; --list names them.")


def _print_project(project: PlannedProject) -> None:
    before = f"version {project.version}" if project.version is not None else "nothing"
    click.secho(f"{project.project}: {before} → version {(project.version or 0) + 1}\n", bold=True)
    print_table(("catalog", "", "change", "before", "after"), _catalog_rows(project))
    click.echo(f"\n{project.users} users")
    rows = [(feature, *_numbers(counts)) for feature, counts in project.features.items()]
    print_table(
        ("feature", "gain", "lose", "more", "less", "other", "unchanged"),
        [*rows, ("any of them", *_numbers(project.total))],
    )
    if project.unreadable:
        shown = ", ".join(project.unreadable[:5])
        say(f"{len(project.unreadable)} users cannot be computed, so nobody knows: {shown}")
    click.echo("")


def _catalog_rows(project: PlannedProject) -> Iterator[tuple[str, ...]]:
    for noun in project.catalog:
        if not noun.fields:
            yield (noun.noun, noun.key, noun.change, "", "")
        for field in noun.fields:
            yield (noun.noun, noun.key, field.field, _shown(field.before), _shown(field.after))


def _numbers(counts: Counts) -> tuple[int, ...]:
    return (counts.gain, counts.lose, counts.more, counts.less, counts.other, counts.unchanged)


def _print_users(planned: CatalogPlan) -> None:
    print_table(("project", "user", "app", "feature", "", "before", "after"), _user_rows(planned.users))
    if planned.more_users:
        click.echo(f"… and {planned.more_users} more users; --limit 0 lists all.")


def _user_rows(users: tuple[PlannedUser, ...]) -> Iterator[tuple[str, ...]]:
    for user in users:
        for one in user.effects:
            yield (
                *(user.project, user.user_id, one.app, one.feature, one.effect.value),
                *(_answer(shown.value, shown.ends_at) for shown in (one.before, one.after)),
            )


def _answer(value: object, ends_at: object) -> str:
    return _shown(value) + (f" until {ends_at:%Y-%m-%d %H:%M}" if ends_at is not None else "")


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return f"{value['value']} per unit"
    return ", ".join(map(str, value)) or "-" if isinstance(value, list | tuple) else str(value)
