"""`catalog apply` against Stripe: create there, store the version, recompute, archive what is sold no longer.

Nothing remembers how far an earlier run came: each step compares what there is with what should be, so the
next run begins where a killed one ended, and a run after the last one changes nothing.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, Invalid, Unavailable
from domain.flows.confirm_live import find_confirmation, require_confirmation
from domain.flows.plan_stripe import plan_stripe
from domain.flows.publish_catalog import PublishedProject, publish_sold
from domain.flows.recompute_due import Backlog, CaughtUp
from domain.flows.record_action import NOBODY, Operator, record_action
from domain.flows.webhook_endpoint import MadeEndpoint, list_retirable, set_endpoint
from domain.rules.catalog import Catalog, StripeChange, StripeNote, StripePlan
from domain.rules.catalog.stripe_nouns import StripeNoun
from domain.store import catalogs
from domain.telemetry import get_logger

__all__ = [
    "Applied",
    "MadeEndpoint",
    "StripeChange",
    "StripeNote",
    "StripePlan",
    "apply_catalog",
    "find_confirmation",
    "plan_stripe",
]

log = get_logger()

PATHS: dict[StripeNoun, str] = {
    "product": "/v1/products",
    "price": "/v1/prices",
    "portal": "/v1/billing_portal/configurations",
    "endpoint": "/v1/webhook_endpoints",
}


#: How long an apply waits for another one, in seconds: the session of a killed one ends within that.
ALONE_WAIT_S, ALONE_LOOK_S = 1.0, 0.1


class Applied(Struct, frozen=True, kw_only=True):
    projects: dict[str, PublishedProject]
    #: What was created, changed and archived at Stripe, in order; empty: it was all there.
    changes: tuple[StripeChange, ...]
    unmanaged: tuple[StripeNote, ...]
    recomputed: CaughtUp
    #: A webhook endpoint that was made now, with the secret that nobody will say again.
    endpoint: MadeEndpoint | None
    #: Endpoints of ours that wait to be retired.
    retirable: tuple[StripeNote, ...]


async def apply_catalog(
    context: Context,
    given: Mapping[str, Catalog],
    *,
    confirmed: str | None,
    on_progress: Callable[[int, int], None],
    operator: Operator = NOBODY,
) -> Applied:
    """Make `given` the catalogs in force, in Stripe and here. `on_progress` is told of users recomputed.

    What is to be changed at Stripe is in the audit log before Stripe is asked, each new version with it.

    `confirmed`: what was typed for `find_confirmation`.

    Raises:
        Conflict: not confirmed, a live key where tests run, or another apply is at work.
        Invalid: something at Stripe is in the way; nothing was changed.
        WrongDeployment: as `plan_stripe`.
        Unavailable: Stripe or Postgres is away; applying again goes on where this ended.
    """
    require_confirmation(context, confirmed)
    async with _alone(context):
        return await _apply(context, given, on_progress, operator)


@asynccontextmanager
async def _alone(context: Context) -> AsyncIterator[None]:
    """No other apply of this deployment is between its steps: it would archive what this one sells.

    Held by a session of its own, which ends with the process.
    """
    session = await context.database.open_session(lambda: None, {})
    try:
        until = time.monotonic() + ALONE_WAIT_S
        with session.use() as connection:
            while not await catalogs.take_apply(connection):
                if time.monotonic() > until:
                    raise Conflict("Another catalog apply is at work: apply again when it has ended.")
                await asyncio.sleep(ALONE_LOOK_S)
        yield
    finally:
        await session.close()


async def _apply(
    context: Context,
    given: Mapping[str, Catalog],
    on_progress: Callable[[int, int], None],
    operator: Operator,
) -> Applied:
    planned = await plan_stripe(context, given)
    _refuse_obstacles(planned.obstacles)
    await _record_wanted(context, given, planned, operator)
    done = await _carry_out(context, planned.changes)
    ready = planned if not done else await plan_stripe(context, given)
    if ready.changes:
        raise Unavailable(
            f"Stripe does not show {ready.changes[0].key} as it was just set: apply again in a minute."
        )
    await context.faults.reach("catalog.created")
    projects = await publish_sold(context, given, ready.sold, operator)
    await context.faults.reach("catalog.stored")
    done += await _carry_out(context, ready.portals)
    recomputed = await Backlog(context).catch_up(on_progress)
    await context.faults.reach("catalog.recomputed")
    done += await _carry_out(context, ready.archives)
    endpoint = await _set_endpoints(context, ready.endpoints)
    return Applied(
        projects=projects,
        changes=(*done, *ready.endpoints),
        unmanaged=ready.unmanaged,
        recomputed=recomputed,
        endpoint=endpoint,
        retirable=ready.retirable if not ready.endpoints else await list_retirable(context),
    )


def _refuse_obstacles(obstacles: Sequence[StripeNote]) -> None:
    if obstacles:
        raise Invalid(
            "Stripe has something in the way, and nothing was changed: "
            + "; ".join(f"{one.noun} {one.stripe_id} {one.detail}" for one in obstacles),
            code="stripe_in_the_way",
        )


async def _record_wanted(
    context: Context, given: Mapping[str, Catalog], planned: StripePlan, operator: Operator
) -> None:
    """One row per project, and one for what is of none.

    Stripe shares no transaction with us: the row is first, so that nothing is done there that no row tells
    of, and an apply that was killed has said what it wanted.
    """
    wanted: dict[str | None, list[StripeChange]] = {}
    for change in planned.all_changes:
        named = change.key.partition(".")[0]
        wanted.setdefault(named if named in given else None, []).append(change)
    async with context.database.transaction() as connection:
        for project, changes in wanted.items():
            await record_action(
                connection,
                operator,
                action="catalog.stripe",
                project=project,
                user_key=None,
                subject=("catalog", project or "deployment"),
                reason=None,
                details={"changes": [f"{one.action} {one.noun} {one.key}" for one in changes]},
            )


async def _carry_out(context: Context, changes: Sequence[StripeChange]) -> list[StripeChange]:
    for change in changes:
        await _carry_out_one(context, change)
        log.info("catalog_changed_at_stripe", action=change.action, noun=change.noun, key=change.key)
        await context.faults.reach("catalog.changed", f"{change.action}:{change.key}")
    return list(changes)


async def _set_endpoints(context: Context, changes: Sequence[StripeChange]) -> MadeEndpoint | None:
    """Last of all: whoever is told the secret must not be kept from it by what could fail afterwards."""
    made = None
    for change in changes:
        made = await set_endpoint(context, change)
    return made


async def _carry_out_one(context: Context, change: StripeChange) -> None:
    path = PATHS[change.noun]
    if change.action == "create":
        await context.stripe_or_raise.create(path, change.params, idempotency_key=change.content_key)
        return
    # Setting a value twice is harmless, and Stripe would answer a key of the content from its memory, without
    # doing it, where somebody has set it back within a day.
    key = f"catalog:set:{uuid.uuid4()}"
    await context.stripe_or_raise.create(f"{path}/{change.stripe_id}", change.params, idempotency_key=key)
