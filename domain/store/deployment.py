"""The one Stripe account and mode of this database, and the read budget all processes share for it."""

from msgspec import Struct

from domain.store.session import Connection

#: Share of the rate that may be taken at once: a purchase needs four reads, and pacing them evenly kept
#: every buyer waiting for slots that nobody else wanted (docs/decisions/0002).
BURST_SHARE = 0.25


class DeploymentRow(Struct, frozen=True, kw_only=True):
    account_id: str
    mode: str
    env: str


async def find_deployment(connection: Connection) -> DeploymentRow | None:
    """None: no process with a Stripe key has reached Stripe yet."""
    row = await connection.fetchrow("SELECT account_id, mode, env FROM deployment")
    return None if row is None else DeploymentRow(**row)


async def fix_deployment(connection: Connection, row: DeploymentRow) -> DeploymentRow:
    """Write the row if there is none; answers the one that counts."""
    await connection.execute(
        "INSERT INTO deployment (account_id, mode, env) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
        row.account_id,
        row.mode,
        row.env,
    )
    fixed = await find_deployment(connection)
    return fixed or row


async def reserve_slot(connection: Connection, *, rate: float, max_wait_s: float) -> float | None:
    """Take the next slot of the read budget. Answers seconds to wait for it; None: none within `max_wait_s`.

    `rate` is the most calls in any second (one more at its edge): a quarter of it may be taken at once after
    a pause, the rest is spaced evenly. For a minute after a 429 all of it counts half.
    """
    return await connection.fetchval(  # type: ignore[no-any-return]
        """
        UPDATE stripe_budget b
        SET next_at = greatest(b.next_at, clock_timestamp() - make_interval(secs => s.gap * s.burst))
                      + make_interval(secs => s.gap)
        FROM (SELECT 1 / ($1 * half * (1 - $3::float8)) AS gap, floor($1 * half * $3::float8) AS burst
              FROM (SELECT CASE WHEN slow_until > clock_timestamp() THEN 0.5 ELSE 1.0 END::float8 AS half
                    FROM stripe_budget) h) s
        WHERE b.next_at < clock_timestamp() + make_interval(secs => $2)
        RETURNING greatest(0, extract(epoch FROM
            b.next_at - make_interval(secs => s.gap) - clock_timestamp()))::float8
        """,
        rate,
        max_wait_s,
        BURST_SHARE,
    )


async def slow_down(connection: Connection, *, for_s: float) -> None:
    """Stripe answered 429: half the rate for a while."""
    await connection.execute(
        "UPDATE stripe_budget SET slow_until = clock_timestamp() + make_interval(secs => $1)", for_s
    )
