"""What a run found and another target's run must do: marked at once, in a transaction of its own.

Each object has one writer; a run that would write another's rows could deadlock with it or undo its work.
"""

import uuid
from collections.abc import Collection

from domain.flows.fetch import Fetched
from domain.model import NewEvent, TargetRef
from domain.rules.events import internal_event
from domain.store import customers, inbox
from domain.store.session import Connection

STRAY = "belongs_here"


async def mark_others(
    connection: Connection, target: TargetRef, fetched: Fetched, *, causes: Collection[str]
) -> tuple[int, ...]:
    """Objects of other customers, the rest of long lists, and the customers of a test clock.

    `causes`: types of the events of this run. One that was sent here as a stray sends none on: two objects
    that name each other and two customers would be passed to and fro for ever.
    Answers the targets that may be rung.
    """
    strays = [] if set(causes) <= {f"tollhouse.{STRAY}"} else _strays(target, fetched)
    on_clock = [
        _event("customer_all", customer_id, customer_id, cause="clock_moved")
        for customer_id in sorted(fetched.clock_customers)
        if await customers.find_owner(connection, customer_id) is not None
    ]
    events = [*strays, *_rest(target, fetched), *on_clock]
    if not events:
        return ()
    marked = await inbox.mark(connection, sorted(events, key=lambda event: event.event_id))
    return marked.target_ids


def _strays(target: TargetRef, fetched: Fetched) -> list[NewEvent]:
    """Objects that belong to another customer than this one: its run writes them, not ours."""
    if target.kind != "customer":
        return []
    return [
        _event(kind, stripe_id, customer_id, cause=STRAY)
        for kind, stripe_id, customer_id in fetched.owners()
        if customer_id and customer_id != target.stripe_id
    ]


def _rest(target: TargetRef, fetched: Fetched) -> list[NewEvent]:
    """Pages of the customer's lists that were too many for one run."""
    return [_event(kind, name, target.stripe_id, cause="next_page") for kind, name in sorted(fetched.later)]


def _event(kind: str, stripe_id: str, customer_id: str, *, cause: str) -> NewEvent:
    target = TargetRef("customer", customer_id)
    return internal_event(f"th_{uuid.uuid4().hex}", "sync", kind, stripe_id, target, cause=cause)
