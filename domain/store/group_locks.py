"""Leases on (user, group of plans): a row, because no transaction stays open while Stripe is called.

One table for checkouts and changes, so that neither overtakes the other.
"""

from uuid import UUID

from domain.store.session import Connection


async def take_group(
    connection: Connection, project: str, user_key: int, group: str, *, token: UUID, lease_s: float
) -> bool:
    """Hold the group until `release_group`, at most `lease_s`. False: somebody else holds it.

    Who comes again with the token that holds it, holds it on: an attempt that resumes a dead one's.
    """
    taken = await connection.fetchval(
        """
        INSERT INTO checkout_turns AS t (project, user_key, group_key, token, lease_until)
        VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5))
        ON CONFLICT (user_key, group_key) DO UPDATE
        SET token = excluded.token, lease_until = excluded.lease_until
        WHERE t.project = excluded.project
          AND (t.lease_until < clock_timestamp() OR t.token = excluded.token) RETURNING true
        """,
        project,
        user_key,
        group,
        token,
        lease_s,
    )
    return taken is not None


async def release_group(
    connection: Connection, project: str, user_key: int, group: str, *, token: UUID
) -> None:
    """A lease that ran out and was taken by somebody else stays theirs."""
    await connection.execute(
        "DELETE FROM checkout_turns WHERE project = $1 AND user_key = $2 AND group_key = $3 AND token = $4",
        project,
        user_key,
        group,
        token,
    )
