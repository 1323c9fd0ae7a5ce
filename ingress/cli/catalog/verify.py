"""`tollhouse catalog verify`."""

import sys

import click

from domain.flows.verify_catalog import Verified, verify_catalog
from ingress.cli.catalog.stripe import print_changes, print_notes, stripe_as_dict
from ingress.cli.terminal import EXIT_REJECTED, command, json_option, opened, print_json, print_table


@click.command()
@json_option
@command
async def verify(*, as_json: bool) -> None:
    """Compare the catalogs in force with Stripe's products, prices, portals and webhook endpoint.

    Writes nothing. Ends with 2 where something differs, such as a price that was archived in the dashboard,
    and names it.
    """
    async with opened("stripe-cli") as context:
        verified = await verify_catalog(context)
    if as_json:
        print_json(
            {
                "ok": not verified.is_drifted,
                "versions": verified.versions,
                "stripe": stripe_as_dict(verified.stripe),
                "sold_elsewhere": verified.sold_elsewhere,
            }
        )
    else:
        _print(verified)
    if verified.is_drifted:
        sys.exit(EXIT_REJECTED)


def _print(verified: Verified) -> None:
    named = ", ".join(f"{project} {version}" for project, version in verified.versions.items())
    if verified.stripe.is_changed:
        print_changes(verified.stripe.all_changes)
    if verified.sold_elsewhere:
        rows = [(one.key, one.sold, one.at_stripe) for one in verified.sold_elsewhere]
        print_table(("sold", "here", "at Stripe"), rows)
    print_notes(verified.stripe)
    stripe = verified.stripe
    if stripe.is_changed or verified.sold_elsewhere:
        click.echo(
            f"Stripe differs from the catalogs in force ({named}): apply the file again, or correct it."
        )
    elif verified.is_drifted:
        click.echo(f"What is named above waits for you; the rest is as the catalogs in force say ({named}).")
    else:
        click.echo(f"Stripe is as the catalogs in force say ({named}).")
