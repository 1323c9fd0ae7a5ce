"""The mirror of money: invoices, their payments, charges, refunds and disputes as last read.

One writer per object: only a run of the customer that owns it writes its row (docs/event-path.md).
"""

from collections.abc import Sequence

from msgspec import Struct

from domain.money import Charge, ChargeDispute, ChargeRefund, Invoice, InvoiceLine, InvoicePayment
from domain.store.session import Connection


class Holder(Struct, frozen=True, kw_only=True):
    """Whom a mirrored object belongs to."""

    project: str
    user_key: int
    customer_id: str


async def upsert_invoice(connection: Connection, holder: Holder, invoice: Invoice) -> None:
    await connection.execute(
        """
        INSERT INTO invoices
            (stripe_invoice_id, project, user_key, stripe_customer_id, stripe_subscription_id, number, status,
             billing_reason, collection_method, currency, total_minor, tax_minor, paid_minor, remaining_minor,
             created_at, finalized_at, due_at, paid_at, voided_at, uncollectible_at, pay_url)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
                $21)
        ON CONFLICT (stripe_invoice_id) DO UPDATE SET
            project = excluded.project, user_key = excluded.user_key,
            stripe_customer_id = excluded.stripe_customer_id,
            stripe_subscription_id = excluded.stripe_subscription_id, number = excluded.number,
            status = excluded.status, billing_reason = excluded.billing_reason,
            collection_method = excluded.collection_method, currency = excluded.currency,
            total_minor = excluded.total_minor, tax_minor = excluded.tax_minor,
            paid_minor = excluded.paid_minor, remaining_minor = excluded.remaining_minor,
            created_at = excluded.created_at, finalized_at = excluded.finalized_at, due_at = excluded.due_at,
            paid_at = excluded.paid_at, voided_at = excluded.voided_at,
            uncollectible_at = excluded.uncollectible_at, pay_url = excluded.pay_url,
            read_at = clock_timestamp()
        """,
        invoice.invoice_id,
        holder.project,
        holder.user_key,
        holder.customer_id,
        invoice.subscription_id,
        invoice.number,
        invoice.status,
        invoice.billing_reason,
        invoice.collection_method,
        invoice.currency,
        invoice.total_minor,
        invoice.tax_minor,
        invoice.paid_minor,
        invoice.remaining_minor,
        invoice.created_at,
        invoice.finalized_at,
        invoice.due_at,
        invoice.paid_at,
        invoice.voided_at,
        invoice.uncollectible_at,
        invoice.pay_url,
    )


async def replace_lines(connection: Connection, project: str, invoice: Invoice) -> None:
    """Make the lines read the invoice's only ones: a draft may lose some."""
    lines = invoice.lines
    await connection.execute(
        """
        WITH gone AS (
            DELETE FROM invoice_lines WHERE stripe_invoice_id = $1 AND NOT stripe_line_id = ANY($3::text[])
        )
        INSERT INTO invoice_lines
            (stripe_line_id, stripe_invoice_id, project, price_id, product_id, is_one_time, quantity,
             amount_minor, discount_minor, tax_minor, period_start, period_end)
        SELECT l.id, $1, $2, l.price_id, l.product_id, l.is_one_time, l.quantity, l.amount, l.discount, l.tax,
               l.period_start, l.period_end
        FROM unnest($3::text[], $4::text[], $5::text[], $6::boolean[], $7::bigint[], $8::bigint[],
                    $9::bigint[], $10::bigint[], $11::timestamptz[], $12::timestamptz[])
             AS l(id, price_id, product_id, is_one_time, quantity, amount, discount, tax, period_start,
                  period_end)
        ON CONFLICT (stripe_line_id) DO UPDATE SET
            stripe_invoice_id = excluded.stripe_invoice_id, project = excluded.project,
            price_id = excluded.price_id, product_id = excluded.product_id,
            is_one_time = excluded.is_one_time, quantity = excluded.quantity,
            amount_minor = excluded.amount_minor, discount_minor = excluded.discount_minor,
            tax_minor = excluded.tax_minor, period_start = excluded.period_start,
            period_end = excluded.period_end
        """,
        invoice.invoice_id,
        project,
        [line.line_id for line in lines],
        [line.price_id for line in lines],
        [line.product_id for line in lines],
        [line.is_one_time for line in lines],
        [line.quantity for line in lines],
        [line.amount_minor for line in lines],
        [line.discount_minor for line in lines],
        [line.tax_minor for line in lines],
        [line.period_start for line in lines],
        [line.period_end for line in lines],
    )


async def upsert_invoice_payment(connection: Connection, holder: Holder, payment: InvoicePayment) -> None:
    await connection.execute(
        """
        INSERT INTO invoice_payments
            (stripe_invoice_payment_id, project, user_key, stripe_customer_id, stripe_invoice_id,
             payment_intent_id, charge_id, status, paid_minor, paid_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ON CONFLICT (stripe_invoice_payment_id) DO UPDATE SET
            project = excluded.project, user_key = excluded.user_key,
            stripe_customer_id = excluded.stripe_customer_id, stripe_invoice_id = excluded.stripe_invoice_id,
            payment_intent_id = excluded.payment_intent_id, charge_id = excluded.charge_id,
            status = excluded.status, paid_minor = excluded.paid_minor, paid_at = excluded.paid_at,
            read_at = clock_timestamp()
        """,
        payment.invoice_payment_id,
        holder.project,
        holder.user_key,
        holder.customer_id,
        payment.invoice_id,
        payment.payment_intent_id,
        payment.charge_id,
        payment.status,
        payment.paid_minor,
        payment.paid_at,
    )


async def upsert_charge(connection: Connection, holder: Holder, charge: Charge) -> None:
    await connection.execute(
        """
        INSERT INTO payments
            (stripe_charge_id, project, user_key, stripe_customer_id, payment_intent_id, status, currency,
             amount_minor, captured_minor, refunded_minor, is_disputed, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT (stripe_charge_id) DO UPDATE SET
            project = excluded.project, user_key = excluded.user_key,
            stripe_customer_id = excluded.stripe_customer_id,
            payment_intent_id = excluded.payment_intent_id, status = excluded.status,
            currency = excluded.currency, amount_minor = excluded.amount_minor,
            captured_minor = excluded.captured_minor, refunded_minor = excluded.refunded_minor,
            is_disputed = excluded.is_disputed, created_at = excluded.created_at, read_at = clock_timestamp()
        """,
        charge.charge_id,
        holder.project,
        holder.user_key,
        holder.customer_id,
        charge.payment_intent_id,
        charge.status,
        charge.currency,
        charge.amount_minor,
        charge.captured_minor,
        charge.refunded_minor,
        charge.is_disputed,
        charge.created_at,
    )


async def upsert_refund(connection: Connection, holder: Holder, found: ChargeRefund) -> None:
    """Write one refund as read now. When it failed is told by the first read that shows it."""
    await connection.execute(
        """
        INSERT INTO refunds AS r
            (stripe_refund_id, project, user_key, stripe_customer_id, charge_id, payment_intent_id, status,
             amount_minor, currency, created_at, ended_at)
        SELECT $1::text, $2::text, u.user_key, $4::text, $5::text, $6::text, $7::text, $8::bigint, $9::text,
               $10::timestamptz,
               CASE WHEN $7 IN ('failed', 'canceled')
                    THEN greatest($10, coalesce(u.clock_at, clock_timestamp())) END
        FROM users u WHERE u.user_key = $3
        ON CONFLICT (stripe_refund_id) DO UPDATE SET
            project = excluded.project, user_key = excluded.user_key,
            stripe_customer_id = excluded.stripe_customer_id, charge_id = excluded.charge_id,
            payment_intent_id = excluded.payment_intent_id, status = excluded.status,
            amount_minor = excluded.amount_minor, currency = excluded.currency,
            created_at = excluded.created_at, read_at = clock_timestamp(),
            ended_at = CASE WHEN excluded.ended_at IS NULL THEN NULL
                            ELSE coalesce(r.ended_at, excluded.ended_at) END
        """,
        found.refund.refund_id,
        holder.project,
        holder.user_key,
        holder.customer_id,
        found.charge_id,
        found.payment_intent_id,
        found.refund.status,
        found.refund.amount_minor,
        found.currency,
        found.created_at,
    )


async def upsert_dispute(connection: Connection, holder: Holder, found: ChargeDispute) -> None:
    await connection.execute(
        """
        INSERT INTO disputes
            (stripe_dispute_id, project, user_key, stripe_customer_id, charge_id, payment_intent_id, status,
             reason, amount_minor, currency, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        ON CONFLICT (stripe_dispute_id) DO UPDATE SET
            project = excluded.project, user_key = excluded.user_key,
            stripe_customer_id = excluded.stripe_customer_id, charge_id = excluded.charge_id,
            payment_intent_id = excluded.payment_intent_id, status = excluded.status,
            reason = excluded.reason, amount_minor = excluded.amount_minor, currency = excluded.currency,
            created_at = excluded.created_at, read_at = clock_timestamp()
        """,
        found.dispute.dispute_id,
        holder.project,
        holder.user_key,
        holder.customer_id,
        found.charge_id,
        found.payment_intent_id,
        found.dispute.status,
        found.reason,
        found.dispute.amount_minor,
        found.currency,
        found.created_at,
    )


async def replace_funds(connection: Connection, project: str, found: ChargeDispute) -> None:
    """Make the moves of money read the dispute's only ones."""
    await connection.execute(
        """
        WITH gone AS (
            DELETE FROM dispute_funds
            WHERE stripe_dispute_id = $1 AND NOT balance_transaction_id = ANY($3::text[])
        )
        INSERT INTO dispute_funds (balance_transaction_id, stripe_dispute_id, project, amount_minor, moved_at)
        SELECT f.id, $1, $2, f.amount, f.moved_at
        FROM unnest($3::text[], $4::bigint[], $5::timestamptz[]) AS f(id, amount, moved_at)
        ON CONFLICT (balance_transaction_id) DO UPDATE SET
            stripe_dispute_id = excluded.stripe_dispute_id, project = excluded.project,
            amount_minor = excluded.amount_minor, moved_at = excluded.moved_at
        """,
        found.dispute.dispute_id,
        project,
        [moved.balance_transaction_id for moved in found.funds],
        [moved.amount_minor for moved in found.funds],
        [moved.moved_at for moved in found.funds],
    )


async def list_invoices(
    connection: Connection, project: str, user_key: int, subscription_ids: Sequence[str]
) -> list[Invoice]:
    """Invoices of these subscriptions of one user, without their lines, in the order of their ids."""
    rows = await connection.fetch(
        """
        SELECT stripe_invoice_id AS invoice_id, stripe_customer_id AS customer_id,
               stripe_subscription_id AS subscription_id, number, status, billing_reason, collection_method,
               currency, total_minor, tax_minor, paid_minor, remaining_minor, created_at, finalized_at,
               due_at, paid_at, voided_at, uncollectible_at, pay_url
        FROM invoices WHERE project = $1 AND user_key = $2 AND stripe_subscription_id = ANY($3::text[])
        ORDER BY stripe_invoice_id
        """,
        project,
        user_key,
        list(subscription_ids),
    )
    return [Invoice(**row) for row in rows]


async def list_awaited(
    connection: Connection, project: str, user_key: int, subscription_ids: Sequence[str]
) -> list[Invoice]:
    """The open invoices of changes to these subscriptions that are charged, not sent: oldest first."""
    rows = await connection.fetch(
        """
        SELECT stripe_invoice_id AS invoice_id, stripe_customer_id AS customer_id,
               stripe_subscription_id AS subscription_id, number, status, billing_reason, collection_method,
               currency, total_minor, tax_minor, paid_minor, remaining_minor, created_at, finalized_at,
               due_at, paid_at, voided_at, uncollectible_at, pay_url
        FROM invoices WHERE project = $1 AND user_key = $2 AND stripe_subscription_id = ANY($3::text[])
          AND status = 'open' AND billing_reason = 'subscription_update' AND remaining_minor > 0
          AND collection_method = 'charge_automatically'
        ORDER BY created_at, stripe_invoice_id
        """,
        project,
        user_key,
        list(subscription_ids),
    )
    return [Invoice(**row) for row in rows]


async def list_lines(
    connection: Connection, project: str, invoice_ids: Sequence[str]
) -> dict[str, list[InvoiceLine]]:
    """The lines of these invoices, by invoice."""
    rows = await connection.fetch(
        """
        SELECT stripe_invoice_id, stripe_line_id AS line_id, price_id, product_id, is_one_time, quantity,
               amount_minor, discount_minor, tax_minor, period_start, period_end
        FROM invoice_lines WHERE project = $1 AND stripe_invoice_id = ANY($2::text[])
        ORDER BY stripe_line_id
        """,
        project,
        list(invoice_ids),
    )
    lines: dict[str, list[InvoiceLine]] = {}
    for row in rows:
        values = dict(row)
        lines.setdefault(values.pop("stripe_invoice_id"), []).append(InvoiceLine(**values))
    return lines
