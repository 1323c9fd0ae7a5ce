"""`tollhouse explain`: why one answer is what it is, or which link between Stripe and a user is broken."""

import sys
from datetime import UTC, datetime

import click
import msgspec
from msgspec import UNSET

from domain.context import Context
from domain.errors import FieldError, Invalid
from domain.flows.explain import Explained, Question, explain_feature, list_apps_seeing
from domain.flows.repair import Repaired, repair_user
from domain.flows.trace import Trace, trace_user
from ingress.cli.grants import read_instant, this_operator
from ingress.cli.terminal import command, json_option, opened, print_json, print_table

#: The exit code where a link is broken; done otherwise is 0.
EXIT_BROKEN_LINK = 1


@click.command()
@click.argument("user_id", metavar="USER")
@click.argument("feature", metavar="[FEATURE]", required=False)
@click.option("--project", required=True, help="The project the user belongs to.")
@click.option("--app", help="The app that asks.  [default: every one, or the only one that sees FEATURE]")
@click.option("--at", help="Of a feature: such as 2026-11-20T09:00:00Z, or 2026-11-20.  [default: now]")
@click.option(
    "--as-known-now", is_flag=True, help="Of a feature: from today's facts instead of those of then."
)
@click.option("--repair", is_flag=True, help="Of a user: read Stripe again, recompute and publish first.")
@json_option
@command
async def explain(
    *,
    user_id: str,
    feature: str | None,
    project: str,
    app: str | None,
    at: str | None,
    as_known_now: bool,
    repair: bool,
    as_json: bool,
) -> None:
    """Say why USER may or may not use FEATURE: the rule, every source, and what would change it.

    Without FEATURE: every link from Stripe to the answer that readers get, the first broken one with the
    command that repairs it. Ends with 1 where a link is broken.

    \b
    tollhouse explain u_17 --project acme
    tollhouse explain u_17 export --project acme --app editor --at 2026-11-20T09:00:00Z
    """
    if feature is not None:
        _refuse(repair, "--repair", "repairs a user's links: leave FEATURE out")
        async with opened() as context:
            question = await _question(context, project, app, user_id, feature, at, as_known_now=as_known_now)
            explained = await explain_feature(context, question)
        print_json(explained) if as_json else _print_explained(explained)
        return
    _refuse(at is not None, "--at", "explains a feature: name FEATURE")
    _refuse(as_known_now, "--as-known-now", "explains a feature: name FEATURE")
    async with opened() as context:
        repaired = await repair_user(context, project, user_id, this_operator()) if repair else None
        trace = await trace_user(context, project, user_id, app=app)
    if as_json:
        print_json({"repaired": repaired, **msgspec.structs.asdict(trace)})
    else:
        _print_trace(trace, repaired)
    if trace.first_broken is not None:
        sys.exit(EXIT_BROKEN_LINK)


async def _question(
    context: Context,
    project: str,
    app: str | None,
    user_id: str,
    feature: str,
    at: str | None,
    *,
    as_known_now: bool,
) -> Question:
    return Question(
        project=project,
        app=app or await _only_app(context, project, feature),
        user_id=user_id,
        feature=feature,
        at=read_instant("--at", at, datetime.now(UTC)),
        as_known="now" if as_known_now else "then",
        shows_all=True,
    )


async def _only_app(context: Context, project: str, feature: str) -> str:
    apps = await list_apps_seeing(context, project, feature)
    _refuse(len(apps) != 1, "--app", f"needed: {feature} is seen by {', '.join(apps) or 'no app'}")
    return apps[0]


def _refuse(is_wrong: bool, option: str, what: str) -> None:  # noqa: FBT001 - it is the question itself
    if is_wrong:
        raise Invalid("The call does not say what to explain.", errors=(FieldError(option, what),))


# ── one feature ─────────────────────────────────────────────────────────────────────────────────────


def _print_explained(explained: Explained) -> None:
    verdict, rule = explained.verdict, explained.rule
    granted = "granted" if verdict.granted else "not granted"
    value = _value(verdict.value, verdict.unlimited)
    rows = [
        ("answer", f"{granted}: {value} ({verdict.reason})"),
        ("for", f"{explained.user_id}, {explained.feature} in {explained.project}/{explained.app}"),
        ("at", f"{explained.at.isoformat(timespec='seconds')}, {_basis(explained)}"),
        ("rule", f"{rule.name}: {rule.sentence}"),
        ("", f'docs/entitlements.md, "{rule.section}"'),
    ]
    if explained.default is not UNSET:
        rows.append(("default", _value(explained.default, explained.default is None)))
    if explained.arithmetic is not UNSET:
        rows.append(("arithmetic", explained.arithmetic.sentence))
    rows += [("would change it", text) for text in explained.would_change]
    rows += [("note", text) for text in explained.notes]
    print_table(("what", "said"), rows)
    click.echo()
    _print_sources(explained)


def _print_sources(explained: Explained) -> None:
    if not explained.sources:
        click.echo("No source: nothing was bought or granted that could give it.")
        return
    print_table(
        ("source", "plan", "", "because it", "life", "operator"),
        [
            (
                one.source.id,
                "/".join(part for part in (one.source.plan, one.source.price) if part),
                one.outcome,
                one.sentence,
                ", then ".join(_stretch(part.reason, part.ends_at) for part in one.life),
                f"{one.actor}: {one.operator_reason}" if one.actor is not UNSET else "",
            )
            for one in explained.sources
        ],
    )


def _stretch(reason: str, ends_at: datetime | None) -> str:
    return reason if ends_at is None else f"{reason} until {ends_at.isoformat(timespec='seconds')}"


def _basis(explained: Explained) -> str:
    match explained.basis:
        case "answered":
            said = f"as answered: version {explained.version}, made by {explained.cause}"
        case "expected":
            said = f"expected if nothing changes: version {explained.version}"
        case "recomputed":
            said = "recomputed from today's facts"
        case "defaults":
            said = "the catalog's defaults: nothing was stored"
    return f"{said}, catalog {explained.catalog_version}"


def _value(value: object, is_unlimited: object) -> str:
    return "unlimited" if is_unlimited is True else msgspec.json.encode(value).decode()


# ── the chain ───────────────────────────────────────────────────────────────────────────────────────


def _print_trace(trace: Trace, repaired: Repaired | None) -> None:
    if repaired is not None:
        click.echo(_repaired_text(repaired))
    print_table(("link", "state", "seen"), [(one.name, one.state, one.finding) for one in trace.links])
    broken = trace.first_broken
    if broken is None:
        waiting = [one for one in trace.links if one.state == "waiting"]
        click.echo("No link is broken." + (f" Waiting: {waiting[0].name}." if waiting else ""))
        hints = [one.repair for one in trace.links if one.repair is not None]
    else:
        click.echo(f"The first broken link is {broken.name}.")
        hints = [broken.repair] if broken.repair is not None else []
    for hint in hints:
        print_table(("Next",), [(hint,)])


def _repaired_text(repaired: Repaired) -> str:
    changed = ", ".join(repaired.changed) or "no app"
    read = ", ".join(repaired.customers) or "no customer"
    return f"Recomputed and published; changed for {changed}. Stripe is read again for {read}."
