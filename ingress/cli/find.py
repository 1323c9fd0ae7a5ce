"""`tollhouse find`."""

import click

from domain.errors import Unknown
from domain.flows.find import FoundPage
from domain.flows.find import find as find_anything
from domain.settings import Process, SettingsInvalid
from ingress.cli.terminal import command, json_option, opened, print_json, print_table


@click.command()
@click.argument("named", metavar="ANYTHING")
@click.option("--project", help="Only what belongs to this project.  [default: everything]")
@json_option
@command
async def find(*, named: str, project: str | None, as_json: bool) -> None:
    """Say whose ANYTHING is: a user's id, any Stripe id, an event, a grant, an invoice number, an e-mail.

    An e-mail is asked of Stripe, live, and kept nowhere; an object that no row of ours names, too. Needs
    the Stripe key for those alone.

    \b
    tollhouse find u_17
    tollhouse find in_1Q2w3e4r
    tollhouse find anna@example.com
    """
    page = await _find(named, project)
    if as_json:
        print_json(page)
        return
    print_table(
        ("what", "id", "", "state", "project", "user", "customer"),
        [
            (one.kind, one.id, one.standing, one.state, one.project, one.user_id, one.customer_id)
            for one in page.data
        ],
    )
    click.echo()
    print_table(("next",), [(text,) for text in dict.fromkeys(one.next for one in page.data)])


async def _find(named: str, project: str | None) -> FoundPage:
    """In our rows first: they need no Stripe key."""
    try:
        here = await _find_as("cli", named, project)
    except Unknown as nowhere:
        try:
            return await _find_as("stripe-cli", named, project)
        except SettingsInvalid:
            raise nowhere from None
    if "@" not in named:
        return here
    try:
        # A user whose id is an e-mail may have a customer at Stripe that nobody here knows of.
        return await _find_as("stripe-cli", named, project)
    except SettingsInvalid:
        return here


async def _find_as(process: Process, named: str, project: str | None) -> FoundPage:
    async with opened(process) as context:
        return await find_anything(context, named, project)
