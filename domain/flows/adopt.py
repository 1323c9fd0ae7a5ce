"""Adopt: an operator says whose a Stripe customer is that we did not make; its sources count from then on."""

import re
import uuid
from typing import Literal

from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, FieldError, Invalid, ObjectMissing, Unknown
from domain.flows.grant import refuse_impossible_user, require_head
from domain.flows.link import link_customer, mark_all
from domain.flows.make_user import lock_or_make_user
from domain.flows.read_budget import CLAIM_WAIT_S, budget_of, noting_429
from domain.flows.record_action import Operator, record_action
from domain.model import TargetRef
from domain.rules.shapes import parse_customer
from domain.store import checkouts, customers, inbox, links
from domain.store.session import Connection
from domain.telemetry import get_logger

log = get_logger()

_is_customer_id = re.compile(r"[A-Za-z0-9_-]{1,255}").fullmatch


class Adopted(Struct, frozen=True, kw_only=True):
    customer_id: str
    project: str
    user_id: str
    #: `already`: it was this user's before; its objects are read again all the same.
    state: Literal["adopted", "already"]
    #: Used for the user's next checkouts; a user who had a customer keeps that one.
    is_primary: bool
    #: Events of the customer that were foreign and get their turn now.
    reopened: int
    #: The target that may be rung.
    owed: int


async def adopt(
    context: Context,
    customer_id: str,
    project: str,
    user_id: str,
    operator: Operator,
    *,
    reason: str,
) -> Adopted:
    """Link a Stripe customer to a user, who is made when unknown, and have everything of it read.

    Row, audit row and the wish to read are one transaction. Answers follow with the next sync.

    Raises:
        Invalid: what cannot be a customer's or a user's id, or no reason.
        Unknown: there is no such project, or Stripe has no such customer.
        Conflict: Stripe deleted the customer, it is another user's, or the user was erased.
        Unavailable: Postgres or Stripe is away.
    """
    _refuse_impossible(customer_id, user_id, reason)
    async with context.database.connection() as connection:
        await require_head(connection, project)
    await _require_alive(context, customer_id)
    async with context.database.transaction() as connection:
        adopted = await _adopt(context, connection, customer_id, project, user_id, operator, reason.strip())
    log.info("customer_adopted", customer=customer_id, state=adopted.state, reopened=adopted.reopened)
    return adopted


async def _adopt(
    context: Context,
    connection: Connection,
    customer_id: str,
    project: str,
    user_id: str,
    operator: Operator,
    reason: str,
) -> Adopted:
    # Before the user, as everywhere: whoever syncs the customer holds this first.
    target_id = await inbox.raise_target(connection, TargetRef("customer", customer_id))
    user_key = await lock_or_make_user(context, connection, project, user_id)
    owner = await customers.find_owner(connection, customer_id)
    if owner is not None and owner.user_key != user_key:
        raise Conflict(
            f"{customer_id} belongs to another user already (user_key {owner.user_key} of {owner.project}); "
            "a customer has one user.",
            code="customer_taken",
        )
    is_primary, reopened = False, 0
    if owner is None:
        is_primary = await checkouts.find_primary_customer(connection, project, user_key) is None
        reopened = await _link(connection, customer_id, project, user_key, is_primary=is_primary)
    else:
        await mark_all(connection, customer_id, source="adopt", cause="adopted")
    await record_action(
        connection,
        operator,
        action="customer.adopt",
        project=project,
        user_key=user_key,
        subject=("customer", customer_id),
        reason=reason,
        details={"was_linked": owner is not None, "is_primary": is_primary},
    )
    return Adopted(
        customer_id=customer_id,
        project=project,
        user_id=user_id,
        state="already" if owner is not None else "adopted",
        is_primary=is_primary,
        reopened=reopened,
        owed=target_id,
    )


async def _link(
    connection: Connection, customer_id: str, project: str, user_key: int, *, is_primary: bool
) -> int:
    """Answers how many foreign events were reopened."""
    ref = uuid.uuid4()
    await links.insert_unlinked(connection, ref, project, user_key, is_primary=is_primary)
    linked = await link_customer(connection, customer_id, ref, read_all=True, source="adopt")
    return linked.reopened


def _refuse_impossible(customer_id: str, user_id: str, reason: str) -> None:
    refuse_impossible_user(user_id)
    if not _is_customer_id(customer_id):
        raise Invalid(
            "This cannot be a Stripe customer's id.",
            errors=(FieldError("customer_id", "as Stripe shows it, cus_…"),),
        )
    if not reason.strip() or "\0" in reason:
        raise Invalid("Say why, for the audit log.", errors=(FieldError("reason", "one sentence"),))


async def _require_alive(context: Context, customer_id: str) -> None:
    """A mistyped id would stand in our rows for ever, waiting for events that never come."""
    stripe = context.stripe_or_raise
    try:
        async with noting_429(context):
            # An operator waits as long as a buyer does.
            answer = await stripe.read(f"/v1/customers/{customer_id}", budget_of(context, CLAIM_WAIT_S))
    except ObjectMissing as error:
        raise Unknown(
            f"Stripe has no customer {customer_id} in this account and mode: look it up in the dashboard.",
            code="unknown_customer",
        ) from error
    if parse_customer(answer).is_deleted:
        raise Conflict(f"Stripe has deleted customer {customer_id}.", code="customer_deleted")
