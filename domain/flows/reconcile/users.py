"""Compare a user's answers with what mirror and catalog give, and with the cache; and what no event heals."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

import msgspec
from msgspec import Struct

from domain.cache import cache_key
from domain.context import Context
from domain.errors import Unavailable
from domain.flows.gather_facts import gather_facts
from domain.flows.read_catalog import Head, find_head
from domain.flows.reconcile.look import Look, Scope
from domain.model import CachedSet, Counts, Facts, StoredSet, Subscription, Suspect
from domain.rules.catalog import plan_of
from domain.rules.disputes import is_lost, is_open
from domain.rules.holdings import group_of, is_running
from domain.rules.timeline import decode_timeline, is_same_from, timeline
from domain.store import catalogs, compared_users, customers, entitlements
from domain.store.compared_users import ComparedUser
from domain.store.session import Connection

_encode = msgspec.json.Encoder(order="deterministic").encode

#: Users of one step: some tenths of a second of work.
BATCH = 50


class _Seen(Struct, frozen=True, kw_only=True):
    """One user as one moment of the database shows it."""

    user: ComparedUser
    head: Head
    facts: Facts
    customers: tuple[str, ...]
    stored: tuple[StoredSet, ...]


async def look_at_users(context: Context, scope: Scope, cursor: str | None) -> Look:
    """The next users after the key `cursor`."""
    async with context.database.connection() as connection:
        users = await compared_users.list_users(
            connection,
            after=int(cursor or 0),
            project=scope.project,
            user_key=scope.user_key,
            limit=BATCH,
        )
    suspects: list[Suspect] = []
    for user in users:
        if not user.is_pending:
            suspects += await look_at_user(context, user)
    return Look(
        cursor=str(users[-1].user_key) if len(users) == BATCH else None,
        suspects=tuple(suspects),
        counts=Counts(compared=len(users), pending=sum(user.is_pending for user in users)),
    )


async def look_again(context: Context, user_key: int, project: str | None) -> list[Suspect] | None:
    """What is wrong with one user now; None: events of the user wait."""
    async with context.database.connection() as connection:
        users = await compared_users.list_users(
            connection, after=0, project=project, user_key=user_key, limit=1
        )
    if not users:
        return []
    return None if users[0].is_pending else await look_at_user(context, users[0])


async def look_at_user(context: Context, user: ComparedUser) -> list[Suspect]:
    async with context.database.snapshot() as connection:
        seen = await _see(connection, user)
        if seen is None:
            return []
        now = await _now(context, connection, user)
        suspects = [
            *_answers(seen, now),
            *_subscriptions(seen, now),
            *await _prices(connection, seen, now),
            *await _customers(connection, seen, now),
            *await _unbooked(connection, seen),
        ]
    return [*suspects, *await _cached(context, seen)]


async def _see(connection: Connection, user: ComparedUser) -> _Seen | None:
    head = await find_head(connection, user.project)
    if head is None:
        return None
    return _Seen(
        user=user,
        head=head,
        facts=await gather_facts(connection, user.project, user.user_key),
        customers=tuple(await compared_users.list_customers_of(connection, user.project, user.user_key)),
        stored=tuple(await entitlements.list_sets(connection, user.project, user.user_key)),
    )


async def _now(context: Context, connection: Connection, user: ComparedUser) -> datetime:
    found = await customers.find_user(connection, user.project, user.user_id)
    clock_at = found.clock_at if found is not None else None
    return clock_at or await context.now(connection)


def _answers(seen: _Seen, now: datetime) -> list[Suspect]:
    """Only of who has been answered: a user without a source has no stored set, and needs none."""
    stored = {one.app: one for one in seen.stored}
    facts, catalog = seen.facts, seen.head.catalog
    has_sources = bool(facts.subscriptions or facts.purchases or facts.grants)
    suspects = []
    for app in sorted(catalog.apps):
        if app not in stored:
            if has_sources:
                suspects.append(
                    _suspect(seen, "entitlement_mismatch", "app", _of(seen, app), f"{app}: none stored")
                )
            continue
        kept = decode_timeline(_encode(stored[app].segments))
        if not is_same_from(kept, timeline(facts, catalog, app, now), now):
            found = f"{app}: version {stored[app].last_version} is not what the facts give"
            suspects.append(_suspect(seen, "entitlement_mismatch", "app", _of(seen, app), found))
    return suspects


def _subscriptions(seen: _Seen, now: datetime) -> list[Suspect]:
    running = [one for one in seen.facts.subscriptions if is_running(one, now)]
    return [*_doubled(seen, running), *_disputed(seen, running)]


def _doubled(seen: _Seen, running: Sequence[Subscription]) -> list[Suspect]:
    by_group = sorted(
        ((group_of(one, seen.head.catalog) or "", one.subscription_id) for one in running),
    )
    suspects = []
    for group, found in groupby(by_group, key=lambda pair: pair[0]):
        ids = [subscription_id for _, subscription_id in found]
        if group and len(ids) > 1:
            said = f"{len(ids)} live subscriptions of group {group}"
            suspects.append(_suspect(seen, "two_subscriptions", "group", ", ".join(ids), said))
    return suspects


def _disputed(seen: _Seen, running: Sequence[Subscription]) -> list[Suspect]:
    return [
        _suspect(
            seen,
            "billing_after_dispute",
            "subscription",
            one.subscription_id,
            f"dispute {dispute.dispute_id} of an earlier invoice: {dispute.status}",
        )
        for one in running
        for dispute in one.disputes
        if not dispute.is_latest_paid_invoice and (is_open(dispute) or is_lost(dispute))
    ]


async def _prices(connection: Connection, seen: _Seen, now: datetime) -> list[Suspect]:
    """Prices that are paid for and give nothing here."""
    held = {
        (item.price_id, item.product_id): one.subscription_id
        for one in seen.facts.subscriptions
        if is_running(one, now)
        for item in one.items
    }
    held |= {(one.price_id, one.product_id): one.object_id for one in seen.facts.purchases}
    suspects = []
    for (price_id, product_id), holder in sorted(held.items()):
        if plan_of(seen.head.catalog, price_id, product_id) is not None:
            continue
        other = await _other_project(connection, seen.user.project, price_id, product_id)
        said = f"{price_id} of {product_id} on {holder}"
        if other is None:
            suspects.append(_suspect(seen, "price_unmapped", "price", f"{price_id} {holder}", said))
        else:
            said = f"{said} is of a plan of {other}"
            suspects.append(_suspect(seen, "cross_project", "price", f"{price_id} {holder}", said))
    return suspects


async def _other_project(connection: Connection, own: str, price_id: str, product_id: str) -> str | None:
    for project in await catalogs.list_projects(connection):
        head = await find_head(connection, project) if project != own else None
        if head is not None and plan_of(head.catalog, price_id, product_id) is not None:
            return project
    return None


async def _customers(connection: Connection, seen: _Seen, now: datetime) -> list[Suspect]:
    """Two living customers are fine; two that are billed at once are a user who pays twice."""
    running = [one.subscription_id for one in seen.facts.subscriptions if is_running(one, now)]
    if len(seen.customers) < 2 or len(running) < 2:  # noqa: PLR2004 - two are one too many
        return []
    billed = await compared_users.list_subscribed_customers(
        connection, seen.user.project, seen.user.user_key, running
    )
    if len(billed) < 2:  # noqa: PLR2004
        return []
    said = f"both hold a running subscription: {', '.join(billed)}"
    return [_suspect(seen, "two_customers", "customer", ", ".join(billed), said)]


async def _unbooked(connection: Connection, seen: _Seen) -> list[Suspect]:
    """Customers of whom all is to be read again, because money of theirs is in no figure."""
    found = await compared_users.list_unbooked(connection, seen.user.project, seen.user.user_key)
    return [
        msgspec.structs.replace(
            _suspect(seen, "unbooked", "customer_all", customer_id, ", ".join(ids)), customer_id=customer_id
        )
        for customer_id, ids in found.items()
    ]


async def _cached(context: Context, seen: _Seen) -> list[Suspect]:
    """Entries that readers still take. Where Redis is away there are none to compare."""
    stored = [one for one in seen.stored if one.app in seen.head.catalog.apps]
    if context.cache is None or not stored:
        return []
    project, user_id = seen.user.project, seen.user.user_id
    try:
        found = await context.cache.find_all(
            project, [cache_key(project, user_id, one.app) for one in stored]
        )
    except Unavailable:
        return []
    return [
        _suspect(seen, type_, "app", _of(seen, one.app), f"{one.app}: {said}")
        for one, cached in zip(stored, found, strict=True)
        if cached is not None
        for type_, said in _compare_cached(one, cached)
    ]


def _compare_cached(stored: StoredSet, cached: CachedSet) -> list[tuple[str, str]]:
    held = cached.stored
    if held.first_version > stored.last_version:
        return [("cache_ahead", f"cache {held.first_version}, stored {stored.last_version}")]
    if held.first_version == 0 or held.first_version < stored.first_version:
        # Older: the write of the newer one was lost. Readers ask Postgres when its ten seconds are over.
        said = f"cache {held.first_version}, stored {stored.first_version}"
        return [("cache_mismatch", said)]
    if _encode(held.segments) != _encode(stored.segments):
        return [("cache_mismatch", f"version {stored.first_version} with other bytes")]
    return []


def _of(seen: _Seen, app: str) -> str:
    """One name per user and app."""
    return f"{seen.user.user_key}/{app}"


def _suspect(seen: _Seen, type_: str, kind: str, object_id: str, found: str) -> Suspect:
    return Suspect(
        type=type_,
        object_kind=kind,
        object_id=object_id,
        customer_id=seen.customers[0] if seen.customers else None,
        project=seen.user.project,
        user_key=seen.user.user_key,
        found=found,
    )
