"""The whole diagnosis: the parts side by side, then what rests on several of them."""

import asyncio
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime

from msgspec import Struct

from domain.context import Context
from domain.flows.diagnose.here import examine_catalog_at_stripe, examine_secrets
from domain.flows.diagnose.postgres import examine_database, examine_postgres
from domain.flows.diagnose.redis import examine_redis
from domain.flows.diagnose.stripe import examine_stripe
from domain.rules.diagnosis import Check, Outcome, first_step, worst

#: Seconds that one check may take.
LIMIT_S = 5.0


class Diagnosis(Struct, frozen=True, kw_only=True):
    #: The worst of all checks: failed, warning or ok.
    outcome: Outcome
    at: datetime
    checks: tuple[Check, ...]
    #: One sentence.
    first: str


async def diagnose(
    context: Context, *, queue: Awaitable[Mapping[str, object]] | None, limit_s: float = LIMIT_S
) -> Diagnosis:
    """Every check, whatever is away; never raises for that. Changes nothing, in Stripe neither.

    `queue`: what its Redis says of itself (raises Unavailable where it is away), asked by the caller because
    flows have no queue; None: no queue is set here. `limit_s`: of one check.
    """
    server, redis, stripe, secrets = await asyncio.gather(
        examine_postgres(context, limit_s),
        examine_redis(context, queue, limit_s),
        examine_stripe(context, limit_s),
        examine_secrets(context),
    )
    database = await examine_database(context, server, limit_s)
    at_stripe = await examine_catalog_at_stripe(context, [*server, *stripe], limit_s)
    checks = (*server, *redis, *stripe, *secrets, *database[:2], *at_stripe, *database[2:])
    return Diagnosis(outcome=worst(checks), at=datetime.now(UTC), checks=checks, first=first_step(checks))
