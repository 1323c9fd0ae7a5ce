"""What operators see of the grants of a project."""

from datetime import UTC, datetime, timedelta

from msgspec import Struct

from domain.context import Context
from domain.errors import FieldError, Invalid
from domain.flows.grant import refuse_impossible_user, require_head
from domain.model import FeatureValue, GrantEffect
from domain.store import grants
from domain.store.grants import GrantRow, GrantState

__all__ = ["GrantPage", "GrantState", "ListedGrant", "list_grants"]

MOST = 100
#: Nobody plans further, and the arithmetic of times must not leave the calendar.
LONGEST = timedelta(days=3660)
#: What a cursor of the list by end begins with: a place in one list is none in the other.
BY_END = "e"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ListedGrant(Struct, frozen=True, kw_only=True):
    #: gr_….
    id: str
    user_id: str
    state: GrantState
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
    revoked_at: datetime | None
    revoked_by: str | None
    revoke_reason: str | None


class GrantPage(Struct, frozen=True, kw_only=True):
    data: list[ListedGrant]
    next_cursor: str | None


async def list_grants(
    context: Context,
    project: str,
    *,
    user_id: str | None = None,
    state: GrantState | None = None,
    expiring_within: timedelta | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> GrantPage:
    """Grants of a project, newest first. `cursor` is the `next_cursor` of the page before.

    `expiring_within`: only those that are to end by themselves within so long from now, the next one first.

    Raises:
        Unknown: there is no such project.
        Invalid: a limit outside 1 to 100, a user that cannot be, a cursor that is none of this list, a span
            that no grant can have, a state that has no end to come.
    """
    if user_id is not None:
        refuse_impossible_user(user_id)
    _refuse_impossible(limit, state, expiring_within)
    mark = "" if expiring_within is None else BY_END
    place = _read_cursor(cursor, mark) if cursor is not None else None
    async with context.database.connection() as connection:
        await require_head(connection, project)
        now = await context.now(connection)
        if expiring_within is None:
            rows = await grants.list_page(
                connection, project, now, user_id=user_id, state=state, before=place, limit=limit + 1
            )
        else:
            rows = await grants.list_expiring(
                connection,
                project,
                now,
                within=expiring_within,
                user_id=user_id,
                state=state,
                after=place,
                limit=limit + 1,
            )
    page = rows[:limit]
    return GrantPage(
        data=[_listed(row) for row in page],
        next_cursor=_write_cursor(page[-1], mark) if len(rows) > limit else None,
    )


def _refuse_impossible(limit: int, state: GrantState | None, expiring_within: timedelta | None) -> None:
    wrong = []
    if not 1 <= limit <= MOST:
        wrong.append(FieldError("limit", f"1 to {MOST}"))
    if expiring_within is not None:
        if not timedelta() < expiring_within <= LONGEST:
            wrong.append(FieldError("expiring_within_s", f"more than 0, and at most {LONGEST.days} days"))
        if state in {"expired", "revoked"}:
            wrong.append(
                FieldError("state", f"what is {state} ends no more: active or scheduled, or leave it out")
            )
    if wrong:
        raise Invalid("This page cannot be.", errors=tuple(wrong))


def _listed(row: GrantRow) -> ListedGrant:
    made = row.grant
    return ListedGrant(
        id=made.grant_id,
        user_id=row.user_id,
        state=row.state,
        effect=made.effect,
        target={made.target_kind: made.target},
        value=made.value,
        starts_at=made.starts_at,
        expires_at=made.expires_at,
        reason=row.reason,
        actor=row.actor,
        created_at=made.created_at,
        revoked_at=made.revoked_at,
        revoked_by=row.revoked_by,
        revoke_reason=row.revoke_reason,
    )


def _write_cursor(row: GrantRow, mark: str) -> str:
    """Microseconds and id: nothing that a URL would have to escape; marked where it is about the ends."""
    at = row.grant.expires_at if mark == BY_END and row.grant.expires_at else row.grant.created_at
    return f"{mark}{(at - _EPOCH) // timedelta(microseconds=1)}.{row.grant.grant_id}"


def _read_cursor(cursor: str, mark: str) -> tuple[datetime, str]:
    micros, _, grant_id = cursor.removeprefix(mark).partition(".")
    try:
        if not (cursor.startswith(mark) and micros.isascii() and micros.isdigit() and grant_id):
            raise ValueError
        return _EPOCH + timedelta(microseconds=int(micros)), grant_id
    except (ValueError, OverflowError) as error:
        what = "take the next_cursor of the page before, or leave it out"
        raise Invalid("This is no cursor of this list.", errors=(FieldError("cursor", what),)) from error
