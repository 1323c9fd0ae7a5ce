"""The second look: only what still differs a while later is a drift, and gets its repair.

A repair is never a write of its own: it is an internal event that has the object read by the customer's next
run, as any event has. A user without a customer at Stripe has nothing to read and is recomputed here.
"""

import uuid
import zlib
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import ObjectMissing
from domain.flows.recompute import Recomputed, before_commit, publish, recompute_user
from domain.flows.reconcile import gave_up
from domain.flows.reconcile.look import Account, Scope
from domain.flows.reconcile.objects import PATHS, compare, read_one
from domain.flows.reconcile.stages import endpoint_suspects
from domain.flows.reconcile.strangers import REF
from domain.flows.reconcile.users import look_again
from domain.model import Suspect, TargetRef
from domain.rules.drift import KINDS
from domain.rules.events import internal_event
from domain.store import compared, inbox, reconciliation
from domain.store.reconciliation import Suspected
from domain.store.session import Connection

CAUSE = "drift"


class Decided(Struct, frozen=True, kw_only=True):
    is_drift: bool
    is_repaired: bool = False
    #: Targets that may be rung.
    owed: tuple[int, ...] = ()


async def decide(account: Account, scope: Scope, suspected: Suspected) -> Decided:
    """Look again, and write what that shows: confirmed with its repair, or forgotten."""
    now = await _find_again(account, scope, suspected.suspect)
    if now is None:
        async with account.context.database.connection() as connection:
            await reconciliation.drop_suspect(connection, suspected.id)
        return Decided(is_drift=False)
    payload = await _payload(account, now)
    recomputed: Recomputed | None = None
    read_at = 0.0
    async with account.context.database.transaction() as connection:
        repair, owed, recomputed = await _repair(account.context, connection, scope, now, payload)
        await reconciliation.confirm_drift(connection, suspected.id, found=now.found, repair=repair)
        read_at = before_commit()
    if recomputed is not None:
        await publish(account.context, [recomputed], read_at)
    return Decided(is_drift=True, is_repaired=repair is not None, owed=owed)


async def _find_again(account: Account, scope: Scope, suspect: Suspect) -> Suspect | None:
    if suspect.type == "event_missing":
        return await _missing_event(account.context, scope, suspect)
    if suspect.type == gave_up.TYPE:
        return suspect if await gave_up.is_still_dead(account, suspect) else None
    if suspect.object_kind == "webhook_endpoint":
        return _same(suspect, await endpoint_suspects(account))
    if suspect.object_kind == "customer" and not await _is_ours(account.context, suspect):
        return await _stranger(account, suspect)
    if suspect.user_key is not None and suspect.type in OF_USERS:
        found = await look_again(account.context, suspect.user_key, suspect.project)
        return _same(suspect, found or [])
    return await _object(account, scope, suspect)


#: What is wrong with a user rather than with one object of Stripe's.
OF_USERS = frozenset(
    {
        *("entitlement_mismatch", "cache_mismatch", "cache_ahead", "two_customers", "two_subscriptions"),
        *("price_unmapped", "cross_project", "billing_after_dispute", "unbooked"),
    }
)


def _same(suspect: Suspect, found: Sequence[Suspect]) -> Suspect | None:
    key = (suspect.type, suspect.object_kind, suspect.object_id)
    return next((one for one in found if (one.type, one.object_kind, one.object_id) == key), None)


async def _missing_event(context: Context, scope: Scope, suspect: Suspect) -> Suspect | None:
    """A check may have been ahead of a late delivery; else the event is in the inbox already."""
    if not scope.is_check:
        return suspect
    async with context.database.connection() as connection:
        known = await compared.list_known_events(connection, [suspect.object_id])
    return None if known else suspect


async def _is_ours(context: Context, suspect: Suspect) -> bool:
    """Whether a customer, or the first of several, is linked."""
    customer_id = suspect.object_id.partition(",")[0]
    async with context.database.connection() as connection:
        return customer_id in await compared.find_customers(connection, [customer_id])


async def _stranger(account: Account, suspect: Suspect) -> Suspect | None:
    try:
        answer = await account.read(f"/v1/customers/{suspect.object_id}")
    except ObjectMissing:
        return None
    return None if answer.get("deleted") else suspect


async def _object(account: Account, scope: Scope, suspect: Suspect) -> Suspect | None:
    if suspect.object_kind not in PATHS:
        return None
    try:
        answer = await read_one(account, suspect.object_kind, suspect.object_id)
    except ObjectMissing:
        return suspect if suspect.type == "vanished" else None
    look = await compare(account, scope, suspect.object_kind, [answer])
    return _same(suspect, look.suspects)


async def _payload(account: Account, suspect: Suspect) -> bytes | None:
    """What a customer's event carries so that its run looks for our reference; Stripe has to confirm it."""
    if suspect.type != "unlinked_customer":
        return None
    answer = await account.read(f"/v1/customers/{suspect.object_id}")
    ref = (answer.get("metadata") or {}).get(REF)
    shown = {"object": "customer", "id": suspect.object_id, "metadata": {REF: ref}}
    return zlib.compress(msgspec.json.encode({"data": {"object": shown}}))


async def _repair(
    context: Context, connection: Connection, scope: Scope, suspect: Suspect, payload: bytes | None
) -> tuple[str | None, tuple[int, ...], Recomputed | None]:
    """(what was done, targets that may be rung, answers to publish after the commit)."""
    repair = KINDS[suspect.type].repair
    if scope.is_check or repair is None:
        return None, (), None
    if repair == "insert":
        return suspect.object_id, (), None
    if repair == "answers" and suspect.customer_id is None and suspect.user_key is not None:
        recomputed = await recompute_user(context, connection, suspect.user_key, cause="reconcile")
        return "recomputed", (), recomputed
    kind, object_id = suspect.object_kind, suspect.object_id
    if repair == "answers" or suspect.customer_id is None:
        kind, object_id = "customer", suspect.customer_id or object_id
    target = (
        gave_up.target_of(suspect)
        if suspect.type == gave_up.TYPE
        else TargetRef("customer", suspect.customer_id or object_id)
    )
    event_id = f"th_{uuid.uuid4().hex}"
    event = internal_event(event_id, "reconcile", kind, object_id, target, cause=CAUSE, payload=payload)
    marked = await inbox.mark(connection, [event])
    return event_id, marked.target_ids, None
