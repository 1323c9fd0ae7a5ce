"""`tollhouse events replay`."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from domain.context import Context
from domain.errors import FieldError, Invalid
from domain.flows.inspect_events import EventQuery
from domain.flows.replay_events import MOST, Replayed, ReplayWish
from domain.flows.replay_events import replay as replay_page
from domain.model import Entitlement
from ingress.cli.event_filters import filter_options, read_query
from ingress.cli.grants import this_operator
from ingress.cli.progress import progress
from ingress.cli.terminal import command, json_option, opened, print_json, print_table, say

#: A dry run has found answers that are not what Stripe and the catalog give.
EXIT_DIFFERENT = 4


@click.command()
@click.argument("event_ids", nargs=-1)
@filter_options
@click.option("--all", "is_all", is_flag=True, help="Every event there is.")
@click.option("--dry-run", is_flag=True, help="Read Stripe, say which answers would change, write nothing.")
@click.option("--rate", type=click.FloatRange(0.1), default=100.0, show_default=True, help="Events a second.")
@click.option("--cursor", help="Where an earlier replay ended.")
@json_option
@command
async def replay(
    *,
    event_ids: tuple[str, ...],
    is_all: bool,
    dry_run: bool,
    rate: float,
    cursor: str | None,
    as_json: bool,
    **filters: Any,
) -> None:
    """Give events their turn again, processed ones too: the named ones, or all that the options take.

    Harmless however often: an event is a hint to read Stripe, so where all is well no answer changes, and
    --dry-run (needs the Stripe key) shows none. Ends with 4 where a dry run shows a difference. Ctrl-C: the
    last line on stderr says where --cursor goes on.
    """
    wish = ReplayWish(event_ids=event_ids, query=read_query(filters), cursor=cursor, dry_run=dry_run)
    if (wish.query == EventQuery() and not event_ids) != is_all:
        what = "name events, or narrow them by an option, or say --all"
        raise Invalid("The call does not say which events.", errors=(FieldError("[EVENT_IDS]...", what),))
    async with opened("stripe-cli" if dry_run else "cli") as context:
        done = await _replay_pages(context, wish, rate)
    print_json(done) if as_json else _print_replayed(done)
    if done.differences:
        sys.exit(EXIT_DIFFERENT)


async def _replay_pages(context: Context, wish: ReplayWish, rate: float) -> Replayed:
    """Every page, no faster than `rate`; what was done until an error or Ctrl-C stays done."""
    pages: list[Replayed] = []
    many = msgspec.structs.replace(wish, limit=max(1, min(MOST, int(rate))))
    parts = [wish.event_ids[start : start + MOST] for start in range(0, len(wish.event_ids), MOST)]
    with progress("events") as show:
        try:
            while True:
                part = parts.pop(0) if parts else ()
                one = await replay_page(
                    context, msgspec.structs.replace(many, event_ids=part), this_operator()
                )
                pages.append(one)
                taken = sum(len(page.event_ids) + len(page.skipped) for page in pages)
                show(taken, max(taken, len(wish.event_ids)))
                many = msgspec.structs.replace(many, cursor=one.next_cursor)
                if one.next_cursor is None and not parts:
                    return _together(pages)
                await asyncio.sleep((len(one.event_ids) + len(one.skipped)) / rate)
        except BaseException:
            # Ctrl-C and a cancelled loop too: whoever stops it must know where to go on.
            if many.cursor is not None:
                click.echo(f"Not at the end: go on with --cursor {many.cursor}", err=True)
            raise


def _together(pages: Sequence[Replayed]) -> Replayed:
    return Replayed(
        dry_run=pages[0].dry_run,
        event_ids=tuple(event_id for page in pages for event_id in page.event_ids),
        skipped={event_id: why for page in pages for event_id, why in page.skipped.items()},
        differences=tuple(one for page in pages for one in page.differences),
        next_cursor=None,
    )


def _print_replayed(done: Replayed) -> None:
    if not done.dry_run:
        click.echo(f"{len(done.event_ids)} events are pending again: workers take them within seconds.")
    elif done.differences:
        print_table(
            ("project", "user", "app", "feature", "now", "would be"),
            [
                (one.project, one.user_id, one.app, one.feature, _answer(one.before), _answer(one.after))
                for one in done.differences
            ],
        )
    else:
        click.echo(f"{len(done.event_ids)} events were looked at: replaying them would change no answer.")
    for event_id, reason in done.skipped.items():
        say(f"left as it is: {event_id} ({reason})")


def _answer(answer: Entitlement | None) -> str:
    return "" if answer is None else f"{msgspec.json.encode(answer.value).decode()} ({answer.reason})"
