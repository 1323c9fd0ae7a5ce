"""`tollhouse scheduler`: who leads, what the timed jobs do, and an operator's word to them."""

import asyncio
import sys
from datetime import datetime

import click

from domain.context import Context
from domain.errors import Unavailable
from domain.flows.order_jobs import Ordered, pause_job, resume_job, run_job
from domain.flows.show_jobs import (
    MOST,
    JobRun,
    SchedulerShown,
    ShownJob,
    is_silent,
    list_job_runs,
    show_scheduler,
)
from ingress.cli.grants import this_operator
from ingress.cli.terminal import EXIT_BROKEN, command, json_option, opened, print_json, print_table, say

#: What `run` waits for the end of the turn, and between two looks.
WAIT_S, LOOK_S = 60.0, 0.2
#: A turn is shown in milliseconds below this.
MILLISECONDS_BELOW_S = 10.0

job_argument = click.argument("job")
reason_option = click.option("--reason", help="Why, for the audit log.")


@click.group()
def scheduler() -> None:
    """See who leads and what the timed jobs do; pause, resume or run one."""


@scheduler.command(name="list")
@json_option
@command
async def list_(*, as_json: bool) -> None:
    """List the jobs, those that are not well first."""
    async with opened() as context:
        seen = await show_scheduler(context)
    if as_json:
        print_json(seen)
        return
    click.echo(_leader(seen) + "\n")
    print_table(
        ("job", "", "by", "every", "last", "took", "did", "says"),
        [(one.job, one.state, one.who, f"{one.every_s:g} s", *_last(one), _says(one)) for one in seen.data],
    )


@scheduler.command()
@click.argument("job", required=False)
@click.option("--cursor", help="The next_cursor of the page before.")
@click.option("--limit", type=click.IntRange(1, MOST), default=20, show_default=True)
@json_option
@command
async def runs(*, job: str | None, cursor: str | None, limit: int, as_json: bool) -> None:
    """List what JOB did and is at, or all of them, newest first.

    Quick turns without anything to do leave no row, and those that ended alike within a minute share one.
    """
    async with opened() as context:
        page = await list_job_runs(context, job, cursor=cursor, limit=limit)
    if as_json:
        print_json(page)
        return
    if not page.data:
        click.echo("No turn did anything, failed, was asked for or took seconds in the last 14 days.")
        return
    print_table(
        ("job", "began", "turns", "took", "did", "on", "asked by", "error"),
        [
            (
                *(one.job, _second(one.started_at), one.turns, _lasted(one), one.done),
                *(one.ran_by, one.asked_by, _went(one)),
            )
            for one in page.data
        ],
    )
    if page.next_cursor:
        click.echo(f"More: add --cursor {page.next_cursor}", err=True)


@scheduler.command()
@job_argument
@click.option("--reason", required=True, help="Why, for the audit log and whoever finds it paused.")
@json_option
@command
async def pause(*, job: str, reason: str, as_json: bool) -> None:
    """Give JOB no further turn until it is resumed; `tollhouse status` is degraded meanwhile."""
    async with opened() as context:
        ordered = await pause_job(context, job, reason, this_operator())
    _say(
        ordered, as_json=as_json, text=f"{job} is paused. Next, in time: `tollhouse scheduler resume {job}`."
    )


@scheduler.command()
@job_argument
@reason_option
@json_option
@command
async def resume(*, job: str, reason: str | None, as_json: bool) -> None:
    """Give JOB its turns again."""
    async with opened() as context:
        ordered = await resume_job(context, job, this_operator(), reason=reason)
    _say(ordered, as_json=as_json, text=f"{job} runs again, from its next turn on.")


@scheduler.command()
@job_argument
@reason_option
@json_option
@command
async def run(*, job: str, reason: str | None, as_json: bool) -> None:
    """Give JOB one turn now, by the scheduler that leads, and wait for its end.

    A paused job stays paused after it. fill_gaps and reconcile do their work whether or not it is time.
    Ends with 1 where the turn failed.
    """
    async with opened() as context:
        ordered = await run_job(context, job, this_operator(), reason=reason)
        ran = await _until_run(context, ordered)
    if as_json:
        print_json(ran)
    else:
        ended = "went well" if ran.error is None else f"failed: {ran.error}"
        say(f"{job} on {ran.ran_by}: {ended}, {ran.done} done in {_took(ran.duration_s)}.")
    if ran.error is not None:
        sys.exit(EXIT_BROKEN)


async def _until_run(context: Context, ordered: Ordered) -> JobRun:
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                # A run is kept from its first turn on, and the wish stands until the last one has ended.
                page = None if await _stands(context, ordered) else await list_job_runs(context, ordered.job)
                for one in page.data if page is not None else ():
                    if one.asked_by is not None and _ended_after(one, ordered.asked_at):
                        return one
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise Unavailable(
            f"{ordered.job} is asked for and has not ended in {WAIT_S:g} s: `tollhouse scheduler runs "
            f"{ordered.job}` says how far it is, `tollhouse scheduler list` whether a scheduler leads. "
            "It runs as soon as one does."
        ) from None


def _ended_after(one: JobRun, asked_at: datetime | None) -> bool:
    return one.ended_at is not None and asked_at is not None and one.ended_at >= asked_at


async def _stands(context: Context, ordered: Ordered) -> bool:
    shown = (await show_scheduler(context)).data
    return any(one.job == ordered.job and one.asked_at == ordered.asked_at for one in shown)


def _say(ordered: Ordered, *, as_json: bool, text: str) -> None:
    if as_json:
        print_json(ordered)
    else:
        click.echo(text)


def _leader(seen: SchedulerShown) -> str:
    if seen.leader is None:
        return "No scheduler leads: start one (`python -m workers.scheduler`)."
    return f"{seen.leader.name} leads since {_second(seen.leader.since)}."


def _last(one: ShownJob) -> tuple[str, str, str]:
    if one.last is None:
        return "never", "", ""
    did = f"{one.last.done} {one.counts}" if one.last.done else ""
    return _second(one.last.ended_at), _took(one.last.duration_s), did


def _says(one: ShownJob) -> str:
    if one.paused is not None:
        return f"paused by {one.paused.by} since {_second(one.paused.at)}: {one.paused.reason}"
    if one.running is not None:
        return f"running for {one.running.for_s:.0f} s on {one.running.on}"
    if one.last is not None and one.last.error is not None:
        return f"{one.last.failures} times in a row: {one.last.error}"
    return one.says


def _lasted(one: JobRun) -> str:
    return _took(one.duration_s) if one.running_s is None else f"running for {one.running_s:.0f} s"


def _went(one: JobRun) -> str | None:
    if is_silent(one.unheard_s):
        return (
            f"its scheduler has said nothing for {one.unheard_s:.0f} s: the next that leads ends this run; "
            "`tollhouse scheduler list` says whether one does"
        )
    return f"{one.error} (ended by {one.ended_by})" if one.ended_by is not None else one.error


def _took(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < MILLISECONDS_BELOW_S else f"{seconds:.0f} s"


def _second(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds")
