"""`tollhouse grants`: what was granted, what soon ends, and many grants from a file."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import BinaryIO, get_args

import click
import msgspec

from domain.context import Context
from domain.errors import FieldError, Invalid
from domain.flows.import_grants import BATCH_LENGTH, GrantFile, Imported, import_grants, read_grant_file
from domain.flows.list_grants import GrantPage, GrantState, list_grants
from domain.flows.preview_grants import GrantPreview, PreviewedLine, preview_grants
from domain.model import Entitlement
from ingress.cli.grants import project_option, read_instant, this_operator, warn_unpublished
from ingress.cli.progress import progress
from ingress.cli.terminal import command, json_option, opened, print_json, print_table, say

STATES: tuple[GrantState, ...] = get_args(GrantState)
#: Of the hash of a file: what its import is called where nobody names it.
BATCH_DIGITS = 16


class _ListUnlessTold(click.Group):
    """`tollhouse grants u_17` is `tollhouse grants list u_17`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args.insert(0, "list")
        return super().parse_args(ctx, args)


@click.group(cls=_ListUnlessTold)
def grants() -> None:
    """List what was granted, or make many grants from a file.

    \b
    tollhouse grants u_17 --project acme                      as grants list u_17 …
    tollhouse grants list --project acme --expiring 14d
    tollhouse grants import workshop.csv --project acme --dry-run
    """


@grants.command(name="list")
@click.argument("user_id", metavar="[USER]", required=False)
@project_option
@click.option("--state", type=click.Choice([*STATES, "all"]), default="all", show_default=True)
@click.option("--expiring", help="Only those that end within this span, such as 14d; the next one first.")
@click.option("--cursor", help="The next_cursor of the page before.")
@click.option("--limit", type=click.IntRange(1, 100), default=50, show_default=True)
@json_option
@command
async def list_(
    *,
    user_id: str | None,
    project: str,
    state: str,
    expiring: str | None,
    cursor: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List the grants of a project, or of USER, newest first; --expiring: by their end."""
    wanted = next((known for known in STATES if known == state), None)
    within = _span(expiring)
    async with opened() as context:
        page = await list_grants(
            context,
            project,
            user_id=user_id,
            state=wanted,
            expiring_within=within,
            cursor=cursor,
            limit=limit,
        )
    print_json(page) if as_json else _print_page(page)


@grants.command(name="import")
@click.argument("file", type=click.File("rb"))
@project_option
@click.option("--reason", help="Why, for every line that has no reason of its own.")
@click.option(
    "--batch", help="Names the import: a line it has made is not made again.  [default: the content]"
)
@click.option("--dry-run", is_flag=True, help="Say what each line would change; write nothing.")
@json_option
@command
async def import_(
    *, file: BinaryIO, project: str, reason: str | None, batch: str | None, dry_run: bool, as_json: bool
) -> None:
    """Make a grant of every line of a CSV file (- reads stdin); all of them, or none where one is wrong.

    The first line names the columns: user_id, target_kind (feature, plan, app, project), target; and, where
    wanted, effect (allow), value, starts_at, expires_at, reason. docs/operations.md has more.

    Safe to stop and to run again: what a batch has made is not made twice. To add lines to a file that was
    imported, give both imports the same --batch.
    """
    data = file.read()
    _refuse_impossible_batch(batch)
    name = batch or sha256(data).hexdigest()[:BATCH_DIGITS]
    wished = read_grant_file(data, reason=reason)
    async with opened() as context:
        if dry_run:
            preview = await _preview(context, project, wished, name)
            print_json(preview) if as_json else _print_preview(preview)
            return
        imported = await _import(context, project, wished, name)
    if as_json:
        print_json(imported)
        warn_unpublished(is_published=imported.is_published)
        return
    _print_imported(imported)


async def _preview(context: Context, project: str, file: GrantFile, batch: str) -> GrantPreview:
    with progress("lines") as show:
        return await preview_grants(context, project, file, batch=batch, show=show)


async def _import(context: Context, project: str, file: GrantFile, batch: str) -> Imported:
    seen = [0, 0]
    with progress("grants") as show:

        def note(done: int, total: int) -> None:
            seen[:] = done, total
            show(done, total)

        try:
            return await import_grants(context, project, file, this_operator(), batch=batch, show=note)
        except BaseException:
            # Ctrl-C and a cancelled loop too: whoever stops it must know how to go on.
            if seen[0] < seen[1]:
                click.echo(
                    f"Not at the end: {seen[0]} of {seen[1]} lines are there. The same command makes the "
                    f"others; where the file has to change, add --batch {batch}",
                    err=True,
                )
            raise


def _print_page(page: GrantPage) -> None:
    print_table(
        ("grant", "user", "state", "effect", "target", "value", "starts", "expires", "by", "reason"),
        [
            (
                listed.id,
                listed.user_id,
                listed.state,
                listed.effect,
                " ".join(f"{kind} {key}" for kind, key in listed.target.items()),
                "" if listed.value is None else msgspec.json.encode(listed.value).decode(),
                listed.starts_at.isoformat(timespec="seconds"),
                "never" if listed.expires_at is None else listed.expires_at.isoformat(timespec="seconds"),
                listed.actor,
                listed.reason,
            )
            for listed in page.data
        ],
    )
    if page.next_cursor:
        click.echo(f"More: add --cursor {page.next_cursor}", err=True)


def _print_imported(imported: Imported) -> None:
    say(
        f"{imported.lines} lines for {imported.users} users: {len(imported.created)} created, "
        f"{len(imported.already_there)} already there, 0 refused (batch {imported.batch})."
    )
    over = [one for one in imported.already_there if one.state in {"expired", "revoked"}]
    if over:
        click.echo(
            f"{len(over)} of those already there are over, such as {over[0].id} of line {over[0].line} "
            f"({over[0].state}): to give them again, import them under another --batch."
        )
    for one in imported.created:
        if one.hint is not None:
            click.echo(f"line {one.line}, {one.id}: {one.hint}")
    warn_unpublished(is_published=imported.is_published)


def _print_preview(preview: GrantPreview) -> None:
    print_table(
        ("line", "user", "grant", "from", "would change"),
        [
            (one.line, one.user_id, _grant(one), one.at.isoformat(timespec="seconds"), _changes(one))
            for one in preview.would_create
        ],
    )
    say(
        f"Nothing was written. {preview.lines} lines for {preview.users} users: "
        f"{len(preview.would_create)} would be created, {len(preview.already_there)} are already there, "
        f"0 refused (batch {preview.batch})."
    )


def _grant(line: PreviewedLine) -> str:
    ((kind, key),) = line.target.items()
    return f"{line.effect} {kind} {key}"


def _changes(line: PreviewedLine) -> str:
    if not line.changes:
        return line.hint or "nothing: it is so already"
    said = "\n".join(
        f"{one.app} {one.feature}: {_answer(one.before)} → {_answer(one.after)}" for one in line.changes
    )
    return said if line.hint is None else f"{said}\n{line.hint}"


def _answer(answer: Entitlement) -> str:
    value = "unlimited" if answer.unlimited is True else msgspec.json.encode(answer.value).decode()
    until = "" if answer.ends_at is None else f" until {answer.ends_at.isoformat(timespec='seconds')}"
    return f"{value} ({answer.reason}{until})"


def _span(text: str | None) -> timedelta | None:
    now = datetime.now(UTC)
    at = read_instant("--expiring", text, now)
    if at is not None and at <= now:
        raise Invalid(
            "The call names something that cannot be.",
            errors=(FieldError("--expiring", f"is {text!r}: write a span to come, such as 14d or 12h"),),
        )
    return None if at is None else at - now


def _refuse_impossible_batch(batch: str | None) -> None:
    if batch is not None and not (
        1 <= len(batch) <= BATCH_LENGTH and batch.isascii() and batch.isprintable()
    ):
        what = f"1 to {BATCH_LENGTH} printable ASCII characters"
        raise Invalid("The call names something that cannot be.", errors=(FieldError("--batch", what),))
