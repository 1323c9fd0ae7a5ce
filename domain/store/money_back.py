"""What may take access away again: refunds and disputes of a user, and what the refunded payments paid."""

from collections.abc import Sequence

from domain.model import Dispute, Refund
from domain.money import Charge, ChargeDispute, ChargeRefund, InvoicePayment
from domain.store.session import Connection


async def list_refunds(connection: Connection, project: str, user_key: int) -> list[ChargeRefund]:
    rows = await connection.fetch(
        """
        SELECT stripe_refund_id, status, amount_minor, charge_id, payment_intent_id, currency, created_at
        FROM refunds WHERE project = $1 AND user_key = $2 ORDER BY stripe_refund_id
        """,
        project,
        user_key,
    )
    return [
        ChargeRefund(
            refund=Refund(
                refund_id=row["stripe_refund_id"], status=row["status"], amount_minor=row["amount_minor"]
            ),
            charge_id=row["charge_id"],
            payment_intent_id=row["payment_intent_id"],
            currency=row["currency"],
            created_at=row["created_at"],
        )
        for row in rows
    ]


async def list_disputes(connection: Connection, project: str, user_key: int) -> list[ChargeDispute]:
    rows = await connection.fetch(
        """
        SELECT stripe_dispute_id, status, amount_minor, charge_id, payment_intent_id, currency, reason,
               created_at
        FROM disputes WHERE project = $1 AND user_key = $2 ORDER BY stripe_dispute_id
        """,
        project,
        user_key,
    )
    return [
        ChargeDispute(
            dispute=Dispute(
                dispute_id=row["stripe_dispute_id"], status=row["status"], amount_minor=row["amount_minor"]
            ),
            charge_id=row["charge_id"],
            payment_intent_id=row["payment_intent_id"],
            currency=row["currency"],
            reason=row["reason"],
            created_at=row["created_at"],
        )
        for row in rows
    ]


async def list_charges(connection: Connection, project: str, user_key: int) -> list[Charge]:
    rows = await connection.fetch(
        """
        SELECT stripe_charge_id AS charge_id, stripe_customer_id AS customer_id, payment_intent_id, status,
               currency, amount_minor, captured_minor, refunded_minor, is_disputed, created_at
        FROM payments WHERE project = $1 AND user_key = $2 ORDER BY stripe_charge_id
        """,
        project,
        user_key,
    )
    return [Charge(**row) for row in rows]


async def list_invoice_payments(
    connection: Connection, project: str, user_key: int
) -> Sequence[InvoicePayment]:
    rows = await connection.fetch(
        """
        SELECT stripe_invoice_payment_id AS invoice_payment_id, stripe_invoice_id AS invoice_id,
               payment_intent_id, charge_id, status, paid_minor, paid_at
        FROM invoice_payments WHERE project = $1 AND user_key = $2 ORDER BY stripe_invoice_payment_id
        """,
        project,
        user_key,
    )
    return [InvoicePayment(**row) for row in rows]
