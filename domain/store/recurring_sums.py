"""Sums over the history of what subscriptions come to a month. An instant sees what held just before it."""

from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction

from msgspec import Struct

from domain.store.session import Connection, Record


class SumChange(Struct, frozen=True, kw_only=True):
    """What one plan's, app's and standing's sum is at first (number -1), or how it changes in an interval."""

    number: int
    currency: str
    plan: str
    app: str
    standing: str
    monthly: Fraction
    subscriptions: int


class Movement(Struct, frozen=True, kw_only=True):
    """What became of the users of one kind in an interval."""

    number: int
    currency: str
    #: new, reactivated, imported, churned, upgraded, downgraded.
    kind: str
    users: int
    #: After less before.
    monthly: Fraction


class TrialCount(Struct, frozen=True, kw_only=True):
    number: int
    currency: str
    #: Users whose last trial ended in the interval.
    ended: int
    #: Of these, users who did not pay before it and do after it.
    converted: int


async def list_changes(
    connection: Connection,
    project: str,
    edges: Sequence[datetime],
    app: str | None,
    currency: str | None,
) -> list[SumChange]:
    """What held before the first edge, and what each interval `[edges[i], edges[i + 1])` changed of it."""
    rows = await connection.fetch(
        """
        SELECT number, currency, plan, app, standing, divisor::text AS divisor, sum(monthly)::text AS monthly,
               sum(subscriptions) AS subscriptions
        FROM (
            SELECT -1 AS number, currency, plan, app, standing, divisor, monthly,
                   CASE WHEN is_counted OR $3::text IS NOT NULL THEN subscriptions ELSE 0 END AS subscriptions
            FROM recurring_sums WHERE project = $1 AND begins_at < $5 AND (ends_at IS NULL OR ends_at >= $5)
              AND ($3::text IS NULL OR app = $3) AND ($4::text IS NULL OR currency = $4)
            UNION ALL
            SELECT width_bucket(begins_at, $2::timestamptz[]) - 1, currency, plan, app, standing, divisor,
                   monthly, CASE WHEN is_counted OR $3::text IS NOT NULL THEN subscriptions ELSE 0 END
            FROM recurring_sums WHERE project = $1 AND begins_at >= $5 AND begins_at < $6
              AND ($3::text IS NULL OR app = $3) AND ($4::text IS NULL OR currency = $4)
            UNION ALL
            SELECT width_bucket(ends_at, $2::timestamptz[]) - 1, currency, plan, app, standing, divisor,
                   -monthly, CASE WHEN is_counted OR $3::text IS NOT NULL THEN -subscriptions ELSE 0 END
            FROM recurring_sums WHERE project = $1 AND ends_at >= $5 AND ends_at < $6
              AND ($3::text IS NULL OR app = $3) AND ($4::text IS NULL OR currency = $4)
        ) changes
        GROUP BY number, currency, plan, app, standing, divisor
        """,
        project,
        list(edges),
        app,
        currency,
        edges[0],
        edges[-1],
    )
    return [
        SumChange(
            number=row["number"],
            currency=row["currency"],
            plan=row["plan"],
            app=row["app"],
            standing=row["standing"],
            monthly=Fraction(int(row["monthly"]), int(row["divisor"])),
            subscriptions=int(row["subscriptions"]),
        )
        for row in rows
    ]


#: One row per user, currency and interval in which anything of theirs changed: the sum that is paid before
#: and after it, each in the one divisor that a user's rows of an instant have, and what names the change.
_STATES = """
    WITH touched AS (
        SELECT width_bucket(begins_at, $2::timestamptz[]) AS number, user_key, currency FROM recurring_sums
        WHERE project = $1 AND begins_at >= $5 AND begins_at < $6
          AND ($3::text IS NULL OR app = $3) AND ($4::text IS NULL OR currency = $4)
        UNION
        SELECT width_bucket(ends_at, $2::timestamptz[]), user_key, currency FROM recurring_sums
        WHERE project = $1 AND ends_at >= $5 AND ends_at < $6
          AND ($3::text IS NULL OR app = $3) AND ($4::text IS NULL OR currency = $4)
    ), spans AS (
        SELECT number, user_key, currency, ($2::timestamptz[])[number] AS lo,
               ($2::timestamptz[])[number + 1] AS hi
        FROM touched
    ), rows AS (
        SELECT s.number, s.user_key, s.currency, r.monthly, r.divisor, r.is_import,
               r.standing = 'trial' AS is_trial,
               r.begins_at < s.lo AS is_old,
               r.begins_at < s.lo AND (r.ends_at IS NULL OR r.ends_at >= s.lo) AS is_before,
               r.begins_at < s.hi AND (r.ends_at IS NULL OR r.ends_at >= s.hi) AS is_after
        FROM spans s
        JOIN recurring_sums r ON r.user_key = s.user_key AND r.currency = s.currency AND r.project = $1
             AND r.begins_at < s.hi AND ($3::text IS NULL OR r.app = $3)
    ), states AS (
        SELECT number, user_key, currency,
               coalesce(sum(monthly) FILTER (WHERE is_before AND NOT is_trial), 0) AS before,
               coalesce(max(divisor) FILTER (WHERE is_before AND NOT is_trial), 1) AS before_divisor,
               coalesce(sum(monthly) FILTER (WHERE is_after AND NOT is_trial), 0) AS after,
               coalesce(max(divisor) FILTER (WHERE is_after AND NOT is_trial), 1) AS after_divisor,
               coalesce(bool_or(is_old AND NOT is_trial AND monthly > 0), false) AS has_paid,
               coalesce(bool_or(is_after AND is_import), false) AS is_import,
               coalesce(bool_or(is_trial AND is_after), false) AS is_on_trial,
               coalesce(bool_or(is_trial AND NOT is_old OR is_trial AND is_before), false) AS had_trial
        FROM rows GROUP BY number, user_key, currency
    )
"""


async def list_movements(
    connection: Connection,
    project: str,
    edges: Sequence[datetime],
    app: str | None,
    currency: str | None,
) -> list[Movement]:
    """Users whose paid sum differs between the ends of an interval, by what that is called."""
    rows = await connection.fetch(
        f"""
        {_STATES}
        SELECT number - 1 AS number, currency, kind, before_divisor::text, after_divisor::text,
               count(*) AS users, sum(before)::text AS before, sum(after)::text AS after
        FROM (
            SELECT *, CASE
                WHEN before = 0 AND after > 0 AND has_paid THEN 'reactivated'
                WHEN before = 0 AND after > 0 AND is_import THEN 'imported'
                WHEN before = 0 AND after > 0 THEN 'new'
                WHEN before > 0 AND after = 0 THEN 'churned'
                WHEN after * before_divisor > before * after_divisor THEN 'upgraded'
                WHEN after * before_divisor < before * after_divisor THEN 'downgraded'
            END AS kind FROM states
        ) named
        WHERE kind IS NOT NULL
        GROUP BY number, currency, kind, before_divisor, after_divisor
        """,
        project,
        list(edges),
        app,
        currency,
        edges[0],
        edges[-1],
    )
    return [_movement(row) for row in rows]


async def count_trials(
    connection: Connection,
    project: str,
    edges: Sequence[datetime],
    app: str | None,
    currency: str | None,
) -> list[TrialCount]:
    """Users whose trial ended in an interval, and who of them began to pay."""
    rows = await connection.fetch(
        f"""
        {_STATES}
        SELECT number - 1 AS number, currency, count(*) AS ended,
               count(*) FILTER (WHERE before = 0 AND after > 0) AS converted
        FROM states WHERE had_trial AND NOT is_on_trial GROUP BY number, currency
        """,
        project,
        list(edges),
        app,
        currency,
        edges[0],
        edges[-1],
    )
    return [TrialCount(**row) for row in rows]


def _movement(row: Record) -> Movement:
    before = Fraction(int(row["before"]), int(row["before_divisor"]))
    after = Fraction(int(row["after"]), int(row["after_divisor"]))
    return Movement(
        number=row["number"],
        currency=row["currency"],
        kind=row["kind"],
        users=row["users"],
        monthly=after - before,
    )
