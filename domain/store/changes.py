"""The change feed: one row per version that began to be answered, and the position it has in the feed.

A row is inserted by the transaction that makes the version, without a position; positions are given later,
to committed rows only, by one transaction at a time (docs/decisions/0004-positions-after-commit.md).
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from domain.model import StoredSet
from domain.store.session import Connection, rows_changed

#: Key of the advisory lock under which positions are given: any number, the same in every process.
FEED_LOCK = 7_405_190_233_114


class Change(Struct, frozen=True, kw_only=True):
    """One row of the feed, as readers get it."""

    position: int
    user_id: str
    version: int
    #: Features whose answer is another than before, sorted; empty where only a known end of it changed.
    changed: list[str]
    #: As in the history: the type of the event that led to it, `boundary`, `catalog`, ….
    cause: str
    recorded_at: datetime


async def append_changes(
    connection: Connection, stored: StoredSet, versions: Sequence[tuple[int, list[str]]], *, cause: str
) -> None:
    """Note that (version, changed features) of one user and app began to be answered, in this order.

    The caller holds the user lock, so one user's ids ascend with its versions.
    """
    await connection.execute(
        """
        INSERT INTO entitlement_changes (project, app, user_key, version, cause, changed)
        SELECT $1, $2, $3, v.version, $4, ARRAY(SELECT json_array_elements_text(v.changed::json))
        FROM unnest($5::bigint[], $6::text[]) WITH ORDINALITY AS v(version, changed, place)
        ORDER BY v.place
        ON CONFLICT (user_key, app, version) DO NOTHING
        """,
        stored.project,
        stored.app,
        stored.user_key,
        cause,
        [version for version, _ in versions],
        [msgspec.json.encode(changed).decode() for _, changed in versions],
    )


async def has_unnumbered(connection: Connection) -> bool:
    """Whether a committed row waits for its position: one look into a partial index."""
    found = await connection.fetchval(
        "SELECT EXISTS (SELECT 1 FROM entitlement_changes WHERE position IS NULL)"
    )
    return bool(found)


async def lock_feed(connection: Connection) -> None:
    """Wait until nobody else gives positions; held to the end of the transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", FEED_LOCK)


async def number_changes(connection: Connection, limit: int) -> int:
    """Give the next positions to at most `limit` committed rows, oldest id first. Answers to how many.

    The caller holds the feed's lock and took it in a statement before: this one's snapshot must see all
    that the holder before it numbered. Positions come from the sequence of the ids, which only grows: no
    position is given twice, whichever rows are deleted later.
    """
    status = await connection.execute(
        """
        WITH waiting AS MATERIALIZED (
            SELECT id FROM entitlement_changes WHERE position IS NULL ORDER BY id LIMIT $1
        ), numbered AS MATERIALIZED (
            SELECT id, nextval('entitlement_changes_id_seq') AS position FROM waiting
        )
        UPDATE entitlement_changes c SET position = n.position FROM numbered n WHERE c.id = n.id
        """,
        limit,
    )
    return rows_changed(status)


async def list_changes(
    connection: Connection, project: str, app: str, after: int, limit: int
) -> list[Change]:
    """The numbered rows of one app after a position, in the order of the feed."""
    rows = await connection.fetch(
        """
        SELECT c.position, u.user_id, c.version, c.changed, c.cause, c.recorded_at
        FROM entitlement_changes c JOIN users u ON u.user_key = c.user_key
        WHERE c.project = $1 AND c.app = $2 AND c.position > $3 AND u.erased_at IS NULL
        ORDER BY c.position LIMIT $4
        """,
        project,
        app,
        after,
        limit,
    )
    return [Change(**row) for row in rows]


async def newest_position(connection: Connection) -> int:
    """The last position given that a reader can see, or could before it was deleted; 0: none."""
    return int(
        await connection.fetchval(
            """
            SELECT greatest((SELECT max(position) FROM entitlement_changes),
                            (SELECT max(position) FROM change_feed_floors), 0)
            """
        )
    )


async def read_floor(connection: Connection, project: str, app: str) -> int:
    """The highest position of the app that was deleted: what is kept begins after it. 0: everything is."""
    floor = await connection.fetchval(
        "SELECT position FROM change_feed_floors WHERE project = $1 AND app = $2", project, app
    )
    return int(floor or 0)


async def prune_changes(connection: Connection, *, days: float, limit: int) -> int:
    """Delete the oldest numbered rows, at most `limit`, up to the first that is younger than `days`.

    Raises the floors of their apps in the same statement. In the order of positions, so that what is kept of
    an app has no hole. The caller holds the feed's lock: two of these would wait for each other's rows.
    """
    return int(
        await connection.fetchval(
            """
            WITH oldest AS MATERIALIZED (
                SELECT position, recorded_at < clock_timestamp() - make_interval(secs => $1 * 86400) AS is_old
                FROM entitlement_changes WHERE position IS NOT NULL ORDER BY position LIMIT $2
            ), ends AS (
                SELECT coalesce((SELECT min(position) FROM oldest WHERE NOT is_old),
                                (SELECT max(position) + 1 FROM oldest)) AS before
            ), deleted AS (
                DELETE FROM entitlement_changes WHERE position < (SELECT before FROM ends)
                RETURNING project, app, position
            ), raised AS (
                INSERT INTO change_feed_floors AS f (project, app, position)
                SELECT project, app, max(position) FROM deleted GROUP BY 1, 2
                ON CONFLICT (project, app) DO UPDATE SET position = greatest(f.position, excluded.position)
            )
            SELECT count(*) FROM deleted
            """,
            days,
            limit,
        )
    )


async def highest_given(connection: Connection) -> int:
    """No position higher than this was ever given, by this database or by the one it is a copy of."""
    return int(await connection.fetchval("SELECT last_value FROM entitlement_changes_id_seq"))
