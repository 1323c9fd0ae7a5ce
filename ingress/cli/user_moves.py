"""`tollhouse users rename`, `merge` and `erase`: whose something is, and no longer is."""

import click

from domain.flows.erase_user import ErasedUser, EraseWish, erase_user
from domain.flows.merge_users import MergedUsers, MergeWish, merge_users
from domain.flows.rename_user import RenamedUser, RenameWish, rename_user
from ingress.cli.grants import project_option, reason_option, this_operator
from ingress.cli.terminal import command, json_option, opened, print_json, print_table, say

dry_run_option = click.option("--dry-run", is_flag=True, help="Only say what would be; write nothing.")


@click.command()
@click.argument("user_id", metavar="USER")
@click.argument("new_user_id", metavar="NEW_ID")
@project_option
@reason_option
@dry_run_option
@json_option
@command
async def rename(
    *, user_id: str, new_user_id: str, project: str, reason: str, dry_run: bool, as_json: bool
) -> None:
    """Give USER another id: everything of it is found under NEW_ID.

    The old id is a user that has nothing. Readers of both get versions above all that they have seen.
    """
    wish = RenameWish(user_id=user_id, new_user_id=new_user_id, reason=reason, dry_run=dry_run)
    async with opened() as context:
        renamed = await rename_user(context, project, wish, this_operator())
    print_json(renamed) if as_json else _print_renamed(renamed)


@click.command()
@click.argument("user_id", metavar="USER")
@click.argument("into_user_id", metavar="INTO")
@project_option
@reason_option
@click.option(
    "--even-if-doubled", is_flag=True, help="Although INTO then has two live subscriptions of a group."
)
@dry_run_option
@json_option
@command
async def merge(
    *,
    user_id: str,
    into_user_id: str,
    project: str,
    reason: str,
    even_if_doubled: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make everything of USER that of INTO: customers, subscriptions, purchases, grants, money.

    USER has nothing afterwards. Nothing changes at Stripe.
    """
    wish = MergeWish(
        user_id=user_id,
        into_user_id=into_user_id,
        reason=reason,
        dry_run=dry_run,
        even_if_doubled=even_if_doubled,
    )
    async with opened() as context:
        merged = await merge_users(context, project, wish, this_operator())
    print_json(merged.users) if as_json else _print_merged(merged.users)


@click.command()
@click.argument("user_id", metavar="USER")
@project_option
@reason_option
@click.option("--even-if-subscribed", is_flag=True, help="Although Stripe goes on to bill, or can be paid.")
@click.option("--yes", is_flag=True, help="Do not ask whether this is meant.")
@dry_run_option
@json_option
@command
async def erase(
    *,
    user_id: str,
    project: str,
    reason: str,
    even_if_subscribed: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete what is held of USER, for good, and say what Stripe goes on to hold.

    Hand it out before, if anybody may ask for it: tollhouse users export. Safe to repeat. REASON stays in the
    audit log: it must not name the person.
    """
    if not (yes or dry_run):
        click.confirm("This cannot be undone. Erase the user?", abort=True, err=True)
    wish = EraseWish(reason=reason, dry_run=dry_run, even_if_subscribed=even_if_subscribed)
    async with opened() as context:
        erased = await erase_user(context, project, user_id, wish, this_operator())
    print_json(erased) if as_json else _print_erased(erased)


def _print_renamed(renamed: RenamedUser) -> None:
    if renamed.state == "would_rename":
        say(f"{renamed.user_id} would be {renamed.new_user_id}; nothing is in the way. Nothing was written.")
        return
    say(f"{renamed.user_id} is {renamed.new_user_id} now (user_key {renamed.user_key}).")
    _print_versions({renamed.new_user_id: renamed.versions, renamed.user_id: renamed.left_versions})


def _print_merged(merged: MergedUsers) -> None:
    would = "would be" if merged.state == "would_merge" else "is"
    linked = ", ".join(merged.customers) or "no Stripe customer"
    say(f"Everything of {merged.user_id} {would} {merged.into_user_id}'s: {linked}.")
    for one in merged.doubled:
        say(
            f"Two subscriptions or open pages of group {one.group}, Stripe bills both: "
            f"{', '.join(one.subscriptions)}."
        )
    if merged.state == "would_merge":
        click.echo("Nothing was written.")
        return
    print_table(("table", "rows"), [(name, rows) for name, rows in merged.moved.items() if rows])
    _print_versions({merged.into_user_id: merged.versions, merged.user_id: merged.left_versions})


def _print_erased(erased: ErasedUser) -> None:
    is_done = erased.state != "would_erase"
    say(
        f"Erased: user_key {erased.user_key} is {erased.tombstone} now."
        if is_done
        else f"user_key {erased.user_key} would be erased. Nothing was written."
    )
    print_table(
        ("table", "rows that went" if is_done else "rows that would go"),
        [(name, rows) for name, rows in erased.deleted.items() if rows],
    )
    if erased.running:
        click.echo(f"Stripe goes on to bill: {', '.join(erased.running)}.")
    if erased.payable:
        click.echo(f"These pages can still be paid, for nothing: {', '.join(erased.payable)}.")
    if erased.left_at_stripe:
        click.echo("Stripe holds these customers until they are deleted there:")
        print_table(
            ("customer", "by hand", "by Stripe's command line"),
            [(one.customer_id, one.url, one.command) for one in erased.left_at_stripe],
        )


def _print_versions(versions: dict[str, dict[str, int]]) -> None:
    print_table(
        ("readers of", "app", "version"),
        [(user_id, app, version) for user_id, by_app in versions.items() for app, version in by_app.items()],
    )
