"""Read every link of one user's chain at one moment."""

import time
from collections.abc import Sequence

from msgspec import Struct

from domain.cache import cache_key
from domain.context import Context, database_now
from domain.errors import Unavailable
from domain.flows.gather_facts import gather_facts
from domain.flows.grant import require_head
from domain.flows.read_catalog import Head, find_head
from domain.flows.trace.answer_side import AnswerSide, CacheSide, answer_links, cache_link
from domain.flows.trace.link import Link, Person
from domain.flows.trace.stripe_side import StripeSide, stripe_links, targets_of
from domain.rules.catalog import Catalog
from domain.rules.entitlements import refuse_unknown_app
from domain.store import catalogs, customers, entitlements, traces
from domain.store.customers import UserRow
from domain.store.session import Connection
from domain.store.traces import LinkedCustomer, UnsettledEvent


class Trace(Struct, frozen=True, kw_only=True):
    project: str
    user_id: str
    #: From Stripe to the reader.
    links: tuple[Link, ...]
    #: The first that is broken, in that order; None: none is.
    first_broken: Link | None


async def trace_user(context: Context, project: str, user_id: str, *, app: str | None = None) -> Trace:
    """Every link between Stripe and what readers get for one user. Changes nothing and asks Stripe nothing.

    `app` None: every app of the project.

    Raises:
        Unknown: there is no such project or app, with the nearest names.
        Unavailable: Postgres is away.
    """
    person = Person(project=project, user_id=user_id)
    async with context.database.snapshot() as connection:
        head = await require_head(connection, project)
        apps = _choose_apps(head, app)
        user = await customers.find_user(connection, project, user_id)
        if user is None:
            return _trace(person, [_unknown_user(person)])
        stripe_side = await _read_stripe_side(connection, project, user.user_key)
        answer_side = await _read_answer_side(context, connection, person, user, head, apps)
    cache_side = await _read_cache_side(context, person, apps)
    links = [
        *stripe_links(stripe_side, person),
        *answer_links(answer_side, person),
        cache_link(answer_side, cache_side, person),
    ]
    return _trace(person, links)


def _trace(person: Person, links: Sequence[Link]) -> Trace:
    broken = next((link for link in links if link.state == "broken"), None)
    return Trace(project=person.project, user_id=person.user_id, links=tuple(links), first_broken=broken)


def _choose_apps(head: Head, app: str | None) -> list[str]:
    if app is None:
        return sorted(head.catalog.apps)
    refuse_unknown_app(head.catalog, app)
    return [app]


def _unknown_user(person: Person) -> Link:
    return Link(
        name="user",
        state="broken",
        finding=f"nobody knows a user {person.user_id!r} in project {person.project}: no checkout, no grant",
        repair="compare the id with the one the app sends; who paid outside of a checkout is a foreign "
        "customer: tollhouse events list --state foreign",
    )


async def _read_stripe_side(connection: Connection, project: str, user_key: int) -> StripeSide:
    linked = await traces.list_customers(connection, project, user_key)
    checkouts = await traces.list_checkouts(connection, project, user_key)
    mirrored = await traces.list_mirrored(connection, project, user_key)
    targets = targets_of(linked, checkouts, mirrored)
    return StripeSide(
        customers=linked,
        checkouts=checkouts,
        mirrored=mirrored,
        targets=await traces.list_targets(connection, targets),
        unsettled=await traces.list_unsettled(connection, targets),
        unlinked=await _read_unlinked(connection, linked),
        seen_at=await database_now(connection),
    )


async def _read_unlinked(connection: Connection, linked: Sequence[LinkedCustomer]) -> list[UnsettledEvent]:
    waiting = [one.created_at for one in linked if one.stripe_customer_id is None]
    return await traces.list_unlinked_since(connection, min(waiting)) if waiting else []


async def _read_answer_side(
    context: Context, connection: Connection, person: Person, user: UserRow, head: Head, apps: list[str]
) -> AnswerSide:
    row = await catalogs.find_head(connection, person.project)
    seen_at = await database_now(connection)
    stored = await entitlements.list_sets(connection, person.project, user.user_key)
    return AnswerSide(
        user=user,
        facts=await gather_facts(connection, person.project, user.user_key),
        head=head,
        head_applied_at=row.applied_at if row is not None else seen_at,
        others=await _read_others(connection, person.project),
        apps=apps,
        stored={one.app: one for one in stored if one.app in apps},
        now=user.clock_at or await context.now(connection),
        seen_at=seen_at,
    )


async def _read_others(connection: Connection, project: str) -> list[Catalog]:
    names = [name for name in await catalogs.list_projects(connection) if name != project]
    heads = [await find_head(connection, name) for name in names]
    return [head.catalog for head in heads if head is not None]


async def _read_cache_side(context: Context, person: Person, apps: Sequence[str]) -> CacheSide:
    fresh_s, now = context.settings.fresh_s, time.time()
    if context.cache is None:
        return CacheSide(cached={}, error="no cache is set", fresh_s=fresh_s, now=now)
    keys = {app: cache_key(person.project, person.user_id, app) for app in apps}
    try:
        cached = {app: await context.cache.find(person.project, key) for app, key in keys.items()}
    except Unavailable as away:
        return CacheSide(cached={}, error=away.detail, fresh_s=fresh_s, now=now)
    return CacheSide(cached=cached, error=None, fresh_s=fresh_s, now=now)
