"""The users of a project, page by page."""

from datetime import datetime

from msgspec import Struct

from domain.store.session import Connection


class UserRow(Struct, frozen=True, kw_only=True):
    user_key: int
    user_id: str
    #: Frozen time of the user's Stripe test clock; None: real time.
    clock_at: datetime | None


async def count_users(connection: Connection, project: str) -> int:
    return await connection.fetchval(  # type: ignore[no-any-return]
        "SELECT count(*) FROM users WHERE project = $1", project
    )


async def list_users(connection: Connection, project: str, after: int, limit: int) -> list[UserRow]:
    """Users with a key above `after`, by key; fewer than `limit`: these are the last."""
    rows = await connection.fetch(
        """
        SELECT user_key, user_id, clock_at FROM users
        WHERE project = $1 AND user_key > $2 ORDER BY user_key LIMIT $3
        """,
        project,
        after,
        limit,
    )
    return [UserRow(**row) for row in rows]


async def list_clocks(connection: Connection, project: str, user_ids: list[str]) -> dict[str, datetime]:
    """By user_id: the frozen time of those who are on a Stripe test clock."""
    rows = await connection.fetch(
        """
        SELECT user_id, clock_at FROM users
        WHERE project = $1 AND user_id = ANY($2::text[]) AND clock_at IS NOT NULL
        """,
        project,
        user_ids,
    )
    return {row["user_id"]: row["clock_at"] for row in rows}
