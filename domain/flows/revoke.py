"""Revoke: operators' grants end. What Stripe or another grant still gives stays, and the answer names it."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import Invalid, Unknown
from domain.flows.grant import refuse_impossible_user, require_head
from domain.flows.idempotency import Keep, keep_nothing
from domain.flows.read_catalog import Head
from domain.flows.recompute import Recomputed, before_commit, publish, recompute_user
from domain.flows.record_action import Operator, record_action
from domain.flows.write_grants import versions_at
from domain.model import EntitlementSet, FeatureValue, GrantEffect, GrantTarget, Reason, SourceRef
from domain.rules.answer import answer_at
from domain.rules.catalog import is_nothing
from domain.rules.grant import grant_source
from domain.rules.new_grant import reason_faults
from domain.store import customers, grants
from domain.store.grants import GrantRow, GrantState
from domain.store.session import Connection
from domain.telemetry import get_logger

__all__ = ["ByGrant", "ByTarget", "Ending", "Operator", "Revoked", "revoke"]

log = get_logger()

HINT = "Access remains from other sources: to block it, grant with effect deny on the same target."

_decode_answers = msgspec.json.Decoder(EntitlementSet).decode


class ByGrant(Struct, frozen=True):
    grant_id: str


class ByTarget(Struct, frozen=True, kw_only=True):
    """Every grant of one user on one target."""

    user_id: str
    target_kind: GrantTarget
    target: str
    #: None: of every effect.
    effect: GrantEffect | None = None


class Ended(Struct, frozen=True, kw_only=True):
    id: str
    #: expired or revoked.
    state: GrantState


class StillGranted(Struct, frozen=True, kw_only=True):
    """A feature that a named grant gave, and that is granted without it."""

    app: str
    feature: str
    value: FeatureValue
    #: As in the app's answer; `catalog_default` has no sources.
    reason: Reason
    sources: tuple[SourceRef, ...]


class Revoked(Struct, frozen=True, kw_only=True):
    project: str
    user_id: str
    #: Ids of the grants that this call ended.
    revoked: tuple[str, ...]
    #: Named ones that were over before.
    already_ended: tuple[Ended, ...]
    #: By app: the version that its readers now get.
    versions: dict[str, int]
    still_granted_by: tuple[StillGranted, ...]
    #: What to do where something is still granted; None: nothing is.
    hint: str | None


class Ending(Struct, frozen=True, kw_only=True):
    revoked: Revoked
    #: The cache has the new answers. False: a reader may say for ten seconds what it remembers.
    is_published: bool


async def revoke(
    context: Context,
    project: str,
    named: ByGrant | ByTarget,
    reason: str,
    operator: Operator,
    *,
    keep: Keep = keep_nothing,
) -> Ending:
    """End grants. Ending one twice is a result, not an error, and leaves no second audit row.

    `keep` keeps the answer in the transaction that ends them.

    Raises:
        Unknown: there is no such project, user or grant.
        Invalid: the reason cannot be one.
        Unavailable: Postgres is away; asking again is safe.
    """
    if faults := reason_faults(reason):
        raise Invalid("Nothing was revoked.", errors=tuple(faults), code="revocation_invalid")
    async with context.database.transaction() as connection:
        head = await require_head(connection, project)
        user = await customers.lock_user(connection, await _find_user_key(connection, project, named))
        now = user.clock_at or await context.now(connection)
        rows = await _list_named(connection, project, user.user_key, named, now)
        live = [row.grant.grant_id for row in rows if row.state in {"active", "scheduled"}]
        ended = await grants.revoke_grants(
            connection, project, live, at=now, by=operator.actor, reason=reason.strip()
        )
        recomputed = await recompute_user(context, connection, user.user_key, cause="revoke")
        revoked = _revoked(head, user.user_id, rows, ended, recomputed, now)
        if ended:
            await _record(connection, operator, user.user_key, named, reason.strip(), revoked)
        await keep(connection, revoked)
        read_at = before_commit()
    # Also where nothing ended: whoever ended it may have died before its answers were published.
    is_published = await publish(context, [recomputed], read_at)
    if ended:
        log.info("grants_revoked", user_key=user.user_key, grant_ids=ended)
    return Ending(revoked=revoked, is_published=is_published)


async def _find_user_key(connection: Connection, project: str, named: ByGrant | ByTarget) -> int:
    if isinstance(named, ByGrant):
        user_key = await grants.find_holder(connection, project, named.grant_id)
        if user_key is None:
            raise _unknown_grant(f"There is no grant {named.grant_id} in project {project}")
        return user_key
    refuse_impossible_user(named.user_id)
    user_key = await customers.find_user_key(connection, project, named.user_id)
    if user_key is None:
        raise Unknown(
            f"Project {project} has no user {named.user_id!r}: nothing was ever bought by or granted to it.",
            code="unknown_user",
        )
    return user_key


async def _list_named(
    connection: Connection, project: str, user_key: int, named: ByGrant | ByTarget, now: datetime
) -> list[GrantRow]:
    if isinstance(named, ByGrant):
        found = await grants.find_grant(connection, project, named.grant_id, now)
        return [] if found is None else [found]
    rows = await grants.list_of_target(
        connection,
        project,
        user_key,
        now,
        target_kind=named.target_kind,
        target=named.target,
        effect=named.effect,
    )
    if not rows:
        effect = "" if named.effect is None else f"{named.effect} "
        raise _unknown_grant(f"The user has no {effect}grant on {named.target_kind} {named.target}")
    return rows


def _unknown_grant(said: str) -> Unknown:
    return Unknown(
        f"{said}: list them with GET /api/v1/admin/grants or `tollhouse grants`.", code="unknown_grant"
    )


def _revoked(
    head: Head,
    user_id: str,
    rows: Sequence[GrantRow],
    ended: Sequence[str],
    recomputed: Recomputed,
    now: datetime,
) -> Revoked:
    still = _still_granted(head, user_id, rows, recomputed, now)
    return Revoked(
        project=head.catalog.project,
        user_id=user_id,
        revoked=tuple(ended),
        already_ended=tuple(
            Ended(id=row.grant.grant_id, state=row.state) for row in rows if row.grant.grant_id not in ended
        ),
        versions=versions_at(recomputed, user_id, now),
        still_granted_by=still,
        hint=HINT if still else None,
    )


def _still_granted(
    head: Head, user_id: str, rows: Sequence[GrantRow], recomputed: Recomputed, now: datetime
) -> tuple[StillGranted, ...]:
    found: list[StillGranted] = []
    for _, stored in recomputed.sets:
        given = _features_given(head, stored.app, rows)
        answers = _decode_answers(answer_at(stored, user_id, now).segment.entitlements)
        found += [
            StillGranted(
                app=stored.app,
                feature=feature,
                value=answer.value,
                reason=answer.reason,
                sources=answer.sources,
            )
            for feature, answer in answers.items()
            if feature in given and answer.granted
        ]
    return tuple(found)


def _features_given(head: Head, app: str, rows: Sequence[GrantRow]) -> set[str]:
    """What the grants gave in this app; a deny, or an override with nothing, gave nothing."""
    return {
        feature
        for row in rows
        if row.grant.effect != "deny"
        for feature, value in grant_source(row.grant, head.catalog, app).values.items()
        if not is_nothing(value)
    }


async def _record(
    connection: Connection,
    operator: Operator,
    user_key: int,
    named: ByGrant | ByTarget,
    reason: str,
    revoked: Revoked,
) -> None:
    details: dict[str, object] = {"revoked": revoked.revoked, "versions": revoked.versions}
    if isinstance(named, ByGrant):
        subject = ("grant", named.grant_id)
    else:
        subject = ("user", str(user_key))
        details |= {"target": {named.target_kind: named.target}, "effect": named.effect}
    await record_action(
        connection,
        operator,
        action="grant.revoke",
        project=revoked.project,
        user_key=user_key,
        subject=subject,
        reason=reason,
        details=details,
    )
