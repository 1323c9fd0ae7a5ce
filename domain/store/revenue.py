"""Entries of revenue: written for the charges that a run has read, summed and listed for the figures."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from domain.money import Entry, Payment, SoldLine, Taken
from domain.store.session import Connection


class EntrySum(Struct, frozen=True, kw_only=True):
    """Sum of one interval's, app's and currency's entries of a kind; minor units."""

    #: Which of the intervals asked for, from 0.
    number: int
    #: Empty: of no one app.
    app: str
    currency: str
    kind: str
    amount_minor: int
    tax_minor: int


class ListedEntry(Struct, frozen=True, kw_only=True):
    happened_at: datetime
    #: ch_…, re_… or txn_….
    object_id: str
    kind: str
    #: Null: of no one app.
    app: str | None
    currency: str
    #: Tax included; of a refund or dispute what it took, negative: given back again.
    amount_minor: int
    tax_minor: int
    #: The payment that it belongs to.
    charge_id: str
    #: As the project names the user.
    user_id: str


async def list_payments(
    connection: Connection, project: str, user_key: int, charges: Sequence[str], intents: Sequence[str]
) -> list[Payment]:
    """A user's charges, named by id or payment intent, that brought money; without what they were for.

    Totals come from the invoice that they are on, else from the session that took them.
    """
    rows = await connection.fetch(
        """
        SELECT p.stripe_charge_id AS charge_id, p.currency, p.captured_minor AS amount_minor,
               coalesce(i.paid_at, s.paid_at, p.created_at) AS paid_at,
               coalesce(i.total_minor, s.total_minor, 0)::bigint AS total_minor,
               coalesce(i.tax_minor, s.tax_minor, 0)::bigint AS tax_minor,
               coalesce(i.paid_before_minor, 0)::bigint AS paid_before_minor
        FROM payments p
        LEFT JOIN LATERAL (
            SELECT coalesce(n.paid_at, v.paid_at) AS paid_at, v.total_minor, v.tax_minor,
                   (SELECT sum(o.paid_minor) FROM invoice_payments o
                    WHERE o.stripe_invoice_id = n.stripe_invoice_id AND o.status = 'paid'
                      AND (o.paid_at, o.stripe_invoice_payment_id)
                          < (n.paid_at, n.stripe_invoice_payment_id)) AS paid_before_minor
            FROM invoice_payments n JOIN invoices v ON v.stripe_invoice_id = n.stripe_invoice_id
            WHERE n.user_key = $2 AND n.status = 'paid'
              AND (n.charge_id = p.stripe_charge_id OR n.payment_intent_id = p.payment_intent_id)
            ORDER BY n.stripe_invoice_payment_id LIMIT 1
        ) i ON true
        LEFT JOIN LATERAL (
            SELECT max(b.paid_at) AS paid_at, sum(b.amount_minor) AS total_minor,
                   sum(b.tax_minor) AS tax_minor
            FROM purchases b WHERE b.user_key = $2 AND b.payment_intent_id = p.payment_intent_id
        ) s ON true
        WHERE p.project = $1 AND p.user_key = $2 AND p.status = 'succeeded' AND p.captured_minor > 0
          AND (p.stripe_charge_id = ANY($3::text[]) OR p.payment_intent_id = ANY($4::text[]))
        ORDER BY p.stripe_charge_id
        """,
        project,
        user_key,
        list(charges),
        list(intents),
    )
    return [Payment(**row) for row in rows]


async def list_sold(
    connection: Connection, project: str, user_key: int, charges: Sequence[str]
) -> dict[str, list[SoldLine]]:
    """What these charges were for, by charge: the lines of the invoice, else those of the session."""
    rows = await connection.fetch(
        """
        SELECT p.stripe_charge_id, l.price_id, l.product_id,
               l.amount_minor - l.discount_minor + l.tax_minor AS amount_minor, l.tax_minor
        FROM payments p
        JOIN invoice_payments n ON n.user_key = $2 AND n.status = 'paid'
             AND (n.charge_id = p.stripe_charge_id OR n.payment_intent_id = p.payment_intent_id)
        JOIN invoice_lines l ON l.stripe_invoice_id = n.stripe_invoice_id
        WHERE p.project = $1 AND p.user_key = $2 AND p.stripe_charge_id = ANY($3::text[])
        UNION ALL
        SELECT p.stripe_charge_id, b.price_id, b.product_id, coalesce(b.amount_minor, 0),
               coalesce(b.tax_minor, 0)
        FROM payments p
        JOIN purchases b ON b.user_key = $2 AND b.payment_intent_id = p.payment_intent_id
        WHERE p.project = $1 AND p.user_key = $2 AND p.stripe_charge_id = ANY($3::text[])
          AND NOT EXISTS (SELECT 1 FROM invoice_payments n
                          WHERE n.user_key = $2 AND n.status = 'paid'
                            AND n.payment_intent_id = p.payment_intent_id)
        """,
        project,
        user_key,
        list(charges),
    )
    sold: dict[str, list[SoldLine]] = {}
    for row in rows:
        values = dict(row)
        sold.setdefault(values.pop("stripe_charge_id"), []).append(SoldLine(**values))
    return sold


async def list_taken(
    connection: Connection, project: str, user_key: int, charges: Sequence[str]
) -> dict[str, list[Taken]]:
    """What refunds and disputes took of these charges and gave back, by charge."""
    rows = await connection.fetch(
        """
        SELECT charge_id, stripe_refund_id AS object_id, 'refund' AS kind, created_at AS happened_at,
               amount_minor
        FROM refunds WHERE project = $1 AND user_key = $2 AND charge_id = ANY($3::text[])
        UNION ALL
        SELECT charge_id, stripe_refund_id, 'refund_failed', ended_at, -amount_minor
        FROM refunds WHERE project = $1 AND user_key = $2 AND charge_id = ANY($3::text[])
                       AND ended_at IS NOT NULL
        UNION ALL
        SELECT d.charge_id, f.balance_transaction_id,
               CASE WHEN f.amount_minor < 0 THEN 'dispute' ELSE 'dispute_reversal' END, f.moved_at,
               -f.amount_minor
        FROM disputes d JOIN dispute_funds f ON f.stripe_dispute_id = d.stripe_dispute_id
        WHERE d.project = $1 AND d.user_key = $2 AND d.charge_id = ANY($3::text[]) AND f.amount_minor <> 0
        """,
        project,
        user_key,
        list(charges),
    )
    taken: dict[str, list[Taken]] = {}
    for row in rows:
        values = dict(row)
        taken.setdefault(values.pop("charge_id"), []).append(Taken(**values))
    return taken


async def replace_entries(
    connection: Connection, project: str, user_key: int, charges: Sequence[str], entries: Sequence[Entry]
) -> None:
    """Make these entries the only ones of these charges; a row that says the same is not touched."""
    await connection.execute(
        """
        WITH new AS (
            SELECT * FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
                                 $9::text[], $10::bigint[], $11::bigint[])
                AS n(object_id, kind, app, charge_id, happened_at, currency, amount, tax)
        ), gone AS (
            DELETE FROM revenue_entries e WHERE e.project = $1 AND e.charge_id = ANY($3::text[])
                AND NOT EXISTS (SELECT 1 FROM new n
                                WHERE (n.object_id, n.kind, n.app) = (e.object_id, e.kind, e.app))
        )
        INSERT INTO revenue_entries AS e
            (object_id, kind, app, project, user_key, charge_id, happened_at, currency, amount_minor,
             tax_minor)
        SELECT n.object_id, n.kind, n.app, $1, $2, n.charge_id, n.happened_at, n.currency, n.amount, n.tax
        FROM new n
        ON CONFLICT (object_id, kind, app) DO UPDATE SET
            project = excluded.project, user_key = excluded.user_key, charge_id = excluded.charge_id,
            happened_at = excluded.happened_at, currency = excluded.currency,
            amount_minor = excluded.amount_minor, tax_minor = excluded.tax_minor
        WHERE (e.project, e.user_key, e.charge_id, e.happened_at, e.currency, e.amount_minor, e.tax_minor)
              IS DISTINCT FROM (excluded.project, excluded.user_key, excluded.charge_id, excluded.happened_at,
                                excluded.currency, excluded.amount_minor, excluded.tax_minor)
        """,
        project,
        user_key,
        list(charges),
        [entry.object_id for entry in entries],
        [entry.kind for entry in entries],
        [entry.app for entry in entries],
        [entry.charge_id for entry in entries],
        [entry.happened_at for entry in entries],
        [entry.currency for entry in entries],
        [entry.amount_minor for entry in entries],
        [entry.tax_minor for entry in entries],
    )


async def sum_entries(
    connection: Connection, project: str, edges: Sequence[datetime], app: str | None, currency: str | None
) -> list[EntrySum]:
    """Sums by interval, app, currency and kind; interval i is `[edges[i], edges[i + 1])`. None: all of them.

    Each interval is summed by itself: in one pass over all of them the planner expects about as many groups
    as there are moments, and sorts every entry (1.4 times as long, over a month and over a quarter).
    """
    rows = await connection.fetch(
        """
        SELECT e.number, s.app, s.currency, s.kind, s.amount_minor::bigint, s.tax_minor::bigint
        FROM generate_series(1, cardinality($2::timestamptz[]) - 1) AS e(number)
        CROSS JOIN LATERAL (
            SELECT app, currency, kind, sum(amount_minor) AS amount_minor, sum(tax_minor) AS tax_minor
            FROM revenue_entries
            WHERE project = $1
              AND happened_at >= ($2::timestamptz[])[e.number]
              AND happened_at < ($2::timestamptz[])[e.number + 1]
              AND ($3::text IS NULL OR app = $3) AND ($4::text IS NULL OR currency = $4)
            GROUP BY app, currency, kind
        ) s
        """,
        project,
        list(edges),
        app,
        currency,
    )
    return [EntrySum(**{**row, "number": row["number"] - 1}) for row in rows]


async def list_entries(
    connection: Connection,
    project: str,
    since: datetime,
    until: datetime,
    app: str | None,
    currency: str | None,
    after: tuple[datetime, str, str, str],
    limit: int,
) -> list[ListedEntry]:
    """Entries of `[since, until)` by their time; those after `after` (time, object, kind, app)."""
    rows = await connection.fetch(
        """
        SELECT e.happened_at, e.object_id, e.kind, nullif(e.app, '') AS app, e.currency, e.amount_minor,
               e.tax_minor, e.charge_id, u.user_id
        FROM revenue_entries e JOIN users u ON u.user_key = e.user_key
        WHERE e.project = $1 AND e.happened_at >= $2 AND e.happened_at < $3
          AND ($4::text IS NULL OR e.app = $4) AND ($5::text IS NULL OR e.currency = $5)
          AND (e.happened_at, e.object_id, e.kind, e.app) > ($6, $7, $8, $9)
        ORDER BY e.happened_at, e.object_id, e.kind, e.app LIMIT $10
        """,
        project,
        since,
        until,
        app,
        currency,
        *after,
        limit,
    )
    return [ListedEntry(**row) for row in rows]


async def find_figures_since(connection: Connection, project: str) -> datetime | None:
    """Since when a project's figures are whole; None: there is no such project."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        "SELECT figures_since FROM projects WHERE project = $1", project
    )
