"""Sums over the history of what subscriptions come to a month. An instant sees what held just before it.

A change of a user replaces all that is open of a currency (`store/recurring.replace_open`). So whoever
changed in an interval has no row that holds through it, and both of its ends are among the rows that began
or ended in it: nothing else is read of their history.
"""

from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction

from msgspec import Struct

from domain.store.session import Connection, Record


class SumChange(Struct, frozen=True, kw_only=True):
    """One plan's, app's and standing's sum at the end of the first interval, which has the number 0; with a
    higher number, how it changes in that one.
    """

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
    #: new, reactivated, imported, churned, upgraded, downgraded; None: of users whose sum is as it was.
    kind: str | None
    users: int
    #: After less before.
    monthly: Fraction
    #: Of these users, whose trial ended in the interval and who are on none at its end.
    trials_ended: int
    #: Of these, who did not pay before it and do after it.
    trials_converted: int


async def list_held(
    connection: Connection, project: str, at: datetime, app: str | None, currency: str | None
) -> list[SumChange]:
    """What held just before `at`, the end of the first interval."""
    rows = await connection.fetch(
        """
        SELECT 0 AS number, currency, plan, app, standing, divisor::text AS divisor,
               sum(monthly)::text AS monthly,
               sum(CASE WHEN is_counted OR $3::text IS NOT NULL THEN subscriptions ELSE 0 END)
                   AS subscriptions
        FROM recurring_sums
        WHERE project = $1 AND begins_at < $2 AND (ends_at IS NULL OR ends_at >= $2)
          AND ($3::text IS NULL OR app = $3) AND ($4::text IS NULL OR currency = $4)
        GROUP BY currency, plan, app, standing, recurring_sums.divisor
        """,
        project,
        at,
        app,
        currency,
    )
    return [_change(row) for row in rows]


async def list_changes(
    connection: Connection,
    project: str,
    edges: Sequence[datetime],
    app: str | None,
    currency: str | None,
) -> list[SumChange]:
    """What each interval `[edges[i], edges[i + 1])` but the first changed of what held at `edges[1]`."""
    rows = await connection.fetch(
        """
        SELECT number, currency, plan, app, standing, divisor::text AS divisor, sum(monthly)::text AS monthly,
               sum(CASE WHEN is_counted OR $3::text IS NOT NULL THEN subscriptions ELSE 0 END)
                   AS subscriptions
        FROM (
            SELECT width_bucket(begins_at, $2::timestamptz[]) AS number, currency, plan, app, standing,
                   divisor, monthly, subscriptions, is_counted
            FROM recurring_sums WHERE project = $1 AND begins_at >= $5 AND begins_at < $6
              AND ($3::text IS NULL OR app = $3) AND ($4::text IS NULL OR currency = $4)
            UNION ALL
            SELECT width_bucket(ends_at, $2::timestamptz[]), currency, plan, app, standing,
                   divisor, -monthly, -subscriptions, is_counted
            FROM recurring_sums WHERE project = $1 AND ends_at >= $5 AND ends_at < $6
              AND ($3::text IS NULL OR app = $3) AND ($4::text IS NULL OR currency = $4)
        ) changes
        GROUP BY number, currency, plan, app, standing, changes.divisor
        """,
        project,
        list(edges[1:]),
        app,
        currency,
        edges[1],
        edges[-1],
    )
    return [_change(row) for row in rows]


async def list_movements(
    connection: Connection,
    project: str,
    edges: Sequence[datetime],
    app: str | None,
    currency: str | None,
) -> list[Movement]:
    """Users of whom anything changed in an interval, by what became of the sum that they pay.

    `states` has one row per user, currency and interval: the sum before and after it, each in the one
    divisor that a user's rows of an instant have. Only who begins to pay is looked up in their history.
    """
    rows = await connection.fetch(
        """
        WITH edges AS (
            SELECT number, ($2::timestamptz[])[number] AS lo, ($2::timestamptz[])[number + 1] AS hi
            FROM generate_series(1, cardinality($2::timestamptz[]) - 1) AS number
        ), touched AS (
            SELECT number, user_key, currency, monthly, divisor, is_import, standing = 'trial' AS is_trial,
                   false AS is_before, ends_at IS NULL OR ends_at >= hi AS is_after
            FROM recurring_sums JOIN edges ON number = width_bucket(begins_at, $2::timestamptz[])
            WHERE project = $1 AND begins_at >= $5 AND begins_at < $6
              AND ($3::text IS NULL OR app = $3) AND ($4::text IS NULL OR currency = $4)
            UNION ALL
            SELECT number, user_key, currency, monthly, divisor, is_import, standing = 'trial', true, false
            FROM recurring_sums JOIN edges ON number = width_bucket(ends_at, $2::timestamptz[])
            WHERE project = $1 AND ends_at >= $5 AND ends_at < $6 AND begins_at < lo
              AND ($3::text IS NULL OR app = $3) AND ($4::text IS NULL OR currency = $4)
        ), states AS (
            SELECT number, user_key, currency,
                   coalesce(sum(monthly) FILTER (WHERE is_before AND NOT is_trial), 0) AS before,
                   coalesce(max(divisor) FILTER (WHERE is_before AND NOT is_trial), 1) AS before_divisor,
                   coalesce(sum(monthly) FILTER (WHERE is_after AND NOT is_trial), 0) AS after,
                   coalesce(max(divisor) FILTER (WHERE is_after AND NOT is_trial), 1) AS after_divisor,
                   bool_or(is_after AND is_import) AS is_import,
                   bool_or(is_trial) AND NOT bool_or(is_trial AND is_after) AS has_trial_ended
            FROM touched GROUP BY number, user_key, currency
        ), named AS (
            SELECT *, CASE
                WHEN before = 0 AND after > 0 AND EXISTS (
                    SELECT FROM recurring_sums r
                    WHERE r.user_key = states.user_key AND r.currency = states.currency AND r.project = $1
                      AND r.begins_at < ($2::timestamptz[])[states.number] AND r.standing <> 'trial'
                      AND r.monthly > 0 AND ($3::text IS NULL OR r.app = $3)
                ) THEN 'reactivated'
                WHEN before = 0 AND after > 0 AND is_import THEN 'imported'
                WHEN before = 0 AND after > 0 THEN 'new'
                WHEN before > 0 AND after = 0 THEN 'churned'
                WHEN after * before_divisor > before * after_divisor THEN 'upgraded'
                WHEN after * before_divisor < before * after_divisor THEN 'downgraded'
            END AS kind FROM states
        )
        SELECT number - 1 AS number, currency, kind, before_divisor::text, after_divisor::text,
               count(*) AS users, sum(before)::text AS before, sum(after)::text AS after,
               count(*) FILTER (WHERE has_trial_ended) AS trials_ended,
               count(*) FILTER (WHERE has_trial_ended AND before = 0 AND after > 0) AS trials_converted
        FROM named GROUP BY number, currency, kind, named.before_divisor, named.after_divisor
        """,
        project,
        list(edges),
        app,
        currency,
        edges[0],
        edges[-1],
    )
    return [_movement(row) for row in rows]


def _change(row: Record) -> SumChange:
    return SumChange(
        number=row["number"],
        currency=row["currency"],
        plan=row["plan"],
        app=row["app"],
        standing=row["standing"],
        monthly=Fraction(int(row["monthly"]), int(row["divisor"])),
        subscriptions=int(row["subscriptions"]),
    )


def _movement(row: Record) -> Movement:
    before = Fraction(int(row["before"]), int(row["before_divisor"]))
    after = Fraction(int(row["after"]), int(row["after_divisor"]))
    return Movement(
        number=row["number"],
        currency=row["currency"],
        kind=row["kind"],
        users=row["users"],
        monthly=after - before,
        trials_ended=row["trials_ended"],
        trials_converted=row["trials_converted"],
    )
