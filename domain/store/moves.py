"""Moving what one user has to another: its customers, and every row that says whose something is.

The caller holds the locks of all customers and of both users. Every function is one statement.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from domain.store.customers import LockedUser
from domain.store.session import Connection, rows_changed

#: Tables whose rows follow their customers; what was answered and done stays whose it was.
MOVED = (
    "checkout_sessions",
    "subscriptions",
    "purchases",
    "invoices",
    "invoice_payments",
    "payments",
    "refunds",
    "disputes",
    "grants",
    "revenue_entries",
    "recurring_sums",
)
#: Tables that name a user and stay, with why.
STAYING = {
    "users": "both stay",
    "stripe_customers": "moved by a statement of its own: only one is primary",
    "checkout_turns": "nobody has one while a user is merged",
    "entitlements": "what the readers of each id are answered",
    "entitlement_history": "what was answered under each id",
    "entitlement_changes": "what the feed told of each id",
    "audit_log": "rows are only added",
    "reconciliation_runs": "what was compared then",
    "drifts": "what was found then; the next pass finds what is left",
}

#: Whether the user `{user}` of the project $1 has, or had, anything.
_HOLDS = """
    EXISTS (SELECT FROM stripe_customers WHERE project = $1 AND user_key = {user})
    OR EXISTS (SELECT FROM checkout_sessions WHERE project = $1 AND user_key = {user})
    OR EXISTS (SELECT FROM grants WHERE project = $1 AND user_key = {user})
"""


class OwnCustomer(Struct, frozen=True, order=True):
    customer_id: str
    user_key: int


async def list_customers(connection: Connection, project: str, user_keys: Sequence[int]) -> list[OwnCustomer]:
    """Every Stripe customer of these users, deleted ones too, by id."""
    rows = await connection.fetch(
        """
        SELECT stripe_customer_id AS customer_id, user_key FROM stripe_customers
        WHERE project = $1 AND user_key = ANY($2::bigint[]) AND stripe_customer_id IS NOT NULL
        ORDER BY stripe_customer_id
        """,
        project,
        list(user_keys),
    )
    return [OwnCustomer(**row) for row in rows]


async def move_customers(connection: Connection, project: str, source: int, target: int) -> int:
    """The target's primary customer stays; where it has none, the source's becomes it. Answers how many."""
    status = await connection.execute(
        """
        UPDATE stripe_customers SET user_key = $3,
               is_primary = is_primary AND NOT EXISTS (SELECT FROM stripe_customers
                                                       WHERE project = $1 AND user_key = $3 AND is_primary)
        WHERE project = $1 AND user_key = $2
        """,
        project,
        source,
        target,
    )
    return rows_changed(status)


async def move_rows(connection: Connection, table: str, project: str, source: int, target: int) -> int:
    status = await connection.execute(
        f"UPDATE {table} SET user_key = $3 WHERE project = $1 AND user_key = $2", project, source, target
    )
    return rows_changed(status)


async def list_divisors(
    connection: Connection, project: str, user_keys: Sequence[int]
) -> dict[str, set[int]]:
    """By currency: the divisors of these users' monthly sums."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT currency, divisor::text AS divisor FROM recurring_sums
        WHERE project = $1 AND user_key = ANY($2::bigint[])
        """,
        project,
        list(user_keys),
    )
    found: dict[str, set[int]] = {}
    for row in rows:
        found.setdefault(row["currency"], set()).add(int(row["divisor"]))
    return found


async def scale_sums(
    connection: Connection, project: str, user_keys: Sequence[int], currency: str, divisor: int
) -> None:
    """The same sums in one divisor, which each of theirs divides."""
    await connection.execute(
        """
        UPDATE recurring_sums
        SET monthly = monthly * div($4::text::numeric, divisor), divisor = $4::text::numeric
        WHERE project = $1 AND user_key = ANY($2::bigint[]) AND currency = $3
        """,
        project,
        list(user_keys),
        currency,
        str(divisor),
    )


async def highest_versions(connection: Connection, project: str, user_keys: Sequence[int]) -> dict[str, int]:
    """By app: the highest number that any of these users was ever given."""
    rows = await connection.fetch(
        """
        SELECT app, max(last_version) AS highest FROM entitlements
        WHERE project = $1 AND user_key = ANY($2::bigint[]) GROUP BY app
        """,
        project,
        list(user_keys),
    )
    return {row["app"]: row["highest"] for row in rows}


async def hand_over(connection: Connection, project: str, source: int, target: int) -> None:
    """Whose things went to the source, their things are the target's now, and the source's too.

    What the target itself had before it got things of its own stays whose it is.

    The target is a user of ours since the first of both was: what it earned before is no import.
    """
    await connection.execute(
        """
        WITH both_users AS (
            SELECT min(created_at) AS since, max(clock_at) FILTER (WHERE user_key = $2) AS source_clock
            FROM users WHERE project = $1 AND user_key IN ($2, $3)
        )
        UPDATE users u SET
            went_to = CASE WHEN u.user_key = $3 THEN nullif(u.went_to, $2) ELSE $3 END,
            created_at = CASE WHEN u.user_key = $3 THEN b.since ELSE u.created_at END,
            clock_at = CASE WHEN u.user_key = $3 THEN coalesce(u.clock_at, b.source_clock)
                            WHEN u.user_key = $2 THEN NULL ELSE u.clock_at END
        FROM both_users b WHERE u.project = $1 AND (u.user_key IN ($2, $3) OR u.went_to = $2)
        """,
        project,
        source,
        target,
    )


async def list_former(
    connection: Connection, project: str, user_key: int, *, in_use: bool = False
) -> list[int]:
    """Users whose things are this one's now, in order. `in_use`: with things of their own since, or without.

    Such things are somebody's who goes by that id now.
    """
    rows = await connection.fetch(
        f"""
        SELECT u.user_key FROM users u
        WHERE u.project = $1 AND u.went_to = $2 AND ({_HOLDS.format(user="u.user_key")}) = $3
        ORDER BY u.user_key
        """,
        project,
        user_key,
        in_use,
    )
    return [row["user_key"] for row in rows]


async def find_holder(connection: Connection, project: str, user_key: int) -> LockedUser | None:
    """Who has what this user had.

    None: nothing went away, it has things of its own since, or that one was erased.
    """
    row = await connection.fetchrow(
        f"""
        SELECT h.user_key, h.project, h.user_id, h.catalog_version, h.clock_at
        FROM users u JOIN users h ON h.user_key = u.went_to
        WHERE u.project = $1 AND u.user_key = $2 AND h.erased_at IS NULL
          AND NOT ({_HOLDS.format(user="u.user_key")})
        """,
        project,
        user_key,
    )
    return None if row is None else LockedUser(**row)


async def part_from_former(connection: Connection, table: str, project: str, user_key: int) -> None:
    """What was answered under this id until it was merged away was another's, whose things went.

    Of others who were merged into it since, it keeps what it was answered.
    """
    await connection.execute(
        f"""
        DELETE FROM {table} t USING (
            SELECT app, max(version) AS version FROM entitlement_history
            WHERE project = $1 AND user_key = $2 AND cause = 'merge' AND recorded_at <= (
                SELECT max(at) FROM audit_log
                WHERE action = 'user.merge' AND project = $1 AND (details ->> 'from')::bigint = $2
            )
            GROUP BY app
        ) merged
        WHERE t.project = $1 AND t.user_key = $2 AND t.app = merged.app AND t.version < merged.version
        """,
        project,
        user_key,
    )


class Told(Struct, frozen=True):
    """A time in which whatever was told under a user's key was told of one and the same holder."""

    user_key: int
    #: The merge by which what was told before went to be another's; None: there was none.
    after: datetime | None
    #: The merge by which it came to the holder; None: the holder's own key.
    until: datetime | None


async def list_told(connection: Connection, project: str, user_key: int) -> list[Told]:
    """What was told of this user, its own key first, then the keys that were merged into it, newest first.

    Somebody may use an id again after it was merged away: a key counts for a time, and may do so twice.
    """
    rows = await connection.fetch(
        """
        WITH RECURSIVE merges AS (
            SELECT id, at, (details ->> 'from')::bigint AS source, user_key AS target
            FROM audit_log WHERE action = 'user.merge' AND project = $1
        ), told AS (
            SELECT $2::bigint AS user_key, NULL::bigint AS until,
                   (SELECT max(id) FROM merges WHERE source = $2) AS after
            UNION ALL
            SELECT m.source, m.id, (SELECT max(b.id) FROM merges b WHERE b.source = m.source AND b.id < m.id)
            FROM told t JOIN merges m ON m.target = t.user_key
                 AND m.id > coalesce(t.after, 0) AND (t.until IS NULL OR m.id < t.until)
        )
        SELECT t.user_key, a.at AS after, u.at AS until
        FROM told t LEFT JOIN merges a ON a.id = t.after LEFT JOIN merges u ON u.id = t.until
        ORDER BY t.until DESC NULLS FIRST
        """,
        project,
        user_key,
    )
    return [Told(**row) for row in rows]


async def forget_holder(connection: Connection, project: str, user_key: int) -> None:
    """Nothing says any more whose this user's things went to be."""
    await connection.execute(
        "UPDATE users SET went_to = NULL WHERE project = $1 AND user_key = $2", project, user_key
    )


async def swap_names(connection: Connection, project: str, one: int, other: int) -> None:
    """Each gets the other's user_id. A name is unique at every moment, so one has none in between."""
    names = await connection.fetch(
        "SELECT user_key, user_id FROM users WHERE project = $1 AND user_key IN ($2, $3)", project, one, other
    )
    by_key = {row["user_key"]: row["user_id"] for row in names}
    for key, name in ((one, f"swapped {uuid.uuid4()}"), (other, by_key[one]), (one, by_key[other])):
        await connection.execute(
            "UPDATE users SET user_id = $3 WHERE project = $1 AND user_key = $2", project, key, name
        )


async def holds_anything(connection: Connection, project: str, user_key: int) -> bool:
    """Whether a user has, or had, a customer, a checkout or a grant."""
    found = await connection.fetchval(f"SELECT {_HOLDS.format(user='$2')}", project, user_key)
    return bool(found)
