"""Make sure that a user has a Stripe customer of ours: one, however many ask at once."""

import asyncio
import uuid
from uuid import UUID

from msgspec import Struct

from domain.context import Context
from domain.errors import Broken, Conflict, ReplayedFailure, Unavailable
from domain.flows.link import link_customer
from domain.flows.make_user import lock_or_make_user
from domain.store import checkouts, imports
from domain.store.links import CustomerRow
from domain.store.session import Connection
from domain.telemetry import get_logger

log = get_logger()

#: Somebody else is creating the same customer at this moment: Stripe then says busy, and is done in well
#: under a second. Three looks keep a real outage within the time a caller waits.
ATTEMPTS, PAUSE_S = 3, 0.3


class OurCustomer(Struct, frozen=True):
    user_key: int
    #: cus_….
    customer_id: str
    #: Of our row, and `metadata.tollhouse_ref` in Stripe.
    ref: UUID


async def ensure_customer(context: Context, project: str, user_id: str) -> OurCustomer:
    """The user's primary customer, made in Stripe when there is none; unknown users are created.

    Raises:
        Conflict: the user was erased.
        Unavailable: Stripe or Postgres is away; asking again makes no second customer.
    """
    for attempt in range(1, ATTEMPTS + 1):
        row = await _ensure_row(context, project, user_id)
        if row.stripe_customer_id is not None:
            return OurCustomer(row.user_key, row.stripe_customer_id, row.ref)
        try:
            return OurCustomer(row.user_key, await _create_and_link(context, row, user_id), row.ref)
        except Unavailable:
            if attempt == ATTEMPTS:
                raise
        await asyncio.sleep(PAUSE_S)
    raise AssertionError("the last attempt returns or raises")


async def _ensure_row(context: Context, project: str, user_id: str) -> CustomerRow:
    async with context.database.transaction() as connection:
        # The user's row is locked by this, so that two who find no customer do not both insert one.
        user_key = await lock_or_make_user(context, connection, project, user_id)
        row = await checkouts.find_primary_customer(connection, project, user_key)
        if row is None:
            await _refuse_before_import(connection, project)
            row = await checkouts.insert_primary_customer(connection, project, user_key, uuid.uuid4())
            log.info("customer_row_created", user_key=user_key, ref=str(row.ref))
    return row


async def _refuse_before_import(connection: Connection, project: str) -> None:
    """The user may have a customer that was not imported yet: a second one would pay twice."""
    since, allows_new = await imports.read_pending(connection, project)
    if since is not None and not allows_new:
        raise Conflict(
            f"{project} waits for the customers of an older system, and this user has none yet: send the "
            "call again when the import is complete: `tollhouse backfill complete`.",
            code="import_pending",
        )


async def _create_and_link(context: Context, row: CustomerRow, user_id: str) -> str:
    # The same for every caller of one row: under one idempotency key Stripe refuses different params.
    metadata = {
        "tollhouse_v": "1",
        "tollhouse_env": context.settings.env,
        "tollhouse_project": row.project,
        "tollhouse_user": user_id,
        "tollhouse_ref": str(row.ref),
    }
    try:
        created = await context.stripe_or_raise.create(
            "/v1/customers",
            {"metadata": metadata},
            idempotency_key=f"customer:{row.ref}:{row.generation}",
        )
    except (Broken, ReplayedFailure):
        # Stripe replays a refusal or a failure under the same key for a day; the next attempt must be a new
        # one. Should the failed call have made a customer after all, nobody was told of that one.
        async with context.database.transaction() as connection:
            await checkouts.raise_generation(connection, row.ref, row.generation)
        raise
    customer_id: str = created["id"]
    async with context.database.transaction() as connection:
        await link_customer(connection, customer_id, row.ref, read_all=False)
    log.info("customer_created", user_key=row.user_key, customer=customer_id)
    return customer_id
