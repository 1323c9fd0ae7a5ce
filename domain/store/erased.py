"""Erasing a user: what is deleted, what loses its words, and what stays to be counted.

The caller holds the locks of the user's customers and of the user. Every function is one statement, harmless
when it is said twice.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from domain.store.owned import TARGETS_OF_USER
from domain.store.session import Connection, rows_changed

#: Tables whose rows of the user go; items, lines and funds go with theirs.
DELETED = (
    "checkout_sessions",
    "checkout_turns",
    "subscriptions",
    "purchases",
    "invoices",
    "invoice_payments",
    "payments",
    "refunds",
    "disputes",
    "entitlement_history",
    "entitlement_changes",
)
#: Tables whose rows stay under the name that nobody can turn back: sums must stay right, and a late event of
#: a customer must be told from a stranger's.
KEPT = ("stripe_customers", "grants", "entitlements", "revenue_entries", "recurring_sums", "audit_log")
#: Tables in which a user_key alone names nobody once it has no name; drifts go by what they say.
NAMELESS = ("users", "reconciliation_runs", "drifts")

#: (received_at, event_id): a place in the order in which events came.
Place = tuple[datetime, str]


class Body(Struct, frozen=True, kw_only=True):
    """The body of a delivery, compressed."""

    received_at: datetime
    event_id: str
    payload: bytes


async def is_erased(connection: Connection, project: str, names: Sequence[str]) -> bool:
    """Whether one of these names is that of an erased user."""
    found = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM users
                       WHERE project = $1 AND user_id = ANY($2::text[]) AND erased_at IS NOT NULL)
        """,
        project,
        list(names),
    )
    return bool(found)


async def list_erased(connection: Connection, project: str, names: Sequence[str]) -> list[str]:
    """Of these names, the ones of erased users."""
    rows = await connection.fetch(
        """
        SELECT user_id FROM users WHERE project = $1 AND user_id = ANY($2::text[]) AND erased_at IS NOT NULL
        """,
        project,
        list(names),
    )
    return [row["user_id"] for row in rows]


async def is_new_among_erased(connection: Connection, project: str, user_key: int) -> bool:
    """Whether this transaction has made the user, in a project of which somebody was erased."""
    found = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM users WHERE user_key = $2 AND created_at >= now())
               AND EXISTS (SELECT FROM users WHERE project = $1 AND erased_at IS NOT NULL)
        """,
        project,
        user_key,
    )
    return bool(found)


async def find_by_name(connection: Connection, project: str, names: Sequence[str]) -> int | None:
    """The user_key of an erased user; None: nobody erased has one of these names."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        """
        SELECT user_key FROM users
        WHERE project = $1 AND user_id = ANY($2::text[]) AND erased_at IS NOT NULL LIMIT 1
        """,
        project,
        list(names),
    )


async def bury_user(connection: Connection, project: str, user_key: int, tombstone: str) -> None:
    await connection.execute(
        """
        UPDATE users SET user_id = $3, erased_at = coalesce(erased_at, clock_timestamp()), clock_at = NULL
        WHERE project = $1 AND user_key = $2
        """,
        project,
        user_key,
        tombstone,
    )


async def count_rows(connection: Connection, table: str, project: str, user_keys: Sequence[int]) -> int:
    return int(
        await connection.fetchval(
            f"SELECT count(*) FROM {table} WHERE project = $1 AND user_key = ANY($2::bigint[])",
            project,
            list(user_keys),
        )
    )


async def delete_rows(connection: Connection, table: str, project: str, user_key: int) -> int:
    status = await connection.execute(
        f"DELETE FROM {table} WHERE project = $1 AND user_key = $2", project, user_key
    )
    return rows_changed(status)


async def drop_bodies(connection: Connection, project: str, user_key: int) -> int:
    """Of every delivery about the user's customers and objects. Before these rows are deleted."""
    status = await connection.execute(
        f"""
        UPDATE webhook_events SET payload = NULL
        WHERE payload IS NOT NULL AND (target_kind, target_ref) IN ({TARGETS_OF_USER.format(user="$2")})
          AND EXISTS (SELECT FROM users WHERE project = $1 AND user_key = $2)
        """,
        project,
        user_key,
    )
    return rows_changed(status)


async def drop_bodies_of(connection: Connection, event_ids: Sequence[str]) -> None:
    if event_ids:
        await connection.execute(
            "UPDATE webhook_events SET payload = NULL WHERE event_id = ANY($1::text[])", list(event_ids)
        )


async def find_first_place(connection: Connection, *, days: float) -> Place | None:
    """Before everything that came since the oldest erasure of these days; None: there was none."""
    at = await connection.fetchval(
        """
        SELECT min(erased_at) FROM users WHERE erased_at > clock_timestamp() - make_interval(secs => $1)
        """,
        days * 86_400,
    )
    return None if at is None else (at, "")


async def list_erased_customers(connection: Connection, customers: Sequence[str]) -> set[str]:
    """Of these, the ones whose user was erased."""
    rows = await connection.fetch(
        """
        SELECT c.stripe_customer_id AS id FROM stripe_customers c JOIN users u USING (user_key)
        WHERE c.stripe_customer_id = ANY($1::text[]) AND u.erased_at IS NOT NULL
        """,
        list(customers),
    )
    return {row["id"] for row in rows}


async def list_other_bodies(
    connection: Connection, after: Place | None, *, older_than_s: float, limit: int
) -> list[Body]:
    """Bodies of deliveries that name no customer as what is synced, in the order they came."""
    rows = await connection.fetch(
        """
        SELECT received_at, event_id, payload FROM webhook_events
        WHERE payload IS NOT NULL AND target_kind IS DISTINCT FROM 'customer'
          AND ($1::timestamptz IS NULL OR (received_at, event_id) > ($1, $2))
          AND received_at <= clock_timestamp() - make_interval(secs => $4)
        ORDER BY received_at, event_id LIMIT $3
        """,
        after[0] if after else None,
        after[1] if after else None,
        limit,
        older_than_s,
    )
    return [Body(**row) for row in rows]


async def list_ids(connection: Connection, project: str, user_key: int) -> list[str]:
    """Stripe's ids of the user's customers and objects: what a body about the user names."""
    rows = await connection.fetch(
        f"""
        SELECT DISTINCT t.id FROM ({TARGETS_OF_USER.format(user="$2")}) t(kind, id)
        WHERE t.id IS NOT NULL AND EXISTS (SELECT FROM users WHERE project = $1 AND user_key = $2)
        ORDER BY t.id
        """,
        project,
        user_key,
    )
    return [row["id"] for row in rows]


async def end_grants(connection: Connection, project: str, user_key: int, *, actor: str, words: str) -> int:
    """Every grant is over, and what operators wrote is gone."""
    status = await connection.execute(
        """
        UPDATE grants SET reason = $4, idempotency_key = NULL, request_sha256 = NULL, revoke_reason = $4,
               revoked_at = coalesce(revoked_at, clock_timestamp()), revoked_by = coalesce(revoked_by, $3)
        WHERE project = $1 AND user_key = $2
        """,
        project,
        user_key,
        actor,
        words,
    )
    return rows_changed(status)


async def drop_words(connection: Connection, project: str, user_key: int, *, words: str) -> None:
    """Reasons in the audit log: Postgres lets these change, and only once the user is erased."""
    await connection.execute(
        """
        UPDATE audit_log SET reason = $3
        WHERE project = $1 AND user_key = $2 AND reason IS NOT NULL AND reason <> $3
        """,
        project,
        user_key,
        words,
    )


async def drop_drifts(connection: Connection, project: str, user_key: int, customers: Sequence[str]) -> None:
    """Their commands name the user."""
    await connection.execute(
        """
        DELETE FROM drifts WHERE (project = $1 AND user_key = $2) OR stripe_customer_id = ANY($3::text[])
        """,
        project,
        user_key,
        list(customers),
    )


async def drop_timers(connection: Connection, customers: Sequence[str]) -> None:
    """Nothing of these customers is to be read again."""
    await connection.execute(
        "DELETE FROM timers WHERE target_kind = 'customer' AND target_ref = ANY($1::text[])", list(customers)
    )


async def drop_kept_answers(connection: Connection, project: str, named: Sequence[bytes]) -> None:
    """Answers under an Idempotency-Key that hold one of these: the same call is refused from now on."""
    await connection.execute(
        """
        DELETE FROM idempotency_keys
        WHERE (project = $1 OR project IS NULL) AND body IS NOT NULL
          AND EXISTS (SELECT FROM unnest($2::bytea[]) AS n(text) WHERE position(n.text IN body) > 0)
        """,
        project,
        list(named),
    )


async def drop_imported(connection: Connection, project: str, user_id: str, customers: Sequence[str]) -> None:
    """What a map of an import said of the user."""
    await connection.execute(
        """
        DELETE FROM import_customers c USING imports i
        WHERE i.import_id = c.import_id AND i.project = $1
          AND (c.user_id = $2 OR c.stripe_customer_id = ANY($3::text[]))
        """,
        project,
        user_id,
        list(customers),
    )


async def unseat_customers(connection: Connection, project: str, user_key: int) -> None:
    """Rows that Stripe never answered go; the others stay, so that late events of theirs are known."""
    await connection.execute(
        """
        WITH never AS (
            DELETE FROM stripe_customers WHERE project = $1 AND user_key = $2 AND stripe_customer_id IS NULL
        )
        UPDATE stripe_customers SET is_primary = false
        WHERE project = $1 AND user_key = $2 AND stripe_customer_id IS NOT NULL
        """,
        project,
        user_key,
    )


async def is_being_changed(connection: Connection, project: str, user_keys: Sequence[int]) -> bool:
    """Whether a checkout or a change of one of them is under way at Stripe, as far as our rows tell."""
    found = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM checkout_turns WHERE project = $1 AND user_key = ANY($2::bigint[])
                       AND lease_until > clock_timestamp())
            OR EXISTS (SELECT FROM stripe_customers WHERE project = $1 AND user_key = ANY($2::bigint[])
                         AND stripe_customer_id IS NULL
                         AND created_at > clock_timestamp() - interval '1 minute')
        """,
        project,
        list(user_keys),
    )
    return bool(found)
