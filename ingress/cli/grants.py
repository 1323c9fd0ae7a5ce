"""`tollhouse grant` and `revoke`: an operator's exceptions from a terminal."""

import getpass
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import click

from domain.errors import FieldError, Invalid
from domain.flows.grant import Granted, GrantWish
from domain.flows.grant import grant as make_grant
from domain.flows.idempotency import KEY_LENGTH
from domain.flows.import_grants import read_value
from domain.flows.record_action import Operator
from domain.flows.revoke import ByGrant, ByTarget, Ending
from domain.flows.revoke import revoke as end_grants
from domain.model import GrantEffect, GrantTarget
from ingress.cli.terminal import command, json_option, opened, print_json, print_table, say

EFFECTS: tuple[GrantEffect, ...] = get_args(GrantEffect)

#: Where a command has stored new answers, and the cache has not taken them.
UNPUBLISHED = (
    "The cache did not take the new answers: readers may say what they remember for up to 10 s. "
    "TOLLHOUSE_CACHE_URL (or TOLLHOUSE_REDIS_URL) says which cache this terminal writes to; "
    "`tollhouse status` says whether it answers."
)

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}
_is_span = re.compile(r"(?P<count>\d{1,6})(?P<unit>[dhm])").fullmatch

project_option = click.option("--project", required=True, help="The project the user belongs to.")
reason_option = click.option("--reason", required=True, help="Why, for the audit log.")


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--feature`, `--plan`, `--app` or `--whole-project`."""
    options = (
        click.option("--feature", help="One feature."),
        click.option("--plan", help="Everything the plan grants."),
        click.option("--app", help="Everything the app sees."),
        click.option("--whole-project", is_flag=True, help="Everything the project has."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.command()
@click.argument("user_id", metavar="USER")
@project_option
@target_options
@click.option("--effect", type=click.Choice(EFFECTS), default="allow", show_default=True)
@click.option("--value", help="As JSON or a plain word: 5, unlimited, true, priority, '[\"png\"]'.")
@click.option("--starts", help="Such as 2026-12-01T09:00:00Z, 2026-12-01 or 3h.  [default: now]")
@click.option("--expires", help="Such as 2026-12-31 or 30d.  [default: never]")
@click.option("--idempotency-key", help="The same call under the same key makes one grant.")
@reason_option
@json_option
@command
async def grant(
    *,
    user_id: str,
    project: str,
    feature: str | None,
    plan: str | None,
    app: str | None,
    whole_project: bool,
    effect: GrantEffect,
    value: str | None,
    starts: str | None,
    expires: str | None,
    idempotency_key: str | None,
    reason: str,
    as_json: bool,
) -> None:
    """Give USER something, or take it away, whatever Stripe says.

    \b
    tollhouse grant u_17 --project acme --feature export --expires 30d --reason "trial by phone"
    tollhouse grant u_17 --project acme --feature seats --effect add --value 5 --reason "workshop"
    tollhouse grant u_17 --project acme --app editor --effect deny --reason "abuse, case 12"
    """
    kind, target = _one_target(project, feature, plan, app, whole_project=whole_project)
    refuse_impossible_key("--idempotency-key", idempotency_key)
    now = datetime.now(UTC)
    wish = GrantWish(
        effect=effect,
        target_kind=kind,
        target=target,
        value=read_value(value),
        starts_at=read_instant("--starts", starts, now),
        expires_at=read_instant("--expires", expires, now),
        reason=reason,
    )
    async with opened() as context:
        granted = await make_grant(
            context, project, user_id, wish, this_operator(), idempotency_key=idempotency_key
        )
    if as_json:
        print_json(granted.given)
        warn_unpublished(is_published=granted.is_published)
        return
    _print_granted(granted)


def _print_granted(granted: Granted) -> None:
    given = granted.given
    if granted.is_replayed:
        click.echo("The same call was made before under this key; nothing was made now.")
    ((kind, target),) = given.target.items()
    until = "without an end" if given.expires_at is None else f"until {given.expires_at.isoformat()}"
    say(f"{given.id}: {given.effect} {kind} {target} for {given.user_id}, {until}.")
    if given.hint is not None:
        click.echo(given.hint)
    _print_versions(given.versions, is_published=granted.is_published)


@click.command()
@click.argument("grant_or_user", metavar="GRANT_ID|USER")
@project_option
@target_options
@click.option("--effect", type=click.Choice(EFFECTS), help="Of a target: grants of this effect only.")
@reason_option
@json_option
@command
async def revoke(
    *,
    grant_or_user: str,
    project: str,
    feature: str | None,
    plan: str | None,
    app: str | None,
    whole_project: bool,
    effect: GrantEffect | None,
    reason: str,
    as_json: bool,
) -> None:
    """End one grant, or every grant of a user on one target. Nothing else is taken away.

    \b
    tollhouse revoke gr_0123… --project acme --reason "case closed"
    tollhouse revoke u_17 --project acme --feature export --reason "case closed"
    """
    named: ByGrant | ByTarget
    if any((feature, plan, app, whole_project)):
        kind, target = _one_target(project, feature, plan, app, whole_project=whole_project)
        named = ByTarget(user_id=grant_or_user, target_kind=kind, target=target, effect=effect)
    elif effect is None and grant_or_user.startswith("gr_"):
        named = ByGrant(grant_or_user)
    else:
        raise _refused("GRANT_ID|USER", "name a grant (gr_…), or a user and one target such as --feature")
    async with opened() as context:
        ending = await end_grants(context, project, named, reason, this_operator())
    if as_json:
        print_json(ending.revoked)
        warn_unpublished(is_published=ending.is_published)
        return
    _print_ended(ending)


def _print_ended(ending: Ending) -> None:
    revoked = ending.revoked
    for grant_id in revoked.revoked:
        click.echo(f"{grant_id}: revoked.")
    for ended in revoked.already_ended:
        click.echo(f"{ended.id}: already {ended.state}.")
    _print_versions(revoked.versions, is_published=ending.is_published)
    if revoked.still_granted_by:
        print_table(
            ("still granted", "app", "reason", "by"),
            [
                (still.feature, still.app, still.reason, ", ".join(source.id for source in still.sources))
                for still in revoked.still_granted_by
            ],
        )
        click.echo(revoked.hint)


def this_operator() -> Operator:
    """Whoever sits at the terminal."""
    return Operator(actor=f"cli:{_os_user()}")


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user need not have a name.
        return "unknown"


def _one_target(
    project: str, feature: str | None, plan: str | None, app: str | None, *, whole_project: bool
) -> tuple[GrantTarget, str]:
    named: list[tuple[GrantTarget, str | None]] = [
        ("feature", feature),
        ("plan", plan),
        ("app", app),
        ("project", project if whole_project else None),
    ]
    found = [(kind, key) for kind, key in named if key is not None]
    if len(found) != 1:
        raise _refused("--feature", "name exactly one of --feature, --plan, --app, --whole-project")
    return found[0]


def read_instant(option: str, text: str | None, now: datetime, *, is_past: bool = False) -> datetime | None:
    """A time, a day (its beginning, in UTC) or a span from now, `is_past`: so long ago; always in UTC."""
    if text is None:
        return None
    try:
        if span := _is_span(text):
            length = timedelta(**{_UNITS[span["unit"]]: int(span["count"])})
            return now - length if is_past else now + length
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        what = f"is {text!r}: write a time such as 2026-12-31T18:00:00Z, a day, or a span such as 30d or 12h"
        raise _refused(option, what) from error


def refuse_impossible_key(option: str, key: str | None) -> None:
    if key is not None and not (1 <= len(key) <= KEY_LENGTH and key.isascii() and key.isprintable()):
        raise _refused(option, f"1 to {KEY_LENGTH} printable ASCII characters")


def _print_versions(versions: dict[str, int], *, is_published: bool) -> None:
    shown = ", ".join(f"{app} {version}" for app, version in sorted(versions.items()))
    when = "Readable now" if is_published else "Stored"
    click.echo(f"{when}, by app and version: {shown}.")
    warn_unpublished(is_published=is_published)


def warn_unpublished(*, is_published: bool) -> None:
    if not is_published:
        click.echo(UNPUBLISHED, err=True)


def _refused(option: str, what: str) -> Invalid:
    return Invalid("The call names something that cannot be.", errors=(FieldError(option, what),))
