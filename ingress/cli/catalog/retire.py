"""`tollhouse catalog retire-endpoint`."""

import click

from domain.flows.apply_catalog import find_confirmation
from domain.flows.webhook_endpoint import retire_endpoint as retire
from ingress.cli.catalog.group import CONFIRM, ask_confirmation
from ingress.cli.grants import this_operator
from ingress.cli.terminal import command, json_option, opened, print_json, say


@click.command("retire-endpoint")
@click.argument("endpoint_id")
@click.option(
    "--anyway", is_flag=True, help="Also while Stripe has events that not every endpoint has taken."
)
@CONFIRM
@json_option
@command
async def retire_endpoint(*, endpoint_id: str, anyway: bool, confirm: str | None, as_json: bool) -> None:
    """Switch off a webhook endpoint of ours that another one has replaced.

    First the new one's signing secret goes into TOLLHOUSE_STRIPE_WEBHOOK_SECRETS and webhook is restarted.
    The old endpoint stays at Stripe, disabled: delete it there when you like.
    """
    async with opened("stripe-cli") as context:
        confirmed = ask_confirmation(find_confirmation(context), confirm)
        await retire(context, endpoint_id, confirmed=confirmed, anyway=anyway, operator=this_operator())
    if as_json:
        print_json({"id": endpoint_id, "status": "disabled"})
    else:
        say(f"{endpoint_id} is disabled: Stripe sends nothing to it any more.")
