"""Stored answers of many users at once, for who compares them with another system's."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from domain.store.session import Connection


class AnsweredUser(Struct, frozen=True, kw_only=True):
    user_key: int
    #: Frozen time of the user's Stripe test clock; None: real time.
    clock_at: datetime | None


async def find_users(
    connection: Connection, project: str, user_ids: Sequence[str]
) -> dict[str, AnsweredUser]:
    """By the project's own id; those that nobody knows are not in it."""
    rows = await connection.fetch(
        """
        SELECT user_id, user_key, clock_at FROM users
        WHERE project = $1 AND user_id = ANY($2::text[])
        """,
        project,
        list(user_ids),
    )
    return {row["user_id"]: AnsweredUser(user_key=row["user_key"], clock_at=row["clock_at"]) for row in rows}


async def find_timelines(
    connection: Connection, project: str, user_keys: Sequence[int]
) -> dict[tuple[int, str], bytes]:
    """(user, app) → JSON of the stored timeline."""
    rows = await connection.fetch(
        """
        SELECT user_key, app, timeline::text AS timeline FROM entitlements
        WHERE project = $1 AND user_key = ANY($2::bigint[])
        """,
        project,
        list(user_keys),
    )
    return {(row["user_key"], row["app"]): row["timeline"].encode() for row in rows}
