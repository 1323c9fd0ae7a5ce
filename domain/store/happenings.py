"""Everything dated that our rows say of one user, in order of time. Reads only."""

from datetime import datetime

from msgspec import Struct

from domain.store.session import Connection


class Happening(Struct, frozen=True, kw_only=True):
    at: datetime
    #: user, customer, checkout, subscription, purchase, invoice, payment, refund, dispute, event, grant,
    #: version or action.
    kind: str
    id: str
    #: What was seen of it, in a few words.
    said: str


_OF_USER = """
    SELECT created_at AS at, 'customer' AS kind, coalesce(stripe_customer_id, ref::text) AS id,
           CASE WHEN stripe_customer_id IS NULL THEN 'asked for, not linked yet'
                WHEN is_primary THEN 'linked, primary' ELSE 'linked' END AS said
        FROM stripe_customers WHERE project = $1 AND user_key = $2
    UNION ALL SELECT deleted_at, 'customer', stripe_customer_id, 'deleted at Stripe'
        FROM stripe_customers WHERE project = $1 AND user_key = $2 AND deleted_at IS NOT NULL
    UNION ALL SELECT created_at, 'checkout', coalesce(stripe_session_id, ref::text),
           concat_ws(', ', app, mode, status, payment_status)
        FROM checkout_sessions WHERE project = $1 AND user_key = $2
    UNION ALL SELECT created_at, 'subscription', stripe_subscription_id, 'created; now ' || status
        FROM subscriptions WHERE project = $1 AND user_key = $2
    UNION ALL SELECT ended_at, 'subscription', stripe_subscription_id, 'ended'
        FROM subscriptions WHERE project = $1 AND user_key = $2 AND ended_at <= clock_timestamp()
    UNION ALL SELECT paid_at, 'purchase', purchase_id, concat_ws(' ', 'paid,', price_id, 'x', quantity)
        FROM purchases WHERE project = $1 AND user_key = $2
    UNION ALL SELECT created_at, 'invoice', stripe_invoice_id,
           concat_ws(', ', number, status, total_minor || ' ' || currency)
        FROM invoices WHERE project = $1 AND user_key = $2
    UNION ALL SELECT created_at, 'payment', stripe_charge_id,
           concat_ws(', ', status, captured_minor || ' ' || currency)
        FROM payments WHERE project = $1 AND user_key = $2
    UNION ALL SELECT created_at, 'refund', stripe_refund_id,
           concat_ws(', ', status, amount_minor || ' ' || currency)
        FROM refunds WHERE project = $1 AND user_key = $2
    UNION ALL SELECT created_at, 'dispute', stripe_dispute_id,
           concat_ws(', ', status, reason, amount_minor || ' ' || currency)
        FROM disputes WHERE project = $1 AND user_key = $2
    UNION ALL SELECT created_at, 'grant', grant_id,
           concat_ws(' ', effect, target_kind, target, 'by', actor || ':', reason)
        FROM grants WHERE project = $1 AND user_key = $2
    UNION ALL SELECT revoked_at, 'grant', grant_id, concat_ws(' ', 'revoked by', revoked_by || ':',
           revoke_reason)
        FROM grants WHERE project = $1 AND user_key = $2 AND revoked_at IS NOT NULL
    UNION ALL SELECT recorded_at, 'version', app || ' ' || version, 'answered because of ' || cause
        FROM entitlement_history WHERE project = $1 AND user_key = $2
    UNION ALL SELECT at, 'action', action, concat_ws(' ', 'by', actor || ':', reason)
        FROM audit_log WHERE project = $1 AND user_key = $2
    UNION ALL SELECT a.at, 'action', a.action,
           concat_ws(' ', 'what it had became', to_json(u.user_id) || '''s, by', a.actor || ':', a.reason)
        FROM audit_log a JOIN users u ON u.user_key = a.user_key
        WHERE a.project = $1 AND a.user_key <> $2 AND a.action IN ('user.merge', 'user.rename')
          AND $2::text IN (a.details ->> 'from', a.details ->> 'old_id_is_of')
    UNION ALL SELECT received_at, 'event', event_id, concat_ws(', ', type, state, e.reason)
        FROM stripe_customers c JOIN webhook_events e
             ON e.target_kind = 'customer' AND e.target_ref = c.stripe_customer_id
        WHERE c.project = $1 AND c.user_key = $2
"""


async def list_happenings(
    connection: Connection,
    project: str,
    user_key: int,
    *,
    before: tuple[datetime, str] | None,
    limit: int,
) -> list[Happening]:
    """Newest first; `before` is (at, `kind id said`) of the last one of the page before."""
    rows = await connection.fetch(
        f"""
        SELECT at, kind, id, said FROM ({_OF_USER}) h
        WHERE $3::timestamptz IS NULL OR (at, concat_ws(' ', kind, id, said)) < ($3, $4)
        ORDER BY at DESC, concat_ws(' ', kind, id, said) DESC LIMIT $5
        """,
        project,
        user_key,
        before[0] if before else None,
        before[1] if before else None,
        limit,
    )
    return [Happening(**row) for row in rows]
