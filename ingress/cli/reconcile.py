"""`tollhouse reconcile`: what differs between Stripe, mirror, answers and cache, and its repair."""

import sys

import click

from domain.context import Context
from domain.errors import FieldError, Invalid
from domain.flows.reconcile import (
    Drift,
    RunDetail,
    Wish,
    abandon,
    begin,
    find_unattended,
    list_runs,
    see_through,
    show_run,
)
from ingress.cli.grants import this_operator
from ingress.cli.progress import progress
from ingress.cli.terminal import command, json_option, opened, print_json, print_table, say

#: Of a check that found something; 1 to 3 say that the command itself failed.
EXIT_DRIFT = 4
#: Of a pass that another process saw fail, or that an operator gave up meanwhile.
EXIT_UNENDED = 1


@click.command()
@click.option("--project", help="Only what belongs to this project.  [default: everything]")
@click.option("--user", "user_id", help="Only this user of the project, and everything of it.")
@click.option("--check", is_flag=True, help="Name what differs, repair nothing; ends with 4 if there is any.")
@click.option(
    "--full",
    is_flag=True,
    help="Refunds, disputes and finished checkouts of any age, too.  [default: of seven days]",
)
@click.option("--runs", "is_list", is_flag=True, help="List the newest runs instead.")
@click.option("--run", "run_id", help="Show what this run has named, instead.")
@click.option(
    "--abandon",
    "is_abandoned",
    is_flag=True,
    help="Give up the running pass (or --run) instead: it cannot end.",
)
@click.option("--reason", help="Why, for the audit log; of --abandon, for whoever looks at the run, too.")
@json_option
@command
async def reconcile(
    *,
    project: str | None,
    user_id: str | None,
    check: bool,
    full: bool,
    is_list: bool,
    run_id: str | None,
    is_abandoned: bool,
    reason: str | None,
    as_json: bool,
) -> None:
    """Compare Stripe with the mirror, the mirror with the answers, the answers with the cache.

    What differs twice is named. What Stripe can tell is read again through an internal event, which a worker
    takes within seconds; for the rest the command to use is said. Reads within the budget of the background.
    A pass that a dead process left behind is carried on first. One at a time: --abandon ends what cannot end.
    """
    if is_abandoned:
        _refuse_beside_abandon(user_id, check=check, full=full, is_list=is_list)
        await _give_up(project, run_id, reason, as_json=as_json)
        return
    if is_list or run_id is not None:
        await _look_back(project, run_id, as_json=as_json)
        return
    wish = Wish(project=project, user_id=user_id, is_check=check, is_full=full)
    async with opened("stripe-cli") as context:
        detail = await _run(context, wish, reason)
    if as_json:
        print_json(detail)
    else:
        _print(detail)
    if detail.run.state != "done":
        sys.exit(EXIT_UNENDED)
    if check and detail.drifts:
        sys.exit(EXIT_DRIFT)


def _refuse_beside_abandon(user_id: str | None, *, check: bool, full: bool, is_list: bool) -> None:
    """Whoever names more may mean another pass than the one that is running."""
    if user_id is not None or check or full or is_list:
        said = FieldError(
            "--abandon", "goes with --run, --project and --reason alone; a new pass is another call"
        )
        raise Invalid("The call does not say what to do.", errors=(said,))


async def _give_up(project: str | None, run_id: str | None, reason: str | None, *, as_json: bool) -> None:
    async with opened() as context:
        run = await abandon(context, run_id, this_operator(), project=project, reason=reason)
    if as_json:
        print_json(run)
        return
    say(f"{run.id} is over at {run.stage}, {run.error}. What it named and repaired stays.")
    say("Next: mend what kept it from its end, then tollhouse reconcile. The nightly pass comes by itself.")


async def _look_back(project: str | None, run_id: str | None, *, as_json: bool) -> None:
    """What earlier runs have found; Stripe is not asked."""
    async with opened() as context:
        if run_id is not None:
            detail = await show_run(context, project, run_id)
            print_json(detail) if as_json else _print(detail)
            return
        page = await list_runs(context, project)
    if as_json:
        print_json(page)
        return
    print_table(
        ("run", "state", "of", "by", "started", "drifts", "healing"),
        [
            (
                f"{one.id} (check)" if one.check else one.id,
                one.state,
                one.project or "everything",
                one.actor,
                one.started_at.isoformat(timespec="seconds"),
                one.counts.drifts,
                one.counts.repaired,
            )
            for one in page.data
        ],
    )


async def _run(context: Context, wish: Wish, reason: str | None) -> RunDetail:
    with progress("comparing") as show:
        left = await find_unattended(context)
        if left is not None:
            click.echo(f"{left} goes on first; `tollhouse reconcile --abandon` gives it up.", err=True)
            await see_through(context, left, progress=show)
        run = await begin(context, wish, this_operator(), reason=reason)
        await see_through(context, run.id, progress=show)
    return await show_run(context, None, run.id)


def _print(detail: RunDetail) -> None:
    counts = detail.run.counts
    if detail.run.error is not None:
        say(f"{detail.run.id} {detail.run.state}: {detail.run.error}")
    click.echo(
        f"{detail.run.id}: {counts.compared} compared ({counts.pending} wait for their events), "
        f"{counts.foreign} of others, {counts.reads} reads of Stripe: "
        f"{counts.drifts} drifts, {counts.repaired} are being healed."
    )
    if not detail.drifts:
        return
    click.echo()
    print_table(
        ("", "drift", "user", "object", "found"),
        [(one.severity, one.type, one.user_id, one.object_id, one.found) for one in detail.drifts],
    )
    click.echo()
    if (more := counts.drifts - len(detail.drifts)) > 0:
        say(f"{more} more are not shown: `tollhouse reconcile --project … --user …` names those of one user.")
    for type_, says, next_ in sorted({(one.type, one.says, _next(one)) for one in detail.drifts}):
        say(f"{type_}: {says}.\n  Next: {next_}")


def _next(drift: Drift) -> str:
    if drift.next is not None:
        return drift.next
    if drift.repair is not None:
        return "nothing: it is read again within seconds; `tollhouse reconcile --check` then says so"
    return "the same command without --check has it read again"
