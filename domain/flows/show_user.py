"""One user as an operator sees it: what is answered now, and everything dated that led to it."""

from datetime import datetime

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import FieldError, Invalid, Unknown
from domain.flows.grant import require_head
from domain.flows.read_catalog import Head
from domain.model import EntitlementSet, Facts, StoredSet
from domain.rules.entitlements import compute
from domain.rules.timeline import decode_timeline, segment_at
from domain.store import customers, entitlements, happenings, moves, traces
from domain.store.customers import UserRow
from domain.store.happenings import Happening
from domain.store.session import Connection
from domain.store.traces import LinkedCustomer

__all__ = ["Happening", "ShownUser", "UserAnswers", "answers_of", "require_user", "show_user"]

#: Happenings of one call, at most.
MOST = 500
_encode = msgspec.json.Encoder().encode


class UserAnswers(Struct, frozen=True, kw_only=True):
    """What one app reads now."""

    app: str
    version: int
    catalog_version: int
    entitlements: EntitlementSet


class ShownUser(Struct, frozen=True, kw_only=True):
    project: str
    user_id: str
    user_key: int
    #: Who has what this one had, by a rename or merge; None: nobody, or things came to this id since.
    moved_to: str | None
    customers: list[LinkedCustomer]
    #: By app; version 0: nothing is stored, and the catalog's defaults are read.
    answers: list[UserAnswers]
    #: The newest ones of everything that is dated, oldest first.
    timeline: list[Happening]
    #: There are older ones than the timeline holds.
    has_older: bool


async def show_user(context: Context, project: str, user_id: str, *, limit: int = 100) -> ShownUser:
    """The user with its newest `limit` happenings.

    Raises:
        Unknown: there is no such project or user. Invalid: a limit outside 1 to 500.
        Unavailable: Postgres is away.
    """
    if not 1 <= limit <= MOST:
        raise Invalid("This timeline cannot be.", errors=(FieldError("limit", f"1 to {MOST}"),))
    async with context.database.snapshot() as connection:
        user = await require_user(connection, project, user_id)
        now = user.clock_at or await context.now(connection)
        seen = await happenings.list_happenings(
            connection, project, user.user_key, before=None, limit=limit + 1
        )
        holder = await moves.find_holder(connection, project, user.user_key)
        return ShownUser(
            project=project,
            user_id=user_id,
            user_key=user.user_key,
            moved_to=None if holder is None else holder.user_id,
            customers=await traces.list_customers(connection, project, user.user_key),
            answers=await answers_of(connection, project, user.user_key, now),
            timeline=seen[:limit][::-1],
            has_older=len(seen) > limit,
        )


async def require_user(connection: Connection, project: str, user_id: str) -> UserRow:
    """Raises: Unknown, where there is no such project or user."""
    await require_head(connection, project)
    user = await customers.find_user(connection, project, user_id) if "\0" not in user_id else None
    if user is None:
        raise Unknown(
            f"Nobody knows a user {user_id!r} in project {project}: no checkout, no grant. "
            "`tollhouse find` looks in every project.",
            code="unknown_user",
        )
    return user


async def answers_of(connection: Connection, project: str, user_key: int, now: datetime) -> list[UserAnswers]:
    """What each app of the catalog reads at `now`: what is stored, else the defaults under version 0."""
    head = await require_head(connection, project)
    stored = {one.app: one for one in await entitlements.list_sets(connection, project, user_key)}
    return [
        _answers(stored[app], now) if app in stored else _defaults(head, app, now)
        for app in sorted(head.catalog.apps)
    ]


def _defaults(head: Head, app: str, now: datetime) -> UserAnswers:
    return UserAnswers(
        app=app,
        version=0,
        catalog_version=head.version,
        entitlements=compute(Facts(), head.catalog, app, now),
    )


def _answers(stored: StoredSet, now: datetime) -> UserAnswers:
    index, segment = segment_at(decode_timeline(_encode(stored.segments)), now)
    return UserAnswers(
        app=stored.app,
        version=stored.first_version + index,
        catalog_version=stored.catalog_version,
        entitlements=segment.entitlements,
    )
