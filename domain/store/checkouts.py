"""Checkouts that apps asked for, and the customers they are for."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from domain.model import TargetRef
from domain.store.links import CustomerRow
from domain.store.session import Connection


class NewCheckout(Struct, frozen=True, kw_only=True):
    ref: UUID
    project: str
    app: str
    user_key: int
    #: subscription or payment.
    mode: str
    #: JSON: [{plan, price, quantity}].
    items: bytes
    #: Catalog groups of its recurring plans, trials of those without one (`trial:` and the plan), and what it
    #: sells for a lifetime (`lifetime:` and the plan).
    groups: tuple[str, ...] = ()


class OpenSession(Struct, frozen=True, kw_only=True):
    """A session of which Stripe last said that it is open."""

    ref: UUID
    session_id: str


class CheckoutRow(Struct, frozen=True, kw_only=True):
    ref: UUID
    user_key: int
    user_id: str
    #: None: Stripe has not answered yet.
    session_id: str | None
    mode: str
    #: creating, then Stripe's: open, complete, expired.
    status: str
    #: Stripe's: paid, unpaid, no_payment_required; None: not read yet.
    payment_status: str | None
    #: JSON: [{plan, price, quantity}].
    items: str
    created_at: datetime
    expires_at: datetime | None
    #: cus_… of the user's checkouts now; None: it has none.
    customer_id: str | None


async def lock_or_insert_user(connection: Connection, project: str, user_id: str) -> int:
    """The user_key of a user of this project, made when unknown, locked until the transaction ends."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        """
        INSERT INTO users (project, user_id) VALUES ($1, $2)
        ON CONFLICT (project, user_id) DO UPDATE SET user_id = excluded.user_id RETURNING user_key
        """,
        project,
        user_id,
    )


async def find_primary_customer(connection: Connection, project: str, user_key: int) -> CustomerRow | None:
    """The customer that new checkouts of a user are for; None: there was none yet, or Stripe deleted it."""
    row = await connection.fetchrow(
        """
        SELECT ref, project, user_key, stripe_customer_id, generation FROM stripe_customers
        WHERE project = $1 AND user_key = $2 AND is_primary
        """,
        project,
        user_key,
    )
    return None if row is None else CustomerRow(**row)


async def insert_primary_customer(
    connection: Connection, project: str, user_key: int, ref: UUID
) -> CustomerRow:
    """A customer that Stripe does not know yet."""
    await connection.execute(
        "INSERT INTO stripe_customers (ref, project, user_key, is_primary) VALUES ($1, $2, $3, true)",
        ref,
        project,
        user_key,
    )
    return CustomerRow(ref=ref, project=project, user_key=user_key, stripe_customer_id=None, generation=1)


async def raise_generation(connection: Connection, ref: UUID, generation: int) -> None:
    """The next attempt to create this customer is a new one for Stripe; two who failed raise it once."""
    await connection.execute(
        """
        UPDATE stripe_customers SET generation = generation + 1
        WHERE ref = $1 AND generation = $2 AND stripe_customer_id IS NULL
        """,
        ref,
        generation,
    )


async def insert_checkout(connection: Connection, checkout: NewCheckout) -> None:
    """Nothing happens where an earlier attempt at the same call has written it."""
    await connection.execute(
        """
        INSERT INTO checkout_sessions (ref, project, app, user_key, mode, status, items, groups)
        VALUES ($1, $2, $3, $4, $5, 'creating', $6, $7) ON CONFLICT (ref) DO NOTHING
        """,
        checkout.ref,
        checkout.project,
        checkout.app,
        checkout.user_key,
        checkout.mode,
        checkout.items.decode(),
        list(checkout.groups),
    )


async def is_still_of(connection: Connection, project: str, customer_id: str, user_id: str) -> bool:
    """Whether a customer is linked to the user of this name, and the user was not erased."""
    found = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM stripe_customers c JOIN users u USING (user_key)
                       WHERE c.project = $1 AND c.stripe_customer_id = $2 AND u.user_id = $3
                         AND u.erased_at IS NULL)
        """,
        project,
        customer_id,
        user_id,
    )
    return bool(found)


async def write_session(
    connection: Connection, project: str, ref: UUID, session_id: str, *, status: str, expires_at: datetime
) -> None:
    """What Stripe answered; a worker that has already read the session knows better."""
    await connection.execute(
        """
        UPDATE checkout_sessions SET stripe_session_id = $3, status = $4, expires_at = $5
        WHERE project = $1 AND ref = $2 AND stripe_session_id IS NULL
        """,
        project,
        ref,
        session_id,
        status,
        expires_at,
    )


async def list_open_sessions(
    connection: Connection, project: str, user_key: int, groups: Sequence[str]
) -> list[OpenSession]:
    """The user's sessions that may still be paid and that are in one of the groups, oldest first."""
    rows = await connection.fetch(
        """
        SELECT ref, stripe_session_id AS session_id FROM checkout_sessions
        WHERE project = $1 AND user_key = $2 AND groups && $3::text[] AND status = 'open'
          AND stripe_session_id IS NOT NULL
        ORDER BY created_at, ref
        """,
        project,
        user_key,
        list(groups),
    )
    return [OpenSession(**row) for row in rows]


async def list_payable(connection: Connection, project: str, user_key: int) -> list[tuple[str, list[str]]]:
    """(cs_…, its groups) of the user's sessions that can still be paid as far as we know, by id."""
    rows = await connection.fetch(
        """
        SELECT stripe_session_id AS id, groups FROM checkout_sessions
        WHERE project = $1 AND user_key = $2 AND status = 'open' AND stripe_session_id IS NOT NULL
          AND expires_at > clock_timestamp()
        ORDER BY stripe_session_id
        """,
        project,
        user_key,
    )
    return [(row["id"], list(row["groups"] or ())) for row in rows]


async def note_status(connection: Connection, project: str, ref: UUID, status: str) -> None:
    """What Stripe says has become of an open session; a worker that has read it knows better."""
    await connection.execute(
        "UPDATE checkout_sessions SET status = $3 WHERE project = $1 AND ref = $2 AND status = 'open'",
        project,
        ref,
        status,
    )


async def find_checkout(connection: Connection, project: str, app: str, name: str) -> CheckoutRow | None:
    """A checkout of this app by Stripe's id or our ref; None: there is none, or it is another app's."""
    row = await connection.fetchrow(
        """
        SELECT c.ref, c.user_key, u.user_id, c.stripe_session_id AS session_id, c.mode, c.status,
               c.payment_status, c.items::text AS items, c.created_at, c.expires_at,
               (SELECT s.stripe_customer_id FROM stripe_customers s
                WHERE s.user_key = c.user_key AND s.is_primary) AS customer_id
        FROM checkout_sessions c JOIN users u USING (user_key)
        WHERE c.project = $1 AND c.app = $2 AND (c.stripe_session_id = $3 OR c.ref::text = $3)
        """,
        project,
        app,
        name,
    )
    return None if row is None else CheckoutRow(**row)


async def begin_claim(connection: Connection, project: str, ref: UUID, every_s: float) -> bool:
    """Whether a success page may have the session read now: False less than `every_s` after the last one."""
    claimed = await connection.fetchval(
        """
        UPDATE checkout_sessions SET claimed_at = clock_timestamp()
        WHERE project = $1 AND ref = $2
          AND (claimed_at IS NULL OR claimed_at < clock_timestamp() - make_interval(secs => $3))
        RETURNING true
        """,
        project,
        ref,
        every_s,
    )
    return claimed is not None


async def find_claimed_target(
    connection: Connection, project: str, user_key: int, target: TargetRef, session_id: str
) -> int | None:
    """The id of the target while a success page's wish waits on it; None: what was wished for is done.

    Where the session is another one's of the user's customers, that one's, to whom the wish was sent on.
    """
    return await connection.fetchval(  # type: ignore[no-any-return]
        """
        SELECT t.id FROM sync_targets t
        WHERE (t.kind, t.stripe_id) IN (
                SELECT $3::text, $4::text
                UNION SELECT 'customer', c.stripe_customer_id FROM stripe_customers c
                WHERE c.project = $1 AND c.user_key = $2 AND c.stripe_customer_id IS NOT NULL)
          AND EXISTS (SELECT FROM webhook_events e
                      WHERE e.target_kind = t.kind AND e.target_ref = t.stripe_id AND e.state = 'pending'
                        AND e.object_id = $5
                        AND (e.source = 'claim' OR e.type = 'tollhouse.belongs_here'))
        ORDER BY t.id LIMIT 1
        """,
        project,
        user_key,
        target.kind,
        target.stripe_id,
        session_id,
    )


async def find_held_currency(connection: Connection, project: str, user_key: int) -> str | None:
    """The currency of the newest running subscription of the customer that new checkouts are for; None: none.

    Of its newest invoice, because a price's own currency may be another than the one it is paid in.
    """
    return await connection.fetchval(  # type: ignore[no-any-return]
        """
        SELECT coalesce(
            (SELECT i.currency FROM invoices i
             WHERE i.project = $1 AND i.stripe_subscription_id = s.stripe_subscription_id
             ORDER BY i.created_at DESC, i.stripe_invoice_id DESC LIMIT 1),
            (SELECT min(t.currency) FROM subscription_items t
             WHERE t.stripe_subscription_id = s.stripe_subscription_id))
        FROM subscriptions s JOIN stripe_customers c USING (stripe_customer_id)
        WHERE s.project = $1 AND s.user_key = $2 AND c.is_primary
          AND s.status NOT IN ('canceled', 'incomplete', 'incomplete_expired')
        ORDER BY s.created_at DESC, s.stripe_subscription_id DESC LIMIT 1
        """,
        project,
        user_key,
    )
