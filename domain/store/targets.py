"""Targets: what is owed a sync, who holds the lease, and how a run ends. States: docs/event-path.md.

OWED is any active target with `dirty_seq > synced_seq`. Operational time is always the database's clock.
"""

from collections.abc import Sequence

from msgspec import Struct

from domain.model import Claim, Owner, TargetRef
from domain.store.session import Connection, rows_changed

#: Claimed so often without an outcome means that the process dies on it each time.
MOST_CLAIMS = 10
MOST_FAILURES = 8


class Settled(Struct, frozen=True):
    #: Owed and due again: events came while this run was at work, or there were more than one run takes.
    is_owed: bool


async def claim(connection: Connection, target_id: int, token: str, lease_s: float) -> Claim | None:
    """CLAIM: take the lease. None: leased by another, not due, or nothing owed."""
    row = await connection.fetchrow(
        """
        UPDATE sync_targets
        SET lease_token = $2, lease_until = clock_timestamp() + make_interval(secs => $3),
            claims = claims + 1, rings = 0
        WHERE id = $1 AND dirty_seq > synced_seq AND state = 'active' AND due_at <= clock_timestamp()
          AND (lease_until IS NULL OR lease_until < clock_timestamp())
        RETURNING kind, stripe_id, owner, dirty_seq, claims, failures, attempts
        """,
        target_id,
        token,
        lease_s,
    )
    if row is None:
        return None
    return Claim(
        target_id=target_id,
        target=TargetRef(row["kind"], row["stripe_id"]),
        token=token,
        owner=Owner(row["owner"]),
        claimed_seq=row["dirty_seq"],
        claims=row["claims"],
        failures=row["failures"],
        attempts=row["attempts"],
    )


async def bury(connection: Connection, claim: Claim) -> None:
    """The target is dead: it was claimed too often without any outcome."""
    await connection.execute(
        """
        UPDATE sync_targets SET state = 'dead', last_error = 'claimed 10 times without an outcome',
            lease_token = NULL, lease_until = NULL
        WHERE id = $1 AND lease_token = $2
        """,
        claim.target_id,
        claim.token,
    )


async def lock(connection: Connection, claim: Claim) -> bool:
    """COMMIT's first step: lock the target if the lease is still ours. False: this run is fenced."""
    row = await connection.fetchval(
        "SELECT 1 FROM sync_targets WHERE id = $1 AND lease_token = $2 FOR UPDATE",
        claim.target_id,
        claim.token,
    )
    return row is not None


async def settle(
    connection: Connection,
    claim: Claim,
    *,
    has_more: bool,
    owner: Owner | None,
    error: str | None = None,
) -> Settled:
    """SETTLE: what was claimed is done, the lease ends, counters start again.

    `has_more`: pending events were left over. `owner` None keeps the one stored.
    """
    due = await connection.fetchval(
        """
        WITH broken AS (
            SELECT min(e.retry_at) AS retry_at FROM sync_targets t
            JOIN webhook_events e ON (e.target_kind, e.target_ref) = (t.kind, t.stripe_id)
            -- Not "later than now": what was not due at READ may have become due since, and was not read.
            WHERE t.id = $1 AND e.state = 'pending' AND e.retry_at > '-infinity'
        )
        UPDATE sync_targets SET
            synced_seq = CASE WHEN $3 OR broken.retry_at IS NOT NULL THEN synced_seq
                              ELSE greatest(synced_seq, $2) END,
            lease_token = NULL, lease_until = NULL, claims = 0, failures = 0, attempts = 0, last_error = $4,
            rung_at = CASE WHEN broken.retry_at IS NOT NULL THEN '-infinity' ELSE rung_at END,
            due_at = CASE WHEN broken.retry_at IS NOT NULL AND NOT $3 AND dirty_seq = $2
                          THEN broken.retry_at ELSE '-infinity' END,
            owner = coalesce($5, owner)
        FROM broken WHERE id = $1
        RETURNING dirty_seq > synced_seq AND due_at <= clock_timestamp()
        """,
        claim.target_id,
        claim.claimed_seq,
        has_more,
        error,
        owner.value if owner else None,
    )
    return Settled(is_owed=bool(due))


async def fail(connection: Connection, claim: Claim, error: str, *, is_broken: bool, base_s: float) -> bool:
    """FAIL: release the lease and back off; `MOST_FAILURES` Broken in a row are dead.

    A fenced run writes nothing. Answers whether the target is now dead.
    """
    state = await connection.fetchval(
        """
        UPDATE sync_targets SET lease_token = NULL, lease_until = NULL, claims = 0, attempts = attempts + 1,
            failures = failures + CASE WHEN $3 THEN 1 ELSE 0 END,
            state = CASE WHEN $3 AND failures + 1 >= $5 THEN 'dead' ELSE state END,
            last_error = $4, rung_at = '-infinity',
            due_at = clock_timestamp()
                + make_interval(secs => least(300, $6 * 2 ^ least(attempts, 10)) * (0.5 + random() / 2))
        WHERE id = $1 AND lease_token = $2
        RETURNING state
        """,
        claim.target_id,
        claim.token,
        is_broken,
        error[:1000],
        MOST_FAILURES,
        base_s,
    )
    return bool(state == "dead")


async def release(connection: Connection, claim: Claim) -> None:
    """Give the lease back as if it had not been taken: the run must begin again with a new verdict."""
    await connection.execute(
        """
        UPDATE sync_targets SET lease_token = NULL, lease_until = NULL, claims = greatest(claims - 1, 0)
        WHERE id = $1 AND lease_token = $2
        """,
        claim.target_id,
        claim.token,
    )


async def postpone(connection: Connection, claim: Claim, *, by_s: float) -> None:
    """No slot in the read budget: come back later; it counts neither as a try nor as a failure."""
    await connection.execute(
        """
        UPDATE sync_targets SET lease_token = NULL, lease_until = NULL, claims = 0, rung_at = '-infinity',
            due_at = clock_timestamp() + make_interval(secs => $3)
        WHERE id = $1 AND lease_token = $2
        """,
        claim.target_id,
        claim.token,
        by_s,
    )


async def sweep(connection: Connection, *, again_s: float, limit: int) -> list[int]:
    """SWEEP: targets that are owed, due, unleased and not rung lately; marks them rung."""
    rows = await connection.fetch(
        """
        UPDATE sync_targets SET rung_at = clock_timestamp(), rings = rings + 1
        WHERE id IN (
            SELECT id FROM sync_targets
            WHERE dirty_seq > synced_seq AND state = 'active' AND due_at <= clock_timestamp()
              AND (lease_until IS NULL OR lease_until < clock_timestamp())
              AND rung_at < clock_timestamp()
                  - make_interval(secs => least($1 * 12, $1 * 2 ^ least(rings, 4)))
            ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
        )
        RETURNING id
        """,
        again_s,
        limit,
    )
    return [row["id"] for row in rows]


async def forget_rings(connection: Connection, target_ids: Sequence[int]) -> None:
    """What SWEEP noted as rung and nobody could ring: the next sweep takes it again, at once."""
    await connection.execute(
        """
        UPDATE sync_targets SET rung_at = '-infinity', rings = greatest(rings - 1, 0)
        WHERE id IN (
            SELECT id FROM sync_targets
            WHERE id = ANY($1::bigint[]) AND dirty_seq > synced_seq AND state = 'active'
            FOR UPDATE SKIP LOCKED
        )
        """,
        list(target_ids),
    )


async def count_owed(connection: Connection) -> int:
    """How many targets are owed a sync: the end state of every fault is 0."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        "SELECT count(*) FROM sync_targets WHERE dirty_seq > synced_seq AND state = 'active'"
    )


async def set_owner(connection: Connection, target_id: int, owner: Owner) -> bool:
    status = await connection.execute(
        "UPDATE sync_targets SET owner = $2 WHERE id = $1", target_id, owner.value
    )
    return rows_changed(status) == 1
