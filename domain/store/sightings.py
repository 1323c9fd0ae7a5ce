"""Where an id stands in our rows, whatever kind of id it is. Reads only, by keys: nothing is scanned."""

from msgspec import Struct

from domain.store.owned import OWNER_OF_TARGET
from domain.store.session import Connection

#: Of one question: an id of ours stands in a few places, an e-mail at Stripe too.
MOST = 50


class Sighting(Struct, frozen=True, kw_only=True):
    #: What the row is: a Stripe object's kind, or user, event, target, grant, reconciliation_run.
    kind: str
    id: str
    #: As the row says; of an event with its type, of a target with its owner.
    state: str
    project: str | None
    user_id: str | None
    #: Stripe's.
    customer_id: str | None = None


_BY_KEY = """
    SELECT 'customer' AS kind, stripe_customer_id AS id,
           CASE WHEN deleted_at IS NOT NULL THEN 'deleted' WHEN is_primary THEN 'primary' ELSE 'linked' END
               AS state, project, user_key, stripe_customer_id AS customer_id
        FROM stripe_customers WHERE stripe_customer_id = $1
    UNION ALL SELECT 'checkout.session', stripe_session_id,
           concat_ws(', ', status, payment_status), project, user_key, NULL
        FROM checkout_sessions WHERE stripe_session_id = $1
    UNION ALL SELECT 'subscription', stripe_subscription_id, status, project, user_key, stripe_customer_id
        FROM subscriptions WHERE stripe_subscription_id = $1
    UNION ALL SELECT 'subscription_item', i.stripe_item_id, s.status, s.project, s.user_key,
           s.stripe_customer_id
        FROM subscription_items i JOIN subscriptions s USING (stripe_subscription_id)
        WHERE i.stripe_item_id = $1
    UNION ALL SELECT DISTINCT 'purchase', object_id, 'paid', project, user_key, stripe_customer_id
        FROM purchases WHERE object_kind IN ('checkout.session', 'invoice') AND object_id = $1
    UNION ALL SELECT 'invoice', stripe_invoice_id, status, project, user_key, stripe_customer_id
        FROM invoices WHERE stripe_invoice_id = $1
    UNION ALL SELECT 'invoice_payment', stripe_invoice_payment_id, status, project, user_key,
           stripe_customer_id
        FROM invoice_payments WHERE stripe_invoice_payment_id = $1
    UNION ALL SELECT 'charge', stripe_charge_id, status, project, user_key, stripe_customer_id
        FROM payments WHERE stripe_charge_id = $1
    UNION ALL SELECT 'payment_intent', payment_intent_id, status, project, user_key, stripe_customer_id
        FROM payments WHERE payment_intent_id = $1
    UNION ALL SELECT 'refund', stripe_refund_id, status, project, user_key, stripe_customer_id
        FROM refunds WHERE stripe_refund_id = $1
    UNION ALL SELECT 'dispute', stripe_dispute_id, status, project, user_key, stripe_customer_id
        FROM disputes WHERE stripe_dispute_id = $1
    UNION ALL SELECT 'product', product_id, CASE WHEN is_active THEN 'active' ELSE 'archived' END, project,
           NULL::bigint, NULL
        FROM stripe_products WHERE product_id = $1
    UNION ALL SELECT 'price', price_id, CASE WHEN is_active THEN 'active' ELSE 'archived' END, project,
           NULL, NULL
        FROM stripe_prices WHERE price_id = $1
    UNION ALL SELECT 'catalog_price', price_id, plan || '/' || price, project, NULL, NULL
        FROM prices WHERE price_id = $1
    UNION ALL SELECT 'grant', grant_id,
           concat_ws(' ', effect, target_kind, target, CASE WHEN revoked_at IS NOT NULL THEN '(revoked)' END),
           project, user_key, NULL
        FROM grants WHERE grant_id = $1
    UNION ALL SELECT 'reconciliation_run', run_id, state, project, NULL, NULL
        FROM reconciliation_runs WHERE run_id = $1
"""


async def list_by_key(connection: Connection, named: str, project: str | None) -> list[Sighting]:
    """Users and objects named so. `project` None: of all, and what is nobody's."""
    rows = await connection.fetch(
        f"""
        SELECT 'user' AS kind, u.user_id AS id, 'known' AS state, u.project, u.user_id,
               NULL AS customer_id
        FROM projects p JOIN users u ON u.project = p.project AND u.user_id = $1
        WHERE $2::text IS NULL OR p.project = $2
        UNION ALL
        SELECT k.kind, k.id, k.state, k.project, u.user_id, k.customer_id
        FROM ({_BY_KEY}) k LEFT JOIN users u ON (u.user_key, u.project) = (k.user_key, k.project)
        WHERE $2::text IS NULL OR k.project = $2
        LIMIT {MOST}
        """,
        named,
        project,
    )
    return [Sighting(**row) for row in rows]


async def list_events(connection: Connection, event_id: str, project: str | None) -> list[Sighting]:
    """The event of that id, with whose its target is."""
    rows = await connection.fetch(
        f"""
        SELECT 'event' AS kind, e.event_id AS id, concat_ws(', ', e.type, e.state, e.reason) AS state,
               o.project, u.user_id, CASE WHEN e.target_kind = 'customer' THEN e.target_ref END AS customer_id
        FROM webhook_events e {OWNER_OF_TARGET}
        LEFT JOIN users u ON (u.user_key, u.project) = (o.user_key, o.project)
        WHERE e.event_id = $1 AND ($2::text IS NULL OR o.project = $2)
        """,
        event_id,
        project,
    )
    return [Sighting(**row) for row in rows]


async def list_targets(connection: Connection, stripe_id: str, project: str | None) -> list[Sighting]:
    """What is synced under that id: dead ones, and those that are not ours."""
    rows = await connection.fetch(
        f"""
        SELECT CASE WHEN t.state = 'dead' THEN 'dead' ELSE t.owner || ' target' END AS kind,
               t.stripe_id AS id,
               concat_ws(', ', t.kind, t.state, CASE WHEN t.dirty_seq > t.synced_seq THEN 'owed' END,
                         t.last_error) AS state,
               o.project, u.user_id, CASE WHEN t.kind = 'customer' THEN t.stripe_id END AS customer_id
        FROM (SELECT *, kind AS target_kind, stripe_id AS target_ref FROM sync_targets
              WHERE kind = ANY($3::text[]) AND stripe_id = $1) t {OWNER_OF_TARGET}
        LEFT JOIN users u ON (u.user_key, u.project) = (o.user_key, o.project)
        WHERE $2::text IS NULL OR o.project = $2
        """,
        stripe_id,
        project,
        _TARGET_KINDS,
    )
    return [Sighting(**row) for row in rows]


async def list_naming_events(connection: Connection, object_id: str, project: str | None) -> list[Sighting]:
    """The newest events that name an object."""
    rows = await connection.fetch(
        f"""
        SELECT 'event' AS kind, e.event_id AS id, concat_ws(', ', e.type, e.state, e.reason) AS state,
               o.project, u.user_id, CASE WHEN e.target_kind = 'customer' THEN e.target_ref END AS customer_id
        FROM (SELECT * FROM webhook_events WHERE object_id = $1
              ORDER BY received_at DESC LIMIT 5) e {OWNER_OF_TARGET}
        LEFT JOIN users u ON (u.user_key, u.project) = (o.user_key, o.project)
        WHERE $2::text IS NULL OR o.project = $2
        """,
        object_id,
        project,
    )
    return [Sighting(**row) for row in rows]


async def list_by_number(connection: Connection, number: str, project: str | None) -> list[Sighting]:
    """Invoices as they are printed: each account counts for itself, and numbers come again."""
    rows = await connection.fetch(
        f"""
        SELECT 'invoice' AS kind, i.stripe_invoice_id AS id, i.status AS state, i.project, u.user_id,
               i.stripe_customer_id AS customer_id
        FROM invoices i JOIN users u USING (user_key, project)
        WHERE i.number = $1 AND ($2::text IS NULL OR i.project = $2)
        ORDER BY i.created_at DESC LIMIT {MOST}
        """,
        number,
        project,
    )
    return [Sighting(**row) for row in rows]


_TARGET_KINDS = [
    "customer",
    "checkout.session",
    "subscription",
    "invoice",
    "invoice_payment",
    "charge",
    "payment_intent",
    "refund",
    "dispute",
    "product",
    "price",
    "test_clock",
]
