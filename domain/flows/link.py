"""LINK: a Stripe customer becomes a user's, by our own row; its foreign events get their turn again."""

import uuid
from uuid import UUID

from msgspec import Struct

from domain.errors import Broken
from domain.model import Owner, TargetRef
from domain.rules.events import internal_event
from domain.store import customers, inbox, links, targets
from domain.store.session import Connection


class Linked(Struct, frozen=True, kw_only=True):
    #: Of the customer; it is owed a sync now.
    target_id: int
    #: Events of the customer that were foreign and are pending now.
    reopened: int = 0


async def link_customer(
    connection: Connection, customer_id: str, ref: UUID, *, read_all: bool, source: str = "link"
) -> Linked:
    """Write a Stripe customer's id into the row `ref`.

    The caller's transaction does nothing else before this: it locks the customer's target, then the user.
    `read_all`: read every object of the customer; not for one that our own call has just created.
    Linking the same pair twice is harmless.

    Raises:
        Broken: the row is gone, or holds another customer's id.
    """
    target = TargetRef("customer", customer_id)
    target_id = await inbox.raise_target(connection, target)
    await targets.set_owner(connection, target_id, Owner.OURS)
    row = await links.find_customer(connection, ref)
    if row is None:
        raise Broken(f"no row of ours has the reference {ref} that customer {customer_id} carries")
    await customers.lock_user(connection, row.user_key)
    if not await links.write_customer_id(connection, ref, customer_id):
        current = await links.find_customer(connection, ref)
        if current is None or current.stripe_customer_id != customer_id:
            raise Broken(f"reference {ref} belongs to another Stripe customer than {customer_id}")
        return Linked(target_id=target_id)
    reopened = await links.reopen_foreign(connection, target)
    if read_all:
        await mark_all(connection, customer_id, source=source, cause="linked")
    return Linked(target_id=target_id, reopened=reopened)


async def mark_all(connection: Connection, customer_id: str, *, source: str, cause: str) -> None:
    """Wish that everything of a customer is read."""
    target = TargetRef("customer", customer_id)
    event_id = f"th_{uuid.uuid4().hex}"
    event = internal_event(event_id, source, "customer_all", customer_id, target, cause=cause)
    await inbox.mark(connection, [event])
