"""How far Stripe's list of events was read, and whose turn it is to read on. One row."""

from datetime import datetime

from msgspec import Struct

from domain.store.session import Connection


class Watermark(Struct, frozen=True, kw_only=True):
    #: Stripe's events made before it are all in the inbox; None: its list was never read.
    read_until: datetime | None
    #: The database's clock.
    now: datetime
    #: When the first process with a Stripe key reached Stripe; None: none has.
    fixed_at: datetime | None


async def read_watermark(connection: Connection) -> Watermark:
    row = await connection.fetchrow(
        """
        SELECT w.read_until, clock_timestamp() AS now, d.fixed_at
        FROM reconciliation_watermark w LEFT JOIN deployment d ON true
        """
    )
    return Watermark(**row)


async def take_turn(connection: Connection, *, every_s: float) -> bool:
    """Whether it is time to read Stripe's list again, and nobody else has begun to."""
    row = await connection.fetchval(
        """
        UPDATE reconciliation_watermark w SET looked_at = clock_timestamp() FROM deployment d
        WHERE coalesce(w.looked_at, d.fixed_at) < clock_timestamp() - make_interval(secs => $1)
        RETURNING true
        """,
        every_s,
    )
    return row is not None


async def raise_watermark(connection: Connection, read_until: datetime | None, *, is_whole: bool) -> None:
    """It only rises; None leaves it. `is_whole` False: there is more to read, and the next turn is now."""
    await connection.execute(
        """
        UPDATE reconciliation_watermark SET read_until = greatest(read_until, $1::timestamptz),
            looked_at = CASE WHEN $2 THEN clock_timestamp() ELSE '-infinity' END
        """,
        read_until,
        is_whole,
    )
