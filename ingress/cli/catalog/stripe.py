"""What differs at Stripe, as `plan`, `apply` and `verify` show it."""

from collections.abc import Iterable, Iterator

import click

from domain.flows.apply_catalog import MadeEndpoint, StripeChange, StripeNote, StripePlan
from ingress.cli.terminal import print_table, say


def print_changes(changes: Iterable[StripeChange]) -> None:
    print_table(("Stripe", "key", "id", "", "field", "before", "after"), _rows(changes))


def print_notes(planned: StripePlan) -> None:
    for one in planned.unmanaged:
        say(f"Not ours, left as it is: {_note(one)}")
    for one in planned.obstacles:
        say(f"In the way: {_note(one)}")
    print_retirable(planned.retirable)
    if not planned.is_endpoint_compared:
        click.echo("The webhook endpoint is not compared: TOLLHOUSE_WEBHOOK_URL is not set.")


def print_retirable(notes: Iterable[StripeNote]) -> None:
    for one in notes:
        say(f"Replaced: {_note(one)}.")
        say(
            "  With the new signing secret in TOLLHOUSE_STRIPE_WEBHOOK_SECRETS and webhook restarted: "
            f"tollhouse catalog retire-endpoint {one.stripe_id}"
        )


def print_endpoint(made: MadeEndpoint) -> None:
    """The one time that the secret is seen."""
    say(f"\nThe webhook endpoint {made.id} was made.")
    if made.signing_secret is None:
        say("Stripe did not say its signing secret: its dashboard does, Developers, Webhooks.")
    else:
        say(f"Its signing secret, shown this once:\n\n    {made.signing_secret.reveal()}\n")
    say(
        "Add it to TOLLHOUSE_STRIPE_WEBHOOK_SECRETS (comma-separated, beside one that is there) and restart "
        "webhook. Until then Stripe tries again what it could not deliver, for three days."
    )


def stripe_as_dict(planned: StripePlan) -> dict[str, object]:
    return {"is_changed": planned.is_changed} | {
        name: getattr(planned, name) for name in planned.__struct_fields__
    }


def print_plan(planned: StripePlan) -> None:
    click.secho("Stripe\n", bold=True)
    if planned.is_changed:
        print_changes(planned.all_changes)
    elif not planned.obstacles:
        click.echo("Stripe is as the file says.")
    print_notes(planned)
    click.echo("")


def _note(note: StripeNote) -> str:
    return f"{note.noun} {note.stripe_id} {note.detail}"


def _rows(changes: Iterable[StripeChange]) -> Iterator[tuple[str, ...]]:
    for change in changes:
        named = (change.noun, change.key, change.stripe_id or "new", change.action)
        for field in change.fields:
            yield (*named, field.field, _shown(field.before), _shown(field.after))
        if not change.fields:
            yield (*named, "", "", "")


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)
