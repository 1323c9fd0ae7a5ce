"""LINK: a Stripe customer becomes a user's, by our own row; its foreign events get their turn again."""

import uuid
from uuid import UUID

from domain.errors import Broken
from domain.model import Owner, TargetRef
from domain.rules.events import internal_event
from domain.store import customers, inbox, links, targets
from domain.store.session import Connection


async def link_customer(connection: Connection, customer_id: str, ref: UUID, *, read_all: bool) -> int:
    """Write a Stripe customer's id into the row `ref`; answers the id of its target, which is now owed.

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
        return target_id
    await links.reopen_foreign(connection, target)
    if read_all:
        event = internal_event(
            f"th_{uuid.uuid4().hex}", "link", "customer_all", customer_id, target, cause="linked"
        )
        await inbox.mark(connection, [event])
    return target_id
