"""Repair one user: have Stripe read again, compute the answers anew, and copy them to the cache."""

import uuid

from msgspec import Struct

from domain.context import Context
from domain.errors import Unknown
from domain.flows.recompute import before_commit, publish, recompute_user
from domain.flows.record_action import Operator, record_action
from domain.model import NewEvent, TargetRef
from domain.rules.events import internal_event
from domain.store import customers, inbox, traces
from domain.store.session import Connection
from domain.telemetry import get_logger

log = get_logger()


class Repaired(Struct, frozen=True, kw_only=True):
    #: Stripe customers whose objects are all read again by a worker, within seconds.
    customers: tuple[str, ...]
    #: Apps whose stored answers were not what the facts give.
    changed: tuple[str, ...]
    #: Targets that may be rung.
    owed: tuple[int, ...]


async def repair_user(context: Context, project: str, user_id: str, operator: Operator) -> Repaired:
    """Bring every link of a user's chain that we hold up to the one before it. Harmless however often.

    What Stripe is asked for arrives later, through a worker; what the mirror holds is recomputed and in the
    cache before this returns. One audit row, in the transaction of the rest.

    Raises:
        Unknown: the project has no such user.
        Unavailable: Postgres is away; asking again is safe.
    """
    async with context.database.transaction() as connection:
        user = await customers.find_user(connection, project, user_id)
        if user is None:
            raise Unknown(f"Nobody knows a user {user_id!r} in project {project}.", code="unknown_user")
        linked = await _list_linked(connection, project, user.user_key)
        # Targets before the user: the order in which everybody locks.
        marked = await inbox.mark(connection, [_read_all(customer) for customer in linked])
        recomputed = await recompute_user(context, connection, user.user_key, cause="repair")
        await record_action(
            connection,
            operator,
            action="user.repair",
            project=project,
            user_key=user.user_key,
            subject=("user", str(user.user_key)),
            reason=None,
            details={"customers": linked, "changed": recomputed.changed},
        )
        read_at = before_commit()
    await publish(context, [recomputed], read_at)
    log.info("user_repaired", user_key=user.user_key, customers=len(linked), changed=recomputed.changed)
    return Repaired(customers=tuple(linked), changed=recomputed.changed, owed=marked.target_ids)


async def _list_linked(connection: Connection, project: str, user_key: int) -> list[str]:
    rows = await traces.list_customers(connection, project, user_key)
    return sorted(row.stripe_customer_id for row in rows if row.stripe_customer_id is not None)


def _read_all(customer_id: str) -> NewEvent:
    target = TargetRef("customer", customer_id)
    event_id = f"th_{uuid.uuid4().hex}"
    return internal_event(event_id, "operator", "customer_all", customer_id, target, cause="repair")
