"""What an operator asks of one user: every row between Stripe and an answer. Reads only.

Ages are taken by the database's clock, as everything operational.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from domain.model import TargetRef
from domain.store.session import Connection

#: Of each list: enough to see what is wrong, and bounded.
MOST = 50

_EVENT = """e.event_id, e.type, e.state, e.reason, e.object_kind, e.target_ref, e.payload,
    extract(epoch FROM clock_timestamp() - e.received_at)::float8 AS age_s"""


class LinkedCustomer(Struct, frozen=True, kw_only=True):
    #: Ours; it is in the customer's metadata.
    ref: UUID
    #: None: Stripe has not answered its creation, or nobody has written the answer down.
    stripe_customer_id: str | None
    is_primary: bool
    created_at: datetime
    deleted_at: datetime | None


class SeenCheckout(Struct, frozen=True, kw_only=True):
    session_id: str | None
    mode: str
    #: creating, then Stripe's: open, complete, expired.
    status: str
    payment_status: str | None
    created_at: datetime


class SeenTarget(Struct, frozen=True, kw_only=True):
    """What is synced as one for this user: a customer, or an object not known to be a customer's yet."""

    kind: str
    stripe_id: str
    owner: str
    state: str
    is_owed: bool
    is_leased: bool
    #: Seconds until it may be tried again; 0: now.
    due_in_s: float
    due_at: datetime | None
    attempts: int
    last_error: str | None


class UnsettledEvent(Struct, frozen=True, kw_only=True):
    event_id: str
    type: str
    state: str
    reason: str | None
    object_kind: str | None
    target_ref: str
    age_s: float
    #: Compressed; None: expired, or internal.
    payload: bytes | None


class MirroredSource(Struct, frozen=True, kw_only=True):
    #: subscription or purchase.
    kind: str
    object_id: str
    #: A subscription's; None for a purchase.
    status: str | None
    customer_id: str
    read_at: datetime


async def list_customers(connection: Connection, project: str, user_key: int) -> list[LinkedCustomer]:
    """The primary one first, then the older ones first."""
    rows = await connection.fetch(
        """
        SELECT ref, stripe_customer_id, is_primary, created_at, deleted_at FROM stripe_customers
        WHERE project = $1 AND user_key = $2 ORDER BY is_primary DESC, created_at, ref LIMIT $3
        """,
        project,
        user_key,
        MOST,
    )
    return [LinkedCustomer(**row) for row in rows]


async def list_checkouts(connection: Connection, project: str, user_key: int) -> list[SeenCheckout]:
    """The newest first."""
    rows = await connection.fetch(
        """
        SELECT stripe_session_id AS session_id, mode, status, payment_status, created_at
        FROM checkout_sessions WHERE project = $1 AND user_key = $2 ORDER BY created_at DESC, ref LIMIT $3
        """,
        project,
        user_key,
        MOST,
    )
    return [SeenCheckout(**row) for row in rows]


async def list_targets(connection: Connection, targets: Sequence[TargetRef]) -> list[SeenTarget]:
    """These targets where they exist, those with trouble first."""
    rows = await connection.fetch(
        """
        SELECT t.kind, t.stripe_id, owner, state, dirty_seq > synced_seq AS is_owed,
               coalesce(lease_until > clock_timestamp(), false) AS is_leased,
               CASE WHEN due_at > clock_timestamp()
                    THEN extract(epoch FROM due_at - clock_timestamp())::float8 ELSE 0 END AS due_in_s,
               nullif(due_at, '-infinity') AS due_at, attempts, last_error
        FROM unnest($1::text[], $2::text[]) AS asked(kind, stripe_id)
        JOIN sync_targets t ON (t.kind, t.stripe_id) = (asked.kind, asked.stripe_id)
        ORDER BY state = 'dead' DESC, dirty_seq > synced_seq DESC, id LIMIT $3
        """,
        [target.kind for target in targets],
        [target.stripe_id for target in targets],
        MOST,
    )
    return [SeenTarget(**row) for row in rows]


async def list_unsettled(connection: Connection, targets: Sequence[TargetRef]) -> list[UnsettledEvent]:
    """Events of these targets that are pending, failed or foreign, oldest first.

    One question per state, because pending and foreign ones have partial indexes of their own.
    """
    asked = " UNION ALL ".join(
        f"""
        SELECT {_EVENT} FROM unnest($1::text[], $2::text[]) AS asked(kind, ref)
        JOIN webhook_events e ON (e.target_kind, e.target_ref) = (asked.kind, asked.ref)
        WHERE e.state = '{state}'
        """
        for state in ("pending", "foreign", "failed")
    )
    rows = await connection.fetch(
        f"{asked} ORDER BY age_s DESC, event_id LIMIT $3",
        [target.kind for target in targets],
        [target.stripe_id for target in targets],
        MOST,
    )
    return [UnsettledEvent(**row) for row in rows]


async def list_unlinked_since(connection: Connection, since: datetime) -> list[UnsettledEvent]:
    """Events of customers that were nobody's, or are not looked at yet, received since then."""
    rows = await connection.fetch(
        f"""
        SELECT {_EVENT} FROM webhook_events e
        WHERE object_kind IN ('customer', 'checkout.session') AND target_kind = 'customer'
          AND state IN ('pending', 'failed', 'foreign') AND received_at >= $1
        ORDER BY received_at, event_id LIMIT $2
        """,
        since,
        MOST,
    )
    return [UnsettledEvent(**row) for row in rows]


async def list_mirrored(connection: Connection, project: str, user_key: int) -> list[MirroredSource]:
    """What the mirror holds of a user, the older reads first."""
    rows = await connection.fetch(
        """
        SELECT 'subscription' AS kind, stripe_subscription_id AS object_id, status,
               stripe_customer_id AS customer_id, read_at
        FROM subscriptions WHERE project = $1 AND user_key = $2
        UNION ALL
        SELECT 'purchase', object_id, NULL, stripe_customer_id, max(read_at)
        FROM purchases WHERE project = $1 AND user_key = $2 GROUP BY object_id, stripe_customer_id
        ORDER BY read_at, object_id LIMIT $3
        """,
        project,
        user_key,
        MOST,
    )
    return [MirroredSource(**row) for row in rows]
