"""`tollhouse customers`."""

import shlex

import click

from domain.flows.adopt import adopt as adopt_customer
from ingress.cli.grants import project_option, reason_option, this_operator
from ingress.cli.terminal import command, json_option, opened, print_json, say


@click.group()
def customers() -> None:
    """Say whose a Stripe customer is that Tollhouse did not make."""


@customers.command()
@click.argument("customer_id", metavar="CUSTOMER")
@project_option
@click.option("--user", "user_id", required=True, help="The project's id of the user; made when unknown.")
@reason_option
@json_option
@command
async def adopt(*, customer_id: str, project: str, user_id: str, reason: str, as_json: bool) -> None:
    """Link the Stripe customer CUSTOMER (cus_…) to a user: what it bought gives access from then on.

    Its foreign events get their turn, and its subscriptions, purchases, invoices and refunds are read.
    Nothing is changed at Stripe. Needs the Stripe key, to see that the customer exists.
    """
    async with opened("stripe-cli") as context:
        adopted = await adopt_customer(context, customer_id, project, user_id, this_operator(), reason=reason)
    if as_json:
        print_json(adopted)
        return
    if adopted.state == "already":
        say(f"{customer_id} was {user_id}'s already; everything of it is read again.")
        return
    use = "used for new checkouts" if adopted.is_primary else "kept beside the customer of new checkouts"
    say(
        f"{customer_id} is {user_id}'s now, {use}; {adopted.reopened} foreign events get their turn. "
        f"See what it gives: tollhouse explain {shlex.quote(user_id)} --project {project}"
    )
