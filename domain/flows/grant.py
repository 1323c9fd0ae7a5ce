"""Grant: an operator gives or takes something, and every answer of the user says so before the call ends."""

from datetime import datetime
from difflib import get_close_matches

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import FieldError, Invalid, Unknown
from domain.flows.make_user import lock_or_make_user
from domain.flows.read_catalog import Head, find_head
from domain.flows.recompute import before_commit, publish, recompute_user
from domain.flows.record_action import Operator
from domain.flows.write_grants import ACTION, Written, digest_of, key_reused, new_grant, write_grants
from domain.model import FeatureValue, Grant, GrantEffect
from domain.rules.new_grant import GrantWish
from domain.rules.outranked import Outranking, describe_outranking
from domain.store import audit, catalogs, customers, grants
from domain.store.customers import LockedUser
from domain.store.grants import KeyedGrant, NewGrant
from domain.store.session import Connection
from domain.telemetry import get_logger

__all__ = ["Given", "GrantWish", "Granted", "Operator", "Outranking", "grant"]

log = get_logger()

#: As at the doors (docs/api.md).
USER_ID_LENGTH = 255


class Given(Struct, frozen=True, kw_only=True):
    """A grant as its operator is answered; nothing of it ever changes."""

    #: gr_….
    id: str
    project: str
    user_id: str
    effect: GrantEffect
    #: Kind (feature, plan, app or project) → key.
    target: dict[str, str]
    #: None: all that the target can be.
    value: FeatureValue
    starts_at: datetime
    expires_at: datetime | None
    reason: str
    actor: str
    created_at: datetime
    #: By app: the version that its readers now get.
    versions: dict[str, int]
    #: Grants that keep this one from counting, as far as they reach; empty: it counts.
    outranked_by: tuple[Outranking, ...]
    #: What to do about those; None: there are none.
    hint: str | None


class Granted(Struct, frozen=True, kw_only=True):
    given: Given
    #: The same call had made it before, under its idempotency key.
    is_replayed: bool
    #: The cache has the new answers. False: a reader may say for ten seconds what it remembers.
    is_published: bool


async def grant(
    context: Context,
    project: str,
    user_id: str,
    wish: GrantWish,
    operator: Operator,
    *,
    idempotency_key: str | None = None,
) -> Granted:
    """Make a grant; unknown users are created. The same call under the same key makes one grant.

    Row, audit row and new answers are one transaction under the user lock; the cache follows before this
    returns.

    Raises:
        Unknown: there is no such project.
        Conflict: the user was erased.
        Invalid: what cannot be, by name; or the idempotency key stands for another call.
        Unavailable: Postgres is away; with an idempotency key asking again is safe.
    """
    refuse_impossible_user(user_id)
    digest = digest_of(user_id, wish)
    async with context.database.transaction() as connection:
        head = await require_head(connection, project)
        user = await _lock_or_make_user(context, connection, project, user_id)
        now = user.clock_at or await context.now(connection)
        kept = await _find_kept(connection, project, idempotency_key, digest, now)
        if kept is not None:
            recomputed = await recompute_user(context, connection, user.user_key, cause="grant")
            given = await _given_before(connection, project, kept)
        else:
            new = new_grant(head, user, wish, operator, now, idempotency_key=idempotency_key)
            written = await write_grants(
                context, connection, head, [new], user_id=user_id, operator=operator, now=now
            )
            recomputed, given = written.recomputed, _given_now(new, user_id, written)
        read_at = before_commit()
    # Also of a grant that was there: whoever made it may have died before its answers were published.
    is_published = await publish(context, [recomputed], read_at)
    if kept is None:
        log.info("grant_created", grant_id=given.id, user_key=user.user_key, effect=given.effect)
    return Granted(given=given, is_replayed=kept is not None, is_published=is_published)


def refuse_impossible_user(user_id: str) -> None:
    if not 1 <= len(user_id) <= USER_ID_LENGTH or "\0" in user_id:
        what = f"1 to {USER_ID_LENGTH} characters, without NUL"
        raise Invalid("This cannot be a user's id.", errors=(FieldError("user_id", what),))


async def require_head(connection: Connection, project: str) -> Head:
    """Raises: Unknown, where no catalog of this project was ever applied, with the nearest project."""
    head = await find_head(connection, project)
    if head is None:
        known = await catalogs.list_projects(connection)
        near = get_close_matches(project, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}."
        raise Unknown(f"There is no project {project!r}; {hint}", code="unknown_project")
    return head


async def _lock_or_make_user(
    context: Context, connection: Connection, project: str, user_id: str
) -> LockedUser:
    user_key = await lock_or_make_user(context, connection, project, user_id)
    return await customers.lock_user(connection, user_key)


async def _find_kept(
    connection: Connection, project: str, idempotency_key: str | None, digest: bytes, now: datetime
) -> KeyedGrant | None:
    if idempotency_key is None:
        return None
    kept = await grants.find_keyed(connection, project, idempotency_key, now)
    if kept is not None and kept.request_sha256 != digest:
        raise key_reused()
    return kept


def _given_now(new: NewGrant, user_id: str, written: Written) -> Given:
    return _given(
        new.grant,
        project=new.project,
        user_id=user_id,
        reason=new.reason,
        actor=new.actor,
        details=_Details(versions=written.versions, outranked_by=written.outranked_by[new.grant.grant_id]),
    )


async def _given_before(connection: Connection, project: str, kept: KeyedGrant) -> Given:
    """What the first call was answered: the audit row of the grant holds what else was said then."""
    row = kept.row
    details = await audit.find_details(
        connection, project, row.user_key, action=ACTION, subject_id=row.grant.grant_id
    )
    return _given(
        row.grant,
        project=project,
        user_id=row.user_id,
        reason=row.reason,
        actor=row.actor,
        details=msgspec.json.decode(details, type=_Details) if details is not None else _Details(),
    )


class _Details(Struct, frozen=True, kw_only=True):
    """What a row of the audit log tells of its grant; older rows say less."""

    versions: dict[str, int] = {}
    outranked_by: tuple[Outranking, ...] = ()


def _given(made: Grant, *, project: str, user_id: str, reason: str, actor: str, details: _Details) -> Given:
    return Given(
        id=made.grant_id,
        project=project,
        user_id=user_id,
        effect=made.effect,
        target={made.target_kind: made.target},
        value=made.value,
        starts_at=made.starts_at,
        expires_at=made.expires_at,
        reason=reason,
        actor=actor,
        created_at=made.created_at,
        versions=details.versions,
        outranked_by=details.outranked_by,
        hint=describe_outranking(details.outranked_by),
    )
