"""Everything that our rows say of one user, as JSON rows: for an operator who is asked what is held."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from domain.store.owned import TARGETS_OF_USER
from domain.store.session import Connection

_decode = msgspec.json.Decoder(list[dict[str, Any]]).decode

#: What every row of a user repeats, and what says nothing to anybody: a hash of a request.
_LEFT_OUT = "- 'project' - 'user_key' - 'request_sha256'"

#: Section → (FROM … WHERE, in which order). Rows are `t`; $1 is the project, $2 the user's key.
SECTIONS: dict[str, tuple[str, str]] = {
    "customers": ("stripe_customers t WHERE project = $1 AND user_key = $2", "created_at, ref"),
    "checkouts": ("checkout_sessions t WHERE project = $1 AND user_key = $2", "created_at, ref"),
    "subscriptions": (
        "subscriptions t WHERE project = $1 AND user_key = $2",
        "created_at, stripe_subscription_id",
    ),
    "subscription_items": (
        """subscription_items t WHERE project = $1 AND stripe_subscription_id IN
           (SELECT stripe_subscription_id FROM subscriptions WHERE user_key = $2)""",
        "stripe_subscription_id, stripe_item_id",
    ),
    "purchases": ("purchases t WHERE project = $1 AND user_key = $2", "paid_at, purchase_id"),
    "invoices": ("invoices t WHERE project = $1 AND user_key = $2", "created_at, stripe_invoice_id"),
    "invoice_lines": (
        """invoice_lines t WHERE project = $1 AND stripe_invoice_id IN
           (SELECT stripe_invoice_id FROM invoices WHERE user_key = $2)""",
        "stripe_invoice_id, stripe_line_id",
    ),
    "invoice_payments": (
        "invoice_payments t WHERE project = $1 AND user_key = $2",
        "stripe_invoice_payment_id",
    ),
    "payments": ("payments t WHERE project = $1 AND user_key = $2", "created_at, stripe_charge_id"),
    "refunds": ("refunds t WHERE project = $1 AND user_key = $2", "created_at, stripe_refund_id"),
    "disputes": ("disputes t WHERE project = $1 AND user_key = $2", "created_at, stripe_dispute_id"),
    "dispute_funds": (
        """dispute_funds t WHERE project = $1 AND stripe_dispute_id IN
           (SELECT stripe_dispute_id FROM disputes WHERE user_key = $2)""",
        "moved_at, balance_transaction_id",
    ),
    "grants": ("grants t WHERE project = $1 AND user_key = $2", "created_at, grant_id"),
    "entitlements": ("entitlements t WHERE project = $1 AND user_key = $2", "app"),
    "entitlement_history": ("entitlement_history t WHERE project = $1 AND user_key = $2", "id"),
    "entitlement_changes": ("entitlement_changes t WHERE project = $1 AND user_key = $2", "id"),
    "revenue_entries": (
        "revenue_entries t WHERE project = $1 AND user_key = $2",
        "happened_at, object_id, kind, app",
    ),
    "recurring_sums": ("recurring_sums t WHERE project = $1 AND user_key = $2", "id"),
    "actions": ("audit_log t WHERE project = $1 AND user_key = $2", "id"),
    "reconciliations": ("reconciliation_runs t WHERE project = $1 AND user_key = $2", "run_id"),
    "drifts": ("drifts t WHERE project = $1 AND user_key = $2", "id"),
}


#: Sections of what was told and done, which stays under the key that it was told under, with their times.
TOLD = {
    "entitlement_history": "recorded_at",
    "entitlement_changes": "recorded_at",
    "actions": "at",
    "reconciliations": "started_at",
    "drifts": "seen_at",
}


class HeldEvent(Struct, frozen=True, kw_only=True):
    #: Everything but the payload, as JSON.
    row: str
    #: Compressed; None: expired, or internal without one.
    payload: bytes | None


async def list_section(
    connection: Connection, section: str, project: str, user_key: int
) -> list[dict[str, Any]]:
    """The rows of one section of a user, column → value as JSON has it; times as ISO 8601 with offset."""
    rows, order = SECTIONS[section]
    found = await connection.fetchval(
        f"SELECT coalesce(json_agg(to_jsonb(t) {_LEFT_OUT} ORDER BY {order}), '[]')::text FROM {rows}",
        project,
        user_key,
    )
    return _decode(found)


async def list_told(
    connection: Connection, section: str, project: str, user_key: int, time: tuple[datetime | None, ...]
) -> list[dict[str, Any]]:
    """The rows of a section of TOLD that are later than the one instant, and not than the other."""
    rows, order = SECTIONS[section]
    column = TOLD[section]
    found = await connection.fetchval(
        f"""
        SELECT coalesce(json_agg(to_jsonb(t) {_LEFT_OUT} ORDER BY {order}), '[]')::text FROM {rows}
          AND ($3::timestamptz IS NULL OR {column} > $3) AND ($4::timestamptz IS NULL OR {column} <= $4)
        """,
        project,
        user_key,
        *time,
    )
    return _decode(found)


async def list_events(connection: Connection, project: str, user_key: int) -> list[HeldEvent]:
    """Events of a user's customers and objects, oldest first."""
    rows = await connection.fetch(
        f"""
        SELECT (to_jsonb(e) - 'payload' - 'payload_sha256')::text AS row, e.payload
        FROM webhook_events e
        WHERE (e.target_kind, e.target_ref) IN ({TARGETS_OF_USER.format(user="$2")})
          AND EXISTS (SELECT FROM users WHERE user_key = $2 AND project = $1)
        ORDER BY e.received_at, e.event_id
        """,
        project,
        user_key,
    )
    return [HeldEvent(row=row["row"], payload=row["payload"]) for row in rows]
