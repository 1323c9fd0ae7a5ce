"""What gave up is tried once more by every pass, as by a new event or an operator's retry."""

from domain.flows.reconcile.look import Account, Look, Scope
from domain.model import Counts, Suspect, TargetRef
from domain.store import dead

TYPE = "dead_target"
#: Dead targets of one step.
AT_ONCE = 100
#: Between the parts of a cursor; no id of Stripe's has one.
_AND = ":"


async def look_at_dead(account: Account, scope: Scope, cursor: str | None) -> Look:
    """Dead targets of ours, and those that nobody knows the owner of. Reads nothing of Stripe."""
    kind, _, stripe_id = (cursor or "").partition(_AND)
    async with account.context.database.connection() as connection:
        given_up = await dead.list_dead_targets(
            connection,
            after=(kind, stripe_id),
            project=scope.project,
            user_key=scope.user_key,
            limit=AT_ONCE,
        )
    last = given_up[-1] if len(given_up) == AT_ONCE else None
    return Look(
        cursor=f"{last.kind}{_AND}{last.stripe_id}" if last is not None else None,
        suspects=tuple(_suspect(one) for one in given_up),
        counts=Counts(compared=len(given_up)),
    )


async def is_still_dead(account: Account, suspect: Suspect) -> bool:
    """Whether nothing has revived it meanwhile."""
    async with account.context.database.connection() as connection:
        row = await dead.find_dead(connection, None, suspect.object_id)
    return row is not None and row.kind == "target" and row.target == target_of(suspect)


def target_of(suspect: Suspect) -> TargetRef:
    return TargetRef(suspect.object_kind, suspect.object_id)


def _suspect(one: dead.DeadTarget) -> Suspect:
    return Suspect(
        type=TYPE,
        object_kind=one.kind,
        object_id=one.stripe_id,
        customer_id=one.stripe_id if one.kind == "customer" else None,
        project=one.project,
        user_key=one.user_key,
        found=one.error or "gave up; no error was kept",
    )
