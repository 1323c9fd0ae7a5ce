"""Users who are due for a recompute: their answer changed by itself, or their project's catalog has moved on.

What is due stands in `users` alone, so whoever dies half-way leaves the rest due.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Literal

from domain.store.session import Connection

#: As history and the change feed say it.
Cause = Literal["boundary", "catalog"]


async def list_past_boundary(
    connection: Connection, now: datetime, limit: int, without: Collection[int]
) -> list[int]:
    """Keys of users whose next boundary has passed, the longest ago first.

    A test clock moves by a sync alone, which recomputes: its users are never due by the real time.
    """
    rows = await connection.fetch(
        """
        SELECT user_key FROM users
        WHERE next_boundary_at <= $1 AND clock_at IS NULL AND NOT user_key = ANY($3::bigint[])
        ORDER BY next_boundary_at LIMIT $2
        """,
        now,
        limit,
        list(without),
    )
    return [row["user_key"] for row in rows]


async def list_behind(connection: Connection, limit: int, without: Collection[int]) -> list[int]:
    """Keys of users whose answers were computed under an older catalog than their project's head."""
    rows = await connection.fetch(
        """
        SELECT u.user_key FROM projects p
        JOIN users u ON u.project = p.project AND u.catalog_version < p.catalog_version
        WHERE NOT u.user_key = ANY($2::bigint[]) LIMIT $1
        """,
        limit,
        list(without),
    )
    return [row["user_key"] for row in rows]


async def lock_due(connection: Connection, user_key: int, now: datetime) -> Cause | None:
    """The user lock, and why the user is due. None: no longer due, or somebody else is at this user."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        """
        SELECT CASE WHEN u.catalog_version < p.catalog_version THEN 'catalog' ELSE 'boundary' END
        FROM users u JOIN projects p ON p.project = u.project
        WHERE u.user_key = $1
          AND (u.catalog_version < p.catalog_version OR (u.next_boundary_at <= $2 AND u.clock_at IS NULL))
        FOR UPDATE OF u SKIP LOCKED
        """,
        user_key,
        now,
    )


async def count_behind(connection: Connection) -> int:
    """How many users `list_behind` has."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        """
        SELECT count(*) FROM projects p
        JOIN users u ON u.project = p.project AND u.catalog_version < p.catalog_version
        """
    )
