"""What differs at Stripe, as `plan`, `apply` and `verify` show it."""

from collections.abc import Iterable, Iterator

import click

from domain.flows.apply_catalog import StripeChange, StripeNote, StripePlan
from ingress.cli.terminal import print_table, say


def print_changes(changes: Iterable[StripeChange]) -> None:
    print_table(("Stripe", "key", "id", "", "field", "before", "after"), _rows(changes))


def print_notes(planned: StripePlan) -> None:
    for one in planned.unmanaged:
        say(f"Not ours, left as it is: {_note(one)}")
    for one in planned.obstacles:
        say(f"In the way: {_note(one)}")


def stripe_as_dict(planned: StripePlan) -> dict[str, object]:
    return {"is_changed": planned.is_changed} | {
        name: getattr(planned, name) for name in planned.__struct_fields__
    }


def print_plan(planned: StripePlan) -> None:
    click.secho("Stripe\n", bold=True)
    if planned.is_changed:
        print_changes((*planned.changes, *planned.archives))
    elif not planned.obstacles:
        click.echo("Products and prices are as the file says.")
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
