"""`tollhouse users`: one user as operators see it, and everything that is held of it."""

import shlex

import click
import msgspec

from domain.flows.export_user import export_user
from domain.flows.read_budget import CLAIM_WAIT_S
from domain.flows.show_user import MOST, ShownUser
from domain.flows.show_user import show_user as load_user
from domain.flows.sync import Syncer
from domain.flows.sync_user import SyncedUser, sync_user
from domain.model import Entitlement
from ingress.cli.grants import project_option, this_operator
from ingress.cli.terminal import command, json_option, opened, print_json, print_table, say
from ingress.cli.user_moves import erase, merge, rename


@click.group()
def users() -> None:
    """See one user with everything that led to its answers, sync it, hand out, rename, merge or erase it."""


@users.command()
@click.argument("user_id", metavar="USER")
@project_option
@click.option(
    "--limit", type=click.IntRange(1, MOST), default=100, show_default=True, help="Of the timeline."
)
@json_option
@command
async def show(*, user_id: str, project: str, limit: int, as_json: bool) -> None:
    """Show what USER's apps read now, and the timeline of objects, events, grants and versions."""
    async with opened() as context:
        shown = await load_user(context, project, user_id, limit=limit)
    print_json(shown) if as_json else _print_user(shown)


@users.command()
@click.argument("user_id", metavar="USER")
@project_option
@json_option
@command
async def sync(*, user_id: str, project: str, as_json: bool) -> None:
    """Read everything of USER from Stripe now, recompute and publish, and print what that changed.

    Harmless however often. Needs the Stripe key.
    """
    async with opened("stripe-cli") as context:
        syncer = Syncer(context, max_wait_s=CLAIM_WAIT_S)
        synced = await sync_user(context, syncer, project, user_id, this_operator())
    print_json(synced.user) if as_json else _print_synced(synced.user)


@users.command()
@click.argument("user_id", metavar="USER")
@project_option
@command
async def export(*, user_id: str, project: str) -> None:
    """Print everything that is held of USER as JSON; one row of the audit log says who asked.

    What Stripe holds is Stripe's to export: the list `customers` names it.
    """
    async with opened() as context:
        exported = await export_user(context, project, user_id, this_operator())
    print_json(exported)


for one in (rename, merge, erase):
    users.add_command(one)


def _print_user(shown: ShownUser) -> None:
    say(f"{shown.user_id} of {shown.project}, user_key {shown.user_key}\n")
    print_table(
        ("app", "version", "feature", "answer", "because"),
        [
            (answers.app, answers.version, feature, _value(answer), answer.reason)
            for answers in shown.answers
            for feature, answer in answers.entitlements.items()
        ],
    )
    if all(answers.version == 0 for answers in shown.answers):
        click.echo("Nothing is stored: apps read the catalog's defaults.")
    click.echo()
    print_table(
        ("when", "what", "id", ""),
        [(one.at.isoformat(timespec="milliseconds"), one.kind, one.id, one.said) for one in shown.timeline],
    )
    if shown.has_older:
        click.echo("There is more before that: raise --limit.", err=True)
    say(f"\n{_next(shown)}")


def _next(shown: ShownUser) -> str:
    if shown.moved_to is None:
        return f"Next: tollhouse explain {shlex.quote(shown.user_id)} --project {shown.project}"
    return (
        f"What it had is another id's since a rename or merge.\n"
        f"Next: tollhouse users show {shlex.quote(shown.moved_to)} --project {shown.project}"
    )


def _print_synced(synced: SyncedUser) -> None:
    read = ", ".join(synced.customers) or "no customer: nothing at Stripe is linked"
    say(f"Read: {read}.")
    if not synced.settled:
        click.echo("Not all was read in time; a worker goes on: tollhouse status says how far it is.")
    if not synced.changes:
        click.echo("No answer changed.")
        return
    print_table(
        ("app", "feature", "before", "after"),
        [(one.app, one.feature, _said(one.before), _said(one.after)) for one in synced.changes],
    )


def _said(answer: Entitlement | None) -> str:
    return "" if answer is None else f"{_value(answer)} ({answer.reason})"


def _value(answer: Entitlement) -> str:
    return "unlimited" if answer.unlimited is True else msgspec.json.encode(answer.value).decode()
