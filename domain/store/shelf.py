"""The mirror of what belongs to no customer: products, prices, test clocks."""

from datetime import datetime

from domain.store.session import Connection


async def upsert_product(
    connection: Connection, *, product_id: str, project: str, name: str, is_active: bool
) -> None:
    await connection.execute(
        """
        INSERT INTO stripe_products (product_id, project, name, is_active, is_deleted)
        VALUES ($1, $2, $3, $4, false)
        ON CONFLICT (product_id) DO UPDATE SET
            project = excluded.project, name = excluded.name, is_active = excluded.is_active,
            is_deleted = false, read_at = clock_timestamp()
        """,
        product_id,
        project,
        name,
        is_active,
    )


async def bury_product(connection: Connection, product_id: str) -> bool:
    """Stripe has it no more; what was sold of it grants on. False: it was never mirrored."""
    row = await connection.fetchval(
        """
        UPDATE stripe_products SET is_deleted = true, is_active = false, read_at = clock_timestamp()
        WHERE product_id = $1 RETURNING true
        """,
        product_id,
    )
    return row is not None


async def upsert_price(
    connection: Connection,
    *,
    price_id: str,
    project: str,
    product_id: str,
    is_active: bool,
    lookup_key: str | None,
    currency: str,
    unit_amount_minor: int | None,
    interval: str | None,
    interval_count: int | None,
) -> None:
    await connection.execute(
        """
        INSERT INTO stripe_prices (price_id, project, product_id, is_active, is_deleted, lookup_key, currency,
                                   unit_amount_minor, billing_interval, interval_count)
        VALUES ($1, $2, $3, $4, false, $5, $6, $7, $8, $9)
        ON CONFLICT (price_id) DO UPDATE SET
            project = excluded.project, product_id = excluded.product_id, is_active = excluded.is_active,
            is_deleted = false, lookup_key = excluded.lookup_key, currency = excluded.currency,
            unit_amount_minor = excluded.unit_amount_minor, billing_interval = excluded.billing_interval,
            interval_count = excluded.interval_count, read_at = clock_timestamp()
        """,
        price_id,
        project,
        product_id,
        is_active,
        lookup_key,
        currency,
        unit_amount_minor,
        interval,
        interval_count,
    )


async def bury_price(connection: Connection, price_id: str) -> bool:
    """As `bury_product`."""
    row = await connection.fetchval(
        """
        UPDATE stripe_prices SET is_deleted = true, is_active = false, read_at = clock_timestamp()
        WHERE price_id = $1 RETURNING true
        """,
        price_id,
    )
    return row is not None


async def upsert_clock(connection: Connection, *, clock_id: str, status: str, frozen_at: datetime) -> None:
    await connection.execute(
        """
        INSERT INTO test_clocks (clock_id, status, frozen_at, is_deleted) VALUES ($1, $2, $3, false)
        ON CONFLICT (clock_id) DO UPDATE SET
            status = excluded.status, frozen_at = excluded.frozen_at, is_deleted = false,
            read_at = clock_timestamp()
        """,
        clock_id,
        status,
        frozen_at,
    )


async def bury_clock(connection: Connection, clock_id: str) -> bool:
    """As `bury_product`; Stripe deletes a clock's customers with it."""
    row = await connection.fetchval(
        """
        UPDATE test_clocks SET is_deleted = true, read_at = clock_timestamp()
        WHERE clock_id = $1 RETURNING true
        """,
        clock_id,
    )
    return row is not None


async def list_projects(connection: Connection) -> list[str]:
    rows = await connection.fetch("SELECT project FROM projects ORDER BY project")
    return [row["project"] for row in rows]
