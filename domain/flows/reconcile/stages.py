"""The stages of a pass, in their order; each is taken in steps that end at a cursor."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from domain.errors import ObjectMissing
from domain.flows.fill_gaps import fill_gaps
from domain.flows.reconcile.gave_up import look_at_dead
from domain.flows.reconcile.look import Account, Look, Scope, suspect_of
from domain.flows.reconcile.objects import EXPANDED, PATHS, compare, read_one
from domain.flows.reconcile.users import look_at_users
from domain.model import Counts, Suspect
from domain.rules.drift import Difference, judge_endpoints
from domain.rules.events import OLD_NAMES, USED
from domain.store import compared, compared_users
from domain.stripe_gateway import API_VERSION, PAGE

Step = Callable[[Account, Scope, str | None], Awaitable[Look]]

#: A pass that is not full reads refunds, disputes and finished checkouts of so many days.
RECENT_DAYS = 7
#: Seconds that one step gives to the list of events; the rest is the next step's.
EVENTS_WITHIN_S = 20.0
#: Mirrored objects that one step asks Stripe for by their id.
BY_ID = 20
#: Between the parts of a cursor; no id of Stripe's has one.
_AND = ":"


async def take_events(account: Account, scope: Scope, _cursor: str | None) -> Look:
    """Events that nobody has delivered. In a check they are named; else they are in the inbox by now.

    Whose an event is shows only when it is read: a check of one project does not name those of all.
    """
    if scope.user_key is not None or (scope.project is not None and scope.is_check):
        return Look()
    filled = await fill_gaps(account.context, within_s=EVENTS_WITHIN_S, is_check=scope.is_check)
    return Look(
        cursor=None if filled.is_whole or scope.is_check else "more",
        suspects=tuple(
            Suspect(type="event_missing", object_kind="event", object_id=event_id, found="not delivered")
            for event_id in filled.missing
        ),
        counts=Counts(reads=filled.reads),
    )


async def look_at_endpoints(account: Account, scope: Scope, _cursor: str | None) -> Look:
    """The account's webhook endpoints: without one that leads here nothing arrives."""
    if scope.project is not None:
        return Look()
    return Look(suspects=tuple(await endpoint_suspects(account)))


async def endpoint_suspects(account: Account) -> list[Suspect]:
    endpoints = await account.read_all("/v1/webhook_endpoints")
    found = judge_endpoints(
        endpoints,
        used=USED.keys() - OLD_NAMES,
        version=API_VERSION,
        url=account.context.settings.webhook_url or None,
    )
    return [suspect_of(difference, "webhook_endpoint", object_id) for object_id, difference in found]


async def look_at_list(
    account: Account, scope: Scope, cursor: str | None, *, kind: str, **params: Any
) -> Look:
    """One page of a list of Stripe's. Of one user: of each customer in turn: `{customer}:{last id}`."""
    part, _, after = (cursor or "").partition(_AND)
    parts = await _parts(account, scope, kind)
    if not parts:
        return Look()
    here = part or parts[0]
    where = _where(kind, here) if here != "*" else {}
    expand = [f"data.{name}" for name in EXPANDED[kind]]
    page = await account.read(
        PATHS[kind],
        limit=PAGE,
        **params,
        **where,
        **_recent(scope, kind),
        **({"expand": expand} if expand else {}),
        **({"starting_after": after} if after else {}),
    )
    look = await compare(account, scope, kind, page["data"])
    return _with_cursor(look, _next(parts, here, page))


async def look_at_clocks(account: Account, scope: Scope, cursor: str | None) -> Look:
    """Subscriptions on test clocks: Stripe's lists hide them unless the clock is named."""
    if scope.user_key is not None:
        return Look()
    async with account.context.database.connection() as connection:
        clocks = await compared.list_clocks(connection)
    here, _, after = (cursor or "").partition(_AND)
    left = [clock for clock in clocks if clock >= here]
    if not left:
        return Look()
    try:
        page = await account.read(
            PATHS["subscription"],
            limit=PAGE,
            status="all",
            test_clock=left[0],
            expand=["data.customer"],
            **({"starting_after": after} if after and left[0] == here else {}),
        )
    except ObjectMissing:
        # Deleted meanwhile: its customers went with it.
        page = {"data": [], "has_more": False}
    look = await compare(account, scope, "subscription", page["data"])
    return _with_cursor(look, _next(left, left[0], page))


async def look_for_absent(account: Account, scope: Scope, cursor: str | None) -> Look:
    """Mirrored objects that may still change and were on no list: each is asked for by its id."""
    kind, _, object_id = (cursor or "").partition(_AND)
    async with account.context.database.connection() as connection:
        absent = await compared.list_absent(
            connection,
            scope.run_id,
            after=(kind, object_id),
            project=scope.project,
            user_key=scope.user_key,
            limit=BY_ID,
        )
    looks = [await _look_for(account, scope, one) for one in absent]
    counts = Counts()
    for look in looks:
        counts = add(counts, look.counts)
    last = absent[-1] if len(absent) == BY_ID else None
    return Look(
        cursor=f"{last.kind}{_AND}{last.object_id}" if last is not None else None,
        suspects=tuple(suspect for look in looks for suspect in look.suspects),
        counts=counts,
    )


async def _look_for(account: Account, scope: Scope, absent: compared.AbsentObject) -> Look:
    try:
        answer = await read_one(account, absent.kind, absent.object_id)
    except ObjectMissing:
        return await _vanished(account, absent)
    return await compare(account, scope, absent.kind, [answer])


async def _vanished(account: Account, absent: compared.AbsentObject) -> Look:
    async with account.context.database.connection() as connection:
        known = await compared.find_customers(connection, [absent.customer_id])
    suspect = suspect_of(
        Difference("vanished", f"{absent.kind}: Stripe answers 404"),
        absent.kind,
        absent.object_id,
        customer_id=absent.customer_id,
        customer=known.get(absent.customer_id),
    )
    return Look(suspects=(suspect,), counts=Counts(compared=1))


async def take_users(account: Account, scope: Scope, cursor: str | None) -> Look:
    return await look_at_users(account.context, scope, cursor)


#: Name → step. A run stands at one of them, or at the second look that follows the last.
STAGES: dict[str, Step] = {
    "events": take_events,
    "endpoints": look_at_endpoints,
    "dead": look_at_dead,
    "subscriptions": partial(look_at_list, kind="subscription", status="all"),
    "clocks": look_at_clocks,
    "sessions": partial(look_at_list, kind="checkout.session", status="complete"),
    "open_invoices": partial(look_at_list, kind="invoice", status="open"),
    "uncollectible_invoices": partial(look_at_list, kind="invoice", status="uncollectible"),
    "refunds": partial(look_at_list, kind="refund"),
    "disputes": partial(look_at_list, kind="dispute"),
    "absent": look_for_absent,
    "users": take_users,
}
#: Whatever was seen is looked at again.
SECOND_LOOK = "second_look"
FIRST = next(iter(STAGES))
STAGE_NAMES = [*STAGES, SECOND_LOOK]


def stage_after(stage: str) -> str:
    return STAGE_NAMES[STAGE_NAMES.index(stage) + 1]


def add(one: Counts, other: Counts) -> Counts:
    return Counts(**{name: getattr(one, name) + getattr(other, name) for name in Counts.__struct_fields__})


async def _parts(account: Account, scope: Scope, kind: str) -> list[str]:
    """What a list is asked for by: `*` is all of the account; of one user, customers or charges."""
    if scope.user_key is None or scope.project is None:
        return ["*"]
    async with account.context.database.connection() as connection:
        if kind in {"refund", "dispute"}:
            return await compared.find_charges(connection, scope.project, scope.user_key)
        return await compared_users.list_customers_of(connection, scope.project, scope.user_key)


def _where(kind: str, part: str) -> dict[str, str]:
    return {"charge": part} if kind in {"refund", "dispute"} else {"customer": part}


def _recent(scope: Scope, kind: str) -> dict[str, Any]:
    """Subscriptions and unpaid invoices are read whatever their age: they live."""
    if scope.is_full or scope.user_key is not None or kind in {"subscription", "invoice"}:
        return {}
    return {"created": {"gte": int(time.time()) - RECENT_DAYS * 86_400}}


def _next(parts: list[str], here: str, page: dict[str, Any]) -> str | None:
    if page.get("has_more") and page["data"]:
        return f"{here}{_AND}{page['data'][-1]['id']}"
    later = [part for part in parts if part > here]
    return f"{later[0]}{_AND}" if later else None


def _with_cursor(look: Look, cursor: str | None) -> Look:
    return Look(cursor=cursor, suspects=look.suspects, seen=look.seen, counts=look.counts)
